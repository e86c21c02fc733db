"""Main-thread work from pointer-down to painted, in a page with all blocks at hand.

    python -m tests.benchmarks.clicks
    python -m tests.benchmarks.clicks --shape 135M --panels overview --functions 20

Made-up numbers in two shapes: that of a pair of 135 million parameters, and a large one. Tokens and
heads are clicked one after the other with every panel beside the matrix; the pointer is there
before the click. Milliseconds of CPU of the page's main thread, medians, from Chromium's trace:
threads that raster and the process that composes take part in no column.

`painted`: all tasks of the main thread but those that wait for an idle page. Of it `work` is what
the page asks for: `script`, `style`, `layout` (styles inside containers are worked out there) and
`paint` (with what goes to the compositor); the rest is the browser's own: finding what was hit,
passing messages.
`after`: what waited, such as the address. `frames`: how often the main thread worked on one.
`nothing` is a click that changes nothing. Other work on the machine makes all of it more, so the
load is told.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import tempfile
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser, Page, sync_playwright
from twinlens.contract.block import Block
from twinlens.contract.words import SIDES, Segment
from twinlens.pages.page import to_html

from tests.benchmarks.main_thread import tasks_of
from tests.benchmarks.saliency import line
from tests.browser.chromium import FLAGS, find
from tests.support.made_up import MadeUpTrace, manifest
from tests.support.made_up_words import WORDS

#: Layers, heads, prompt and answer tokens.
SHAPES = {"135M": (30, 9, 112, 16), "large": (48, 32, 480, 32)}
PANELS = ("carried", "update", "heads", "concepts", "overview")
CATEGORIES = ["toplevel", "devtools.timeline", "blink", "cc", "v8", "__metadata"]
#: What events of a trace count as, with all inside them that counts as nothing else.
PARTS = {
    **dict.fromkeys(
        ("v8.callFunction", "FunctionCall", "RunMicrotasks", "V8.RunMicrotasks", "v8.run"),
        "script",
    ),
    "BlinkScheduler_PerformMicrotaskCheckpoint": "script",
    **dict.fromkeys(("UpdateLayoutTree", "Blink.Style.UpdateTime"), "style"),
    "Layout": "layout",
    **dict.fromkeys(("PrePaint", "Paint", "Layerize"), "paint"),
    "LocalFrameView::RunPaintLifecyclePhase": "paint",
}
IDLE = "FireIdleCallback"
FRAME = "PageAnimator::serviceScriptedAnimations"
COLUMNS = ("painted", "work", "script", "style", "layout", "paint", "after", "frames")
HEADS = 6
#: Seconds in which a click is long done.
_ENOUGH = 0.7
_PAINTED = """() => new Promise(done => requestAnimationFrame(() =>
  requestAnimationFrame(() => setTimeout(done, 60))))"""


class Clicked(MadeUpTrace):
    """What the clicks can reach: attention of a few heads, not of all."""

    def keys(self) -> Iterable[str]:
        return [key for key in MadeUpTrace.keys(self) if self.reachable(key)]

    def some(self, made: Block[..., object]) -> Iterable[str]:
        every = list(super().some(made))
        return every if len(every) < 4000 else every[:: len(every) // 2000]

    def reachable(self, key: str) -> bool:
        name, *rest = key.split("/")
        if name == "attention":
            return rest[1] == "1" and int(rest[2]) < HEADS
        if name.startswith(("word_pairs", "neuron", "component_ends", "exchanged_")):
            return False
        return name != "components" or rest[0] in ("change", "1", "2")


def page_of(shape: tuple[int, int, int, int], folder: Path) -> str:
    layers, heads, prompt, answer = shape
    words = [" " + WORDS[i % len(WORDS)] for i in range(prompt + answer)]
    segments: list[Segment] = [
        "instruction" if i < prompt // 2 else "context" for i in range(prompt)
    ]
    made = manifest(
        layers,
        heads,
        prompt=list(zip(words, segments, strict=False)),
        answers=dict.fromkeys(SIDES, tuple(words[prompt:])),
    )
    target = folder / "page.html"
    to_html(Clicked(made), target, budget_mb=200)
    return target.as_uri()


Place = tuple[float, float]


class Clicks:
    """A page, and what clicks in it cost."""

    def __init__(self, browser: Browser, page: Page, functions: int) -> None:
        self.browser = browser
        self.page = page
        self.functions = functions

    def settled(self) -> None:
        self.page.wait_for_function(
            """() => { const all = [...document.querySelectorAll("[data-panel]")];
              return all.length > 5 && all.every(p => p.dataset.state !== "loading") }"""
        )
        # Two frames later everything is painted.
        self.page.evaluate(_PAINTED)

    def at(self, selector: str, x: float = 0.5, y: float = 0.5) -> Place:
        box = self.page.locator(selector).first.bounding_box()
        assert box, selector
        return box["x"] + x * box["width"], box["y"] + y * box["height"]

    def once(self, places: Iterable[Place]) -> None:
        """Click for the first time: blocks are read, and scripts compiled."""
        for place in places:
            self.page.mouse.click(*place)
            self.settled()

    def costs(self, places: Iterable[Place]) -> Iterator[list[dict[str, Any]]]:
        """Tasks of the main thread of each click."""
        self.browser.start_tracing(categories=CATEGORIES)
        windows = []
        for place in places:
            self.page.mouse.move(*place)
            self.settled()
            began = _now()
            self.page.mouse.down()
            self.page.mouse.up()
            # Looking whether it is done would cost more than the click.
            time.sleep(_ENOUGH)
            windows.append((began, _now()))
        events = json.loads(self.browser.stop_tracing())["traceEvents"]
        tasks = tasks_of(events, told=0)
        for first, last in windows:
            yield [task for task in tasks if first <= task["ts"] < last]

    def medians(self, places: Iterable[Place]) -> list[str]:
        spent: list[Counter[str]] = []
        functions: Counter[str] = Counter()
        for tasks in self.costs(places):
            cost: Counter[str] = Counter(dict.fromkeys(COLUMNS, 0.0))
            for task in tasks:
                count(task, cost, functions)
            spent.append(cost)
        for name, took in functions.most_common(self.functions):
            print(f"<!-- {took / len(spent):.2f} ms: {name} -->")
        return [f"{statistics.median(cost[name] for cost in spent):.1f}" for name in COLUMNS]


def _now() -> float:
    return time.clock_gettime(time.CLOCK_MONOTONIC) * 1e6


def count(task: dict[str, Any], cost: Counter[str], functions: Counter[str]) -> None:
    """Add what a task spent to the columns, and to what it spent it in; milliseconds."""
    events = sorted([task, *task["inside"]], key=lambda e: (e["ts"], -e["dur"]))
    around: list[dict[str, Any]] = []
    for event in events:
        while around and event["ts"] >= around[-1]["ts"] + around[-1]["dur"]:
            around.pop()
        parent = around[-1] if around else None
        name = str(event["name"])
        part = PARTS.get(name, parent["part"] if parent else "")
        event["part"] = IDLE if name == IDLE or (parent and parent["part"] == IDLE) else part
        took = event.get("tdur", 0) / 1000
        data = event.get("args", {}).get("data") or {}
        event["label"] = f"{name} {data.get('functionName', '')}".strip()
        for whose, sign in ((event, 1), (parent, -1)):
            if not whose:
                continue
            functions[whose["label"]] += sign * took
            if whose["part"] == IDLE:
                cost["after"] += sign * took
                continue
            cost["painted"] += sign * took
            if whose["part"]:
                cost["work"] += sign * took
                cost[whose["part"]] += sign * took
        cost["frames"] += name == FRAME
        around.append(event)


def measure(clicks: Clicks, shape: tuple[int, int, int, int], panels: Iterable[str]) -> None:
    layers, heads, prompt, answer = shape
    page = clicks.page
    line("panel", "click", *COLUMNS)
    line(*["---"] * (len(COLUMNS) + 2))
    line("", "nothing", *clicks.medians([clicks.at(".tl-brand")] * 5))
    for panel in panels:
        page.locator(f"[data-tab={panel}]").click()
        clicks.settled()
        tokens = [clicks.at(f"[data-token='{prompt + i}']") for i in range(2, min(answer, 14))]
        early = [clicks.at(f"[data-token='{i}']") for i in range(3, 15)]
        clicks.once(tokens + early)
        line(panel, "answer token", *clicks.medians(tokens))
        line(panel, "prompt token", *clicks.medians(early))
        if panel == "heads":
            grid = ".tl-grids canvas[data-side=base]"
            cells = [clicks.at(grid, (i + 0.5) / heads, 1.5 / layers) for i in range(HEADS)]
            clicks.once(cells)
            line(panel, "head", *clicks.medians(cells))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--shape", choices=SHAPES, nargs="*", default=list(SHAPES))
    parser.add_argument("--panels", choices=PANELS, nargs="*", default=list(PANELS))
    parser.add_argument("--functions", type=int, default=0, help="how many functions to name")
    options = parser.parse_args()
    executable = find()
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=executable, args=FLAGS)
        for name in options.shape:
            url = page_of(SHAPES[name], Path(folder))
            page = browser.new_page(viewport={"width": 1280, "height": 900})
            page.set_default_timeout(120_000)
            page.goto(url)
            busy = " ".join(f"{load:.1f}" for load in os.getloadavg())
            print(f"\n{name}: {' x '.join(map(str, SHAPES[name]))}, load {busy}\n")
            clicks = Clicks(browser, page, options.functions)
            clicks.settled()
            measure(clicks, SHAPES[name], options.panels)
            page.close()
        browser.close()


if __name__ == "__main__":
    main()
