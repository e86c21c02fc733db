"""This page beside what BertViz and Inspectus write, for the same model and the same prompt.

    pip install --no-deps --target PEERS bertviz inspectus
    cd PEERS && npm install requirejs@2.3.6 jquery@2.1.4 d3@5.7.0
    python -m tests.benchmarks.peers PEERS
    python -m tests.benchmarks.peers PEERS --trace page.twl     # of a recording instead

They show the attention of one model (here the tuned one) over the whole text, every layer and head;
our page holds both models and all panels. BertViz's page loads three scripts from a network: here
from PEERS, so that they are counted and the time that a network takes is not. Inspectus fails on
tokens with some signs, which are replaced for it. Bytes are those of the page and of what it loads.
Painted: from the start of the navigation to the first contentful paint, milliseconds of the clock.
Load and gestures: milliseconds of the main thread's CPU time, medians. A gesture is a token pointed
at (BertViz, heads), a map clicked (BertViz, model), a token clicked (Inspectus, twinlens), and
counts from before the pointer moves until all is quiet again. The pages take turns.
"""

from __future__ import annotations

import argparse
import re
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from playwright.sync_api import Browser, CDPSession, Page, sync_playwright
from twinlens.pages.page import to_html
from twinlens.traces.trace import Trace

from tests.benchmarks.saliency import line
from tests.browser.chromium import FLAGS, find

#: What BertViz asks of its network, in the folder of its packages.
SCRIPTS = {
    "require.min": "requirejs/require.js",
    "jquery.min": "jquery/dist/jquery.min.js",
    "d3.min": "d3/dist/d3.min.js",
}
_NETWORK = re.compile(r"https://cdnjs\.cloudflare\.com/[^'\"]*/")
PROMPT = "Rewrite this sentence in capital letters: The small dog sleeps in the garden."
#: Seconds after which every page is quiet.
_QUIET = 1.2
LOADS, GESTURES = 3, 8


def attention(trace: Trace) -> tuple[list[Any], list[str]]:
    """Attention of tuned as the peers take it, L tensors [1, H, T, T], and the tokens."""
    import torch

    manifest = trace.manifest
    layers = [
        np.stack(
            [np.asarray(trace.attention("tuned", i, j).data) for j in range(manifest.pair.heads)]
        )
        for i in range(manifest.pair.layers)
    ]
    tokens = [*manifest.prompt_tokens, *manifest.answers["tuned"].tokens]
    return (
        [torch.tensor(one.astype(np.float32))[None] for one in layers],
        [token.text for token in tokens],
    )


def shown(show: Callable[[], object]) -> str:
    """The HTML that a notebook would be given."""
    import IPython.display

    parts: list[str] = []
    display = IPython.display.display
    IPython.display.display = lambda *objects, **_: parts.extend(one.data for one in objects)
    try:
        show()
    finally:
        IPython.display.display = display
    return "\n".join(parts)


def pages(trace: Trace, folder: Path, peers: Path) -> dict[str, tuple[Path, int]]:
    """Pages and their bytes, with those of the scripts that they load."""
    import bertviz  # type: ignore[import-not-found]
    import inspectus  # type: ignore[import-not-found]

    layers, tokens = attention(trace)
    plain = [re.sub(r"\W", "_", token) for token in tokens]
    written = {
        "BertViz, heads": bertviz.head_view(layers, tokens, html_action="return").data,
        "BertViz, model": bertviz.model_view(layers, tokens, html_action="return").data,
        "Inspectus": shown(lambda: inspectus.attention(layers, plain)),
    }
    for name, source in SCRIPTS.items():
        shutil.copy(peers / "node_modules" / source, folder / f"{name}.js")
    found = {}
    for i, (name, html) in enumerate(written.items()):
        path = folder / f"{i}.html"
        own = _NETWORK.sub("./", html)
        path.write_text(f"<!doctype html><meta charset=utf-8><body>{own}", "utf-8")
        loaded = SCRIPTS if own != html else {}
        size = sum((folder / f"{name}.js").stat().st_size for name in loaded)
        found[name] = path, path.stat().st_size + size
    to_html(trace, folder / "twinlens.html")
    found["twinlens"] = folder / "twinlens.html", (folder / "twinlens.html").stat().st_size
    return found


class Opened:
    """A page, and the CPU time of its main thread."""

    def __init__(self, browser: Browser, path: Path) -> None:
        self.page: Page = browser.new_page(viewport={"width": 1280, "height": 900})
        self.page.set_default_timeout(60_000)
        self.session: CDPSession = self.page.context.new_cdp_session(self.page)
        self.session.send("Performance.enable", {"timeDomain": "threadTicks"})
        self.page.goto(path.as_uri())
        time.sleep(2 * _QUIET)
        self.load = self.cpu()
        self.painted: float = self.page.evaluate(
            "performance.getEntriesByName('first-contentful-paint')[0]?.startTime ?? NaN"
        )

    def cpu(self) -> float:
        metrics = self.session.send("Performance.getMetrics")["metrics"]
        return 1e3 * next(one["value"] for one in metrics if one["name"] == "TaskDuration")

    def gestures(self, name: str) -> list[Callable[[], None]]:
        """Places of tokens or heads, to be pointed at or clicked."""
        script = """([selector, most]) => [...document.querySelectorAll(selector)]
          .map(el => el.getBoundingClientRect())
          .filter(box => box.width && box.top > 0 && box.bottom < innerHeight).slice(2, most + 2)
          .map(box => [box.x + box.width / 2, box.y + box.height / 2])"""
        selector, click = GESTURE[name]
        places = self.page.evaluate(script, [selector, GESTURES])
        mouse = self.page.mouse

        def at(x: float, y: float) -> None:
            mouse.click(x, y) if click else mouse.move(x, y)

        return [lambda x=x, y=y: at(x, y) for x, y in places]

    def cost(self, gesture: Callable[[], None]) -> float:
        self.page.bring_to_front()
        time.sleep(_QUIET)
        before = self.cpu()
        gesture()
        time.sleep(_QUIET)
        return self.cpu() - before


#: What of each page answers the pointer, and whether it has to be clicked.
GESTURE = {
    "BertViz, heads": ("svg text", False),
    "BertViz, model": ("svg rect.attn_background", True),
    "Inspectus": (".token", True),
    "twinlens": ("[data-token]", True),
}


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("peers", type=Path)
    parser.add_argument("--trace", type=Path)
    options = parser.parse_args(arguments)
    sys.path.append(str(options.peers))
    if options.trace:
        from twinlens.traces import recording

        trace: Trace = recording.read(options.trace)
    else:
        from twinlens import demo_pair, explore

        trace = explore(demo_pair(), PROMPT, instruction=PROMPT.partition(":")[0]).trace
    executable = find()
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        written = pages(trace, Path(folder), options.peers)
        browser = playwright.chromium.launch(executable_path=executable, args=FLAGS)
        opened: dict[str, list[Opened]] = {name: [] for name in written}
        for _ in range(LOADS):
            for name, (path, _) in written.items():
                opened[name].append(Opened(browser, path))
        last = {name: tries[-1] for name, tries in opened.items()}
        gestures = {name: one.gestures(name) for name, one in last.items()}
        costs: dict[str, list[float]] = {name: [] for name in written}
        for i in range(GESTURES):
            for name, one in last.items():
                if i < len(gestures[name]):
                    costs[name].append(one.cost(gestures[name][i]))
        line("page", "kB", "painted, ms", "load, CPU ms", "gesture, CPU ms", "gestures")
        line(*["---"] * 6)
        for name, tries in opened.items():
            median = statistics.median
            line(
                name,
                f"{written[name][1] / 1e3:.0f}",
                f"{median(one.painted for one in tries):.0f}",
                f"{median(one.load for one in tries):.0f}",
                f"{median(costs[name]):.1f}" if costs[name] else "-",
                str(len(costs[name])),
            )
        browser.close()


if __name__ == "__main__":
    main()
