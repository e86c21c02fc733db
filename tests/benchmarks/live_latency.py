"""From pointer-down to painted in JupyterLab, with a kernel and a pair of 135 million parameters.

    python -m tests.benchmarks.live_latency
    python -m tests.benchmarks.live_latency --rounds 6 --blocks

Both models read one text of some sixty tokens in a notebook, and each panel stands in a cell of its
own. Once the exact effects are measured, and the kernel has nothing else to do, tokens and heads
are clicked: `apart`, such as nobody has looked at and none is beside one that was, so that blocks
are computed and sent; and `next`, the one beside the last, which is fetched ahead while the page is
idle. A panel is done once it says so and a frame with it was made.

Milliseconds of the clock, medians and the slowest of ten; other work on the machine makes all of it
more, so the load is told. `--blocks` tells how long the kernel took for each kind of block.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import tempfile
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from playwright.sync_api import Page, sync_playwright

from tests.benchmarks.saliency import line
from tests.browser.chromium import FLAGS, find
from tests.browser.lab import Lab, Notebook
from tests.support.real_pair import smollm2_pair_folders

PROMPT = (
    "Rewrite the paragraph in plain words.\\n\\nInput: The committee concurred that the proposal, "
    "although it was ambitious, could not be carried out before winter, since neither the funds "
    "nor the people were there, and asked its authors for another one that costs less.\\n\\nOutput:"
)
ANSWER = " They said it was too much and too late, and asked for a plan that costs less money."
PANELS = ("saliency", "heads", "concepts", "overview")
#: Layer and heads that are clicked.
LAYER, HEADS = 12, 9
PATIENCE = 900_000

#: Says of each panel when it was painted, from the last time that a pointer went down.
_WATCH = """() => {
  window.latency = { since: 0, painted: {}, before: "" };
  addEventListener("pointerdown", (event) => {
    latency.since = event.timeStamp;
    latency.painted = {};
    latency.before = document.querySelector("[data-panel=heads]").dataset.selection;
  }, true);
  const look = (panel) => {
    const { panel: name, state, selection } = panel.dataset;
    if (state !== "ready" || selection === latency.before || name in latency.painted) return;
    latency.painted[name] = 0;
    requestAnimationFrame(() => {
      const { port1, port2 } = new MessageChannel();
      port1.onmessage = () => { latency.painted[name] = performance.now() - latency.since; };
      port2.postMessage(null);
    });
  };
  const watcher = new MutationObserver((all) => { for (const { target } of all) look(target); });
  const attributeFilter = ["data-state", "data-selection"];
  for (const panel of document.querySelectorAll("[data-panel]"))
    watcher.observe(panel, { attributeFilter });
}"""
_DONE = """names => names.every(name => latency.painted[name] > 0)"""
#: Counts what the kernel computes, and how long each block took.
_TIMED = """
import collections, json, time
took = collections.defaultdict(list)
plain = type(ex.trace).block
def timed(trace, key, report=None):
    began = time.perf_counter()
    value = plain(trace, key, report)
    took[key.split("/")[0]].append(1000 * (time.perf_counter() - began))
    return value
type(ex.trace).block = timed
"""


def notebook(page: Page, lab: Lab) -> Notebook:
    """A notebook with the panels, its kernel idle and all that takes long measured."""
    base, tuned = smollm2_pair_folders()
    cells = [
        "import twinlens as tl\nimport torch\ntorch.set_num_threads(1)",
        f"pair = tl.load_pair({str(base)!r}, {str(tuned)!r})",
        f'ex = tl.explore(pair, "{PROMPT}", answer="{ANSWER}")',
        _TIMED,
        *(f"ex.{panel}()" for panel in PANELS),
    ]
    opened = Notebook(page, lab, lab.write("latency.ipynb", cells))
    opened.open()
    opened.run_all()
    page.wait_for_function(
        "() => [...document.querySelectorAll('[data-panel]')].length >= 4 && "
        "[...document.querySelectorAll('[data-panel]')].every(p => p.dataset.state === 'ready') && "
        "document.querySelector('.tl-run').hidden",
        timeout=PATIENCE,
    )
    page.evaluate(_WATCH)
    return opened


class Clicks:
    """Clicks in a page, and when each panel had followed."""

    def __init__(self, page: Page, opened: Notebook) -> None:
        self.page = page
        self.opened = opened

    def token(self, position: int) -> dict[str, float]:
        return self._click(f"[data-token='{position}']", 0.5, 0.5)

    def head(self, head: int, heads: int, layers: int) -> dict[str, float]:
        grid = ".tl-grids canvas[data-side=base]"
        return self._click(grid, (head + 0.5) / heads, (LAYER + 0.5) / layers)

    def _click(self, selector: str, across: float, down: float) -> dict[str, float]:
        target = self.page.locator(selector).first
        target.scroll_into_view_if_needed()
        box = target.bounding_box()
        assert box, selector
        x, y = box["x"] + across * box["width"], box["y"] + down * box["height"]
        self.page.mouse.move(x, y)
        self.page.wait_for_timeout(300)
        self.page.mouse.down()
        self.page.mouse.up()
        self.page.wait_for_function(_DONE, arg=list(PANELS), timeout=PATIENCE)
        painted: dict[str, float] = self.page.evaluate("latency.painted")
        # What is beside it is fetched, and what comes after the picture is done.
        self.page.wait_for_timeout(2500)
        self.opened.wait_idle()
        return painted


def rounds(clicks: Clicks, count: int) -> Iterator[tuple[str, dict[str, float]]]:
    """Each kind of click, and when the panels were painted after it."""
    manifest: dict[str, Any] = json.loads(
        clicks.opened.run("import json; print(json.dumps(ex.trace.manifest.to_json()))")
    )
    pair = manifest["pair"]
    prompt = len(manifest["prompt_tokens"])
    clicks.token(prompt)  # for the first time: scripts are compiled
    for step in range(count):
        yield "answer token, apart", clicks.token(prompt + 2 + 3 * step)
        yield "answer token, next", clicks.token(prompt + 3 + 3 * step)
    for step in range(count):
        yield "prompt token, apart", clicks.token(6 + 4 * step)
        yield "prompt token, next", clicks.token(7 + 4 * step)
    clicks.head(0, pair["heads"], pair["layers"])
    for step in range(min(count, 4)):
        yield "head, apart", clicks.head((3 * step + 2) % 9, pair["heads"], pair["layers"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=4, help="clicks of each kind, at most 5")
    parser.add_argument("--blocks", action="store_true", help="tell the kernel's time by block")
    parser.add_argument("--picture", type=Path, help="file for a picture of the notebook")
    options = parser.parse_args()
    executable = find()
    with (
        tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder,
        sync_playwright() as playwright,
    ):
        lab = Lab(Path(folder))
        browser = playwright.chromium.launch(executable_path=executable, args=FLAGS)
        try:
            page = browser.new_page(viewport={"width": 1280, "height": 1000})
            page.set_default_timeout(PATIENCE)
            opened = notebook(page, lab)
            opened.run("took.clear()")
            taken: dict[str, list[dict[str, float]]] = defaultdict(list)
            for kind, painted in rounds(Clicks(page, opened), options.rounds):
                taken[kind].append(painted)
            busy = " ".join(f"{load:.1f}" for load in os.getloadavg())
            print(f"\n135M pair, {len(PANELS)} panels, load {busy}\n")
            line("click", "clicks", *PANELS, "all", "slowest")
            line(*["---"] * (len(PANELS) + 4))
            for kind, all_painted in taken.items():
                last = [max(painted.values()) for painted in all_painted]
                medians = [statistics.median(one[panel] for one in all_painted) for panel in PANELS]
                shown = [f"{value:.0f}" for value in [*medians, statistics.median(last), max(last)]]
                line(kind, str(len(all_painted)), *shown)
            if options.blocks:
                print()
                said = opened.run("print(json.dumps(took))")
                for name, times in sorted(json.loads(said).items()):
                    median, most = statistics.median(times), max(times)
                    line(name, f"{len(times)} times", f"{median:.1f} ms", f"at most {most:.0f}")
            if options.picture:
                page.screenshot(path=options.picture)
        finally:
            browser.close()
            lab.stop()


if __name__ == "__main__":
    main()
