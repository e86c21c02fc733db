"""Main-thread work from a click to its picture, in a page with all blocks at hand.

    python -m tests.benchmarks.clicks

Made-up numbers in two shapes: that of a pair of 135 million parameters, and a large one. Tokens and
heads are clicked one after the other with the dashboard as it opens, and with every panel beside
the matrix. Milliseconds of the main thread's own CPU time, medians; script, style and layout are
parts of it, the rest is painting and the browser's own. `nothing` is a click that changes nothing.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path

from playwright.sync_api import CDPSession, Page, sync_playwright
from twinlens.contract.block import Block
from twinlens.contract.words import SIDES, Segment
from twinlens.pages.page import to_html

from tests.benchmarks.saliency import line
from tests.browser.chromium import FLAGS, find
from tests.support.made_up import MadeUpTrace, manifest
from tests.support.made_up_words import WORDS

#: Layers, heads, prompt and answer tokens.
SHAPES = {"135M": (30, 9, 112, 16), "large": (48, 32, 480, 32)}
PANELS = ("carried", "heads", "concepts", "overview")
PARTS = {
    "all": "TaskDuration",
    "script": "ScriptDuration",
    "style": "RecalcStyleDuration",
    "layout": "LayoutDuration",
}
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


class Clicks:
    """A page, and what clicks in it cost."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.session: CDPSession = page.context.new_cdp_session(page)
        self.session.send("Performance.enable", {"timeDomain": "threadTicks"})

    def settled(self) -> None:
        self.page.wait_for_function(
            """() => { const all = [...document.querySelectorAll("[data-panel]")];
              return all.length > 5 && all.every(p => p.dataset.state !== "loading") }"""
        )
        # Two frames later everything is painted.
        self.page.evaluate(_PAINTED)

    def metrics(self) -> dict[str, float]:
        found = self.session.send("Performance.getMetrics")["metrics"]
        return {one["name"]: one["value"] * 1e3 for one in found}

    def cost(self, click: Callable[[], None]) -> dict[str, float]:
        self.settled()
        before = self.metrics()
        click()
        # Looking whether it is done would cost more than the click.
        time.sleep(_ENOUGH)
        after = self.metrics()
        self.settled()
        return {part: after[name] - before[name] for part, name in PARTS.items()}

    def median(self, clicks: Iterable[Callable[[], None]]) -> list[str]:
        costs = [self.cost(click) for click in clicks]
        return [f"{statistics.median(cost[part] for cost in costs):.1f}" for part in PARTS]

    def at(self, selector: str, x: float = 0.5, y: float = 0.5) -> Callable[[], None]:
        """A click at a place of an element, without looking for it in the page while it counts."""
        box = self.page.locator(selector).first.bounding_box()
        assert box, selector
        place = (box["x"] + x * box["width"], box["y"] + y * box["height"])
        return lambda: self.page.mouse.click(*place)


def measure(clicks: Clicks, shape: tuple[int, int, int, int]) -> None:
    _, heads, prompt, answer = shape
    page = clicks.page
    line("panel", "click", *PARTS)
    line(*["---"] * (len(PARTS) + 2))
    nothing = [clicks.at(".tl-brand")] * 5
    line("", "nothing", *clicks.median(nothing))
    for panel in PANELS:
        page.locator(f"[data-tab={panel}]").click()
        clicks.settled()
        tokens = [clicks.at(f"[data-token='{prompt + i}']") for i in range(2, min(answer, 14))]
        for warm in tokens:
            warm()
            clicks.settled()
        line(panel, "answer token", *clicks.median(tokens))
        early = [clicks.at(f"[data-token='{i}']") for i in range(3, 15)]
        line(panel, "prompt token", *clicks.median(early))
        if panel == "heads":
            places = [(i + 0.5) / heads for i in range(HEADS)]
            grid = ".tl-grids canvas[data-side=base]"
            row = 1.5 / shape[0]
            cells = [clicks.at(grid, x, row) for x in places]
            for warm in cells:
                warm()
                clicks.settled()
            line(panel, "head", *clicks.median(cells))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--shape", choices=SHAPES, nargs="*", default=list(SHAPES))
    options = parser.parse_args()
    executable = find()
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=executable, args=FLAGS)
        for name in options.shape:
            url = page_of(SHAPES[name], Path(folder))
            page = browser.new_page(viewport={"width": 1280, "height": 900})
            page.set_default_timeout(120_000)
            page.goto(url)
            print(f"\n{name}: {' x '.join(map(str, SHAPES[name]))}\n")
            measure(Clicks(page), SHAPES[name])
            page.close()
        browser.close()


if __name__ == "__main__":
    main()
