"""The page that thinks: how long it takes, beside torch on the same machine.

    python -m tests.benchmarks.live               # the embedded pair, one thread of torch
    python -m tests.benchmarks.live --rounds 1

Exact effects of 64 prompt tokens on 32 answer tokens, of both models, in the worker of a page, in
Chromium: in one worker, in two, and by torch with one full forward pass for each hidden token, as
`whole texts` of `tests.benchmarks.occlusion`, but one at a time and by all at once. They alternate,
and the best round of each is told, since others may use the machine. Then a page is opened: when it
can be typed into, when its models are there, when the first token of an answer comes. How long its
main thread is held, and its memory, is told by `tests.benchmarks.main_thread`.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import tempfile
import time
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import torch
import twinlens
from playwright.sync_api import sync_playwright
from twinlens.pages.html import front_end

from tests.browser.chromium import FLAGS, find
from tests.browser.poll import until

N, M = 64, 32
PROMPT = "Put this into capitals: The young judge sings near the river."

#: Workers as the page makes them; `measure` has both matrices computed, and tells the seconds.
SCRIPT = """async ([code, setup, parts, manifest, count]) => {
  const url = URL.createObjectURL(new Blob([code], { type: "text/javascript" }));
  const made = Array.from({ length: count }, () => new Worker(url));
  const heard = made.map((worker) => {
    const waiting = new Map();
    worker.onmessage = ({ data }) =>
      waiting.get(data.kind === "block" ? data.id : data.kind)?.(data);
    return (kind) => new Promise((resolve) => waiting.set(kind, resolve));
  });
  const ready = heard.map((hear) => hear("ready"));
  const bytes = (text) => Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
  for (const worker of made) {
    worker.postMessage({ kind: "setup", setup });
    for (const [part, texts] of Object.entries(parts)) texts.forEach((text, i) =>
      worker.postMessage({ kind: "part", part, bytes: bytes(text), last: i === texts.length - 1 }));
  }
  await Promise.all(ready);
  window.round = 0;
  window.measure = async () => {
    round++;
    for (const worker of made) {
      worker.postMessage({ kind: "stop", prompt: round });
      worker.postMessage({ kind: "trace", prompt: round, manifest });
    }
    const began = performance.now();
    const done = ["base", "tuned"].map((side, id) => {
      const which = id % count;
      const found = heard[which](id);
      const key = `saliency/${side}/occlusion`;
      made[which].postMessage({ kind: "block", id, prompt: round, key });
      return found;
    });
    await Promise.all(done);
    return (performance.now() - began) / 1000;
  };
}"""

WATCH = """(() => {
  window.marks = {};
  const look = () => {
    const run = document.querySelector(".tl-ask-run");
    const now = performance.now();
    if (run) marks.typed ??= now;
    if (run && !run.disabled) marks.ready ??= now;
    const said = [...document.querySelectorAll(".tl-ask-answer bdi")].some((el) => el.textContent);
    if (said && window.asked) marks.token ??= now - asked;
    setTimeout(look, 2);
  };
  document.addEventListener("DOMContentLoaded", look);
})()"""


def elements(html: str, attribute: str) -> list[str]:
    return re.findall(rf'<script type="[^"]*" {attribute}>(.*?)</script>', html, re.S)


def of_page(browser: Any, html: str, ids: list[int], workers: int) -> tuple[float, float]:
    """Seconds for both matrices: of the clock, and of CPU."""
    state = json.loads(elements(html, 'id="twinlens-live"')[0])
    tokens = [{"id": i, "text": "x", "start": 0, "end": 0, "segment": "other"} for i in ids]
    answer = {"tokens": tokens[N:], "text": ""}
    manifest = {
        "prompt_tokens": tokens[:N],
        "answers": {"base": answer, "tuned": answer},
        "shared": True,
        "response": "tuned",
        "parameters": {"max_new_tokens": M},
    }
    parts = {part: elements(html, f'data-part="{part}"') for part in ("known", "base", "tuned")}
    setup = {**state["setup"], "tokenizer": state["tokenizer"]}
    code = front_end("worker.js")
    page = browser.new_page()
    page.evaluate(SCRIPT, [code, setup, parts, manifest, workers])
    page.evaluate("() => measure()")  # what is compiled is compiled now
    before = cpu_seconds()
    seconds = float(page.evaluate("() => measure()"))
    spent = cpu_seconds() - before
    page.close()
    return seconds, spent


def of_torch(pair: twinlens.Pair, ids: list[int], at_once: int) -> tuple[float, float]:
    """The same of as many full forward passes."""
    text = torch.tensor(ids[:-1])[None]
    began, before = time.perf_counter(), time.process_time()
    for side in ("base", "tuned"):
        with pair.model(side) as model, torch.inference_mode():
            for first in range(0, N, at_once):
                rows = min(at_once, N - first)
                mask = torch.ones(rows, text.shape[1], dtype=torch.long)
                mask[range(rows), range(first, first + rows)] = 0
                kept = torch.arange(N - 1, text.shape[1])
                model(
                    text.expand(rows, -1), attention_mask=mask, use_cache=False, logits_to_keep=kept
                )
    return time.perf_counter() - began, time.process_time() - before


def drawing() -> list[Path]:
    """The processes that draw pages of this program's browser."""
    parents, found = {}, []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            parents[process.name] = (process / "stat").read_text().rpartition(")")[2].split()[1]
            if b"--type=renderer" in (process / "cmdline").read_bytes():
                found.append(process)
        except OSError:
            continue

    def ours(name: str) -> bool:
        while name in parents and name != str(os.getpid()):
            name = parents[name]
        return name == str(os.getpid())

    return [process for process in found if ours(process.name)]


def cpu_seconds() -> float:
    """CPU time that drawing pages has taken so far."""
    ticks = 0
    for process in drawing():
        fields = (process / "stat").read_text().rpartition(")")[2].split()
        ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")


def opened(browser: Any, file: Path) -> None:
    """Open the page, ask it something, and tell what that took."""
    page = browser.new_page()
    page.add_init_script(WATCH)
    page.goto(file.as_uri())
    answered = "() => marks.ready && !document.querySelector('.tl-ask-run').hidden"
    until(lambda: page.evaluate(answered), bool, "the first answer")
    page.get_by_label("What both models read").fill(PROMPT)
    page.evaluate(
        "() => { window.asked = performance.now(); document.querySelector('.tl-ask-run').click() }"
    )
    state = "() => document.querySelector('[data-panel=findings]')?.dataset.state"
    until(lambda: page.evaluate("() => marks.token"), bool, "a token")
    until(lambda: page.evaluate(state), "ready".__eq__, "the findings")
    marks = page.evaluate("() => marks")
    print(f"can be typed into after {marks['typed'] / 1000:.2f} s", end=", ")
    print(f"models there after {marks['ready'] / 1000:.2f} s", end=", ")
    print(f"first token {marks['token']:.0f} ms after the click")
    page.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rounds", type=int, default=2)
    rounds = parser.parse_args().rounds
    torch.set_num_threads(1)
    pair = twinlens.demo_pair()
    chromium = find()
    assert chromium, "a Chromium is needed"
    draws = torch.Generator().manual_seed(0)
    ids = torch.randint(3, 3000, (N + M,), generator=draws).tolist()
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        file = twinlens.live_page(Path(folder) / "page.html", recorded=0)
        html = file.read_text()
        browser = playwright.chromium.launch(executable_path=chromium, args=FLAGS)
        best: dict[str, tuple[float, float]] = {}
        for _ in range(rounds):
            for name, work in (
                ("page, one worker", lambda: of_page(browser, html, ids, 1)),
                ("page, two workers", lambda: of_page(browser, html, ids, 2)),
                ("torch, one thread, pass by pass", lambda: of_torch(pair, ids, 1)),
                ("torch, one thread, 16 at once", lambda: of_torch(pair, ids, 16)),
            ):
                best[name] = min(best.get(name, (1e9, 1e9)), work())
        print(f"exact effects of {N} tokens on {M}, both models:")
        for name, (seconds, spent) in best.items():
            print(f"  {name}: {seconds:.2f} s, {spent:.2f} CPU s")
        browser.close()
        browser = playwright.chromium.launch(executable_path=chromium, args=FLAGS)
        opened(browser, file)
        browser.close()


if __name__ == "__main__":
    main()
