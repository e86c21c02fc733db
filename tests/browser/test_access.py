"""Access: axe over whole pages, sizes of targets, and signs that do not rest on hue."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from twinlens.pages.page import to_html

from tests.browser.panels import Compact, Panels, Selection

AXE = Path(__file__).parents[2] / "js" / "node_modules" / "axe-core" / "axe.min.js"
_RUN = """async () => (await axe.run(document, {resultTypes: ["violations"]})).violations
  .filter(({impact}) => impact === "serious" || impact === "critical")
  .map(({id, nodes}) => [id, nodes.length, nodes[0].html.slice(0, 160), nodes[0].failureSummary])"""
#: Words in a text, and names of rows along a picture, are as large as their text.
_SMALL = """() => [...document.querySelectorAll("button, select, input, [role=tab]")]
  .filter(el => el.offsetParent)
  .filter(el => !el.matches(".tl-token, .tl-word-item, .tl-link, [type=checkbox]"))
  .map(el => [el.getBoundingClientRect(), el.outerHTML.slice(0, 120)])
  .filter(([{width, height}]) => Math.min(width, height) < 23.5).map(([, html]) => html)"""


@pytest.mark.parametrize(("theme", "layout"), [("light", "pair"), ("dark", "grid")])
def test_axe_finds_nothing_serious(theme, layout, trace, offline, tmp_path: Any):
    if not AXE.exists():
        pytest.skip("axe-core is not installed: run `make setup`")
    view = {"dashboard": {"layout": layout}}
    to_html(trace, tmp_path / "page.html", theme=theme, view=view, selection={"token": 17})
    offline.goto((tmp_path / "page.html").as_uri())
    panels = Panels(offline.locator("body"), Compact(trace), unfold=False)
    panels.check(Selection(token=17), "findings", "saliency", "carried")
    offline.evaluate(AXE.read_text())
    assert offline.evaluate(_RUN) == []
    assert offline.evaluate(_SMALL) == []
