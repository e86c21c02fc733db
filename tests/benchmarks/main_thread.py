"""How long the main thread of a live page is held, step by step, and what the page takes in memory.

    python -m tests.benchmarks.main_thread            # a window of 1280 by 800
    python -m tests.benchmarks.main_thread --phone    # a touch screen of 400 by 800, slower by 4

Of each step the longest task is told, by the CPU time it took, which does not count what others on
the machine do; and what it spent most in. Counted is the thread that draws the page, and no other.
Memory is measured in a second walk, since tracing takes some itself.

The browser is told as little as can be: Playwright asks it to keep what it loads, and a file of
20 MB is then decoded at once, which no reader's browser does.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import signal
import subprocess
import tempfile
import time
import urllib.request
from bisect import bisect_left
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import twinlens
import websocket

from tests.browser.chromium import FLAGS, find
from tests.browser.poll import until

PROMPT = "Put this into capitals: The young judge sings near the river."
CATEGORIES = ("toplevel", "devtools.timeline", "v8", "__metadata")
#: As much of a trace as fits into memory here.
BUFFER_KB = 400_000
RUN = "document.querySelector('.tl-ask-run')"
PANEL = "document.querySelector('[data-panel={}]')"
EFFECTS = """['base', 'tuned'].every(side => {
  const values = document.querySelector('.tl-matrix')?.twinlens?.values?.[side];
  return values?.every(Number.isFinite) })"""
#: Microseconds of CPU of a task from which it is told what it spent most in.
TOLD = 20_000
TABS = ("saliency", "carried", "heads", "concepts", "overview")


class Tab:
    """One tab, over the browser's own protocol."""

    def __init__(self, address: str) -> None:
        self._connection = websocket.create_connection(address, suppress_origin=True, timeout=180)
        self._sent = 0
        self.heard: list[dict[str, Any]] = []

    def ask(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Send a command, and wait for its answer; events meanwhile are kept."""
        self._sent += 1
        self._connection.send(
            json.dumps({"id": self._sent, "method": method, "params": parameters})
        )
        while True:
            message = json.loads(self._connection.recv())
            if message.get("id") == self._sent:
                assert "error" not in message, message
                return dict(message["result"])
            self.heard.append(message)

    def event(self, method: str) -> dict[str, Any]:
        """Wait for an event."""
        while not any(one.get("method") == method for one in self.heard):
            self.heard.append(json.loads(self._connection.recv()))
        return next(one["params"] for one in self.heard if one.get("method") == method)

    def value(self, expression: str) -> Any:
        """What an expression is in the page."""
        answer = self.ask("Runtime.evaluate", expression=expression, returnByValue=True)
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    def wait(self, expression: str) -> None:
        """Until an expression is true."""
        until(lambda: self.value(f"Boolean({expression})"), bool, expression)

    def click(self, selector: str, which: int = 0) -> None:
        """Click into the middle of an element, as a mouse does."""
        place = self.value(
            f"(() => {{ const el = document.querySelectorAll({json.dumps(selector)})[{which}];"
            " el.scrollIntoView({ block: 'center' }); const r = el.getBoundingClientRect();"
            " return [r.left + r.width / 2, r.top + r.height / 2] })()"
        )
        at = {"x": place[0], "y": place[1], "button": "left", "clickCount": 1}
        self.ask("Input.dispatchMouseEvent", type="mouseMoved", x=place[0], y=place[1])
        self.ask("Input.dispatchMouseEvent", type="mousePressed", **at)
        self.ask("Input.dispatchMouseEvent", type="mouseReleased", **at)


@contextmanager
def browser(folder: Path) -> Iterator[tuple[Tab, int]]:
    """A browser with a profile of its own, and its process."""
    chromium = find()
    assert chromium, "a Chromium is needed"
    own = (f"--user-data-dir={folder}", "--remote-debugging-port=0", "--window-size=1280,800")
    running = subprocess.Popen(
        [chromium, "--headless", *FLAGS, *own, "about:blank"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        port = folder / "DevToolsActivePort"
        until(lambda: port.exists() and "\n" in port.read_text(), bool, "the browser")
        list_of = f"http://127.0.0.1:{port.read_text().split()[0]}/json/list"

        def pages() -> list[str]:
            with urllib.request.urlopen(list_of) as answer:
                tabs = json.load(answer)
            return [one["webSocketDebuggerUrl"] for one in tabs if one["type"] == "page"]

        yield Tab(until(pages, bool, "a tab")[0]), running.pid
    finally:
        os.killpg(running.pid, signal.SIGTERM)
        running.wait()


def walk(tab: Tab, address: str) -> Iterator[str]:
    """What a reader does, step by step; each is told once it is done and seen."""
    tab.ask("Page.navigate", url=address)
    tab.wait("document.querySelector('.tl-ask textarea')")
    yield "opening, until it can be typed into"
    tab.wait(f"{RUN} && !{RUN}.disabled && !{RUN}.hidden && {PANEL.format('findings')}")
    yield "models unpacked, first answer"
    tab.wait(f"{PANEL.format('findings')}.dataset.state === 'ready' && {EFFECTS}")
    yield "matrix and findings of the example"
    tab.value("document.querySelector('.tl-ask textarea').select()")
    for letter in PROMPT:
        tab.ask("Input.insertText", text=letter)
    yield "typing"
    tab.click(".tl-ask-run")
    tab.wait("document.querySelectorAll('.tl-own')[1]?.textContent.includes('THE YOUNG JUDGE')")
    yield "answer"
    tab.wait(f"{PANEL.format('findings')}.dataset.state === 'ready' && {EFFECTS}")
    yield "matrix and findings"
    for name in TABS:
        if not tab.value(f"document.querySelector('[data-tab={name}]').hidden"):
            tab.click(f"[data-tab={name}]")
        tab.wait(f"{PANEL.format(name)}.dataset.state === 'ready'")
        yield f"panel {name}"
    tab.value(
        "const el = document.querySelector('[aria-label=\"How many panels are shown\"]');"
        " el.value = 'grid'; el.dispatchEvent(new Event('change', { bubbles: true }))"
    )
    for name in TABS:
        tab.wait(f"{PANEL.format(name)}.dataset.state === 'ready'")
    yield "all panels"
    for place in (1, 3, 5):
        tab.click(".tl-answer [data-token]", place)
        for name in TABS:
            tab.wait(f"{PANEL.format(name)}.dataset.state === 'ready'")
    yield "three answer tokens, one after the other"
    tab.click(".tl-grids canvas")
    for name in TABS:
        tab.wait(f"{PANEL.format(name)}.dataset.state === 'ready'")
    yield "a head"
    tab.click("[data-unit]")
    for name in TABS:
        tab.wait(f"{PANEL.format(name)}.dataset.state === 'ready'")
    yield "a concept"
    tab.value(
        "[...document.querySelectorAll('[data-panel=heads] button')]"
        ".find(el => el.textContent === 'the top twenty').click()"
    )
    tab.wait(f"{PANEL.format('heads')}.dataset.state === 'ready'")
    yield "patching twenty heads"
    for turn in range(60):
        step = 120 if turn < 30 else -120
        tab.ask("Input.dispatchMouseEvent", type="mouseWheel", x=600, y=400, deltaX=0, deltaY=step)
    yield "scrolling"


def trace_of(tab: Tab) -> list[dict[str, Any]]:
    """End tracing, and read what was traced."""
    tab.ask("Tracing.end")
    stream = tab.event("Tracing.tracingComplete")["stream"]
    pieces = []
    while True:
        piece = tab.ask("IO.read", handle=stream, size=2**22)
        pieces.append(piece["data"])
        if piece["eof"]:
            return list(json.loads("".join(pieces))["traceEvents"])


def tasks_of(events: list[dict[str, Any]], told: int = TOLD) -> list[dict[str, Any]]:
    """Tasks of the page's main thread, and what lies inside those of more than `told`.

    There is one page: its thread is the one that does most, others wait for pages to come.
    """
    mains = {
        (e["pid"], e["tid"])
        for e in events
        if e["name"] == "thread_name" and e["args"]["name"] == "CrRendererMain"
    }
    spent = dict.fromkeys(mains, 0)
    for e in events:
        if (e["pid"], e["tid"]) in mains and e["name"].endswith("RunTask"):
            spent[e["pid"], e["tid"]] += e.get("tdur", 0)
    main = max(spent, key=lambda one: spent[one])
    own = [e for e in events if (e["pid"], e["tid"]) == main and e.get("ph") == "X"]
    own.sort(key=lambda e: float(e["ts"]))
    starts = [e["ts"] for e in own]
    tasks = [e for e in own if e["name"].endswith("RunTask")]
    for task in tasks:
        if task.get("tdur", 0) <= told:
            task["inside"] = []
            continue
        first, last = (bisect_left(starts, task["ts"] + after) for after in (0, task["dur"]))
        task["inside"] = [
            e
            for e in own[first:last]
            if e is not task and not e["name"].endswith(("RunTask", "RunMicrotasks"))
        ]
    return tasks


def said(task: dict[str, Any]) -> str:
    """What a task spent most in."""
    parts = sorted(task["inside"], key=lambda e: -e.get("tdur", 0))[:4]
    names = [
        f"{e['name']} {e.get('tdur', 0) / 1000:.0f}"
        + str(e.get("args", {}).get("data", {}).get("functionName", "") or "")
        for e in parts
    ]
    return ", ".join(names)


def memory(parent: int) -> float:
    """Proportional set size of the largest process that draws pages, in megabytes."""
    found = [0.0]
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if os.getpgid(int(process.name)) != parent:
                continue
            if b"--type=renderer" in (process / "cmdline").read_bytes():
                text = (process / "smaps_rollup").read_text()
                found += [int(kb) / 1024 for kb in re.findall(r"^Pss:\s+(\d+)", text, re.M)]
        except (OSError, ProcessLookupError):
            continue
    return max(found)


@contextmanager
def opened(phone: bool) -> Iterator[tuple[Tab, int]]:
    """A tab, as wide and as quick as is asked, and its browser's process."""
    with (
        tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder,
        browser(Path(folder)) as (tab, process),
    ):
        if phone:
            size = {"width": 400, "height": 800, "deviceScaleFactor": 2, "mobile": True}
            tab.ask("Emulation.setDeviceMetricsOverride", **size)
            tab.ask("Emulation.setTouchEmulationEnabled", enabled=True)
            tab.ask("Emulation.setCPUThrottlingRate", rate=4)
        yield tab, process


def longest_tasks(file: Path, phone: bool) -> None:
    """Walk through a page, and tell the longest task of each step."""
    with opened(phone) as (tab, _):
        config = {"includedCategories": CATEGORIES, "traceBufferSizeInKb": BUFFER_KB}
        tab.ask("Tracing.start", traceConfig=config, transferMode="ReturnAsStream")
        steps = [
            (step, time.clock_gettime(time.CLOCK_MONOTONIC) * 1e6)
            for step in walk(tab, file.as_uri())
        ]
        tasks = tasks_of(trace_of(tab))
    before = 0.0
    for step, after in steps:
        own = [task for task in tasks if before <= task["ts"] < after]
        longest = max(own, key=lambda task: task.get("tdur", 0))
        print(f"{longest['tdur'] / 1000:5.0f} ms  {step}: {said(longest)}")
        before = after
    print(f"longest: {max(task.get('tdur', 0) for task in tasks) / 1000:.0f} ms of CPU")


def most_memory(file: Path, phone: bool) -> None:
    """Walk through a page, and tell how much memory it took at most."""
    with opened(phone) as (tab, process):
        took = [(memory(process), step) for step in walk(tab, file.as_uri())]
        tab.ask("HeapProfiler.collectGarbage")
        kept = memory(process)
    most, when = max(took)
    print(f"memory of the page: at most {most:.0f} MB ({when}), in the end {kept:.0f} MB")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--phone", action="store_true")
    phone = parser.parse_args().phone
    with tempfile.TemporaryDirectory() as folder:
        file = twinlens.live_page(Path(folder) / "page.html", recorded=0)
        longest_tasks(file, phone)
        most_memory(file, phone)


if __name__ == "__main__":
    main()
