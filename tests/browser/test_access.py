"""Access: axe over whole pages, sizes of targets, and signs that do not rest on hue."""

from __future__ import annotations

from typing import Any

import pytest
from twinlens.pages.page import to_html

from tests.browser.axe import serious
from tests.browser.panels import Compact, Panels, Selection

#: Words in a text, and names of rows along a picture, are as large as their text.
_SMALL = """() => [...document.querySelectorAll("button, select, input, [role=tab]")]
  .filter(el => el.offsetParent)
  .filter(el => !el.matches(".tl-token, .tl-word-item, .tl-link, [type=checkbox]"))
  .map(el => [el.getBoundingClientRect(), el.outerHTML.slice(0, 120)])
  .filter(([{width, height}]) => Math.min(width, height) < 23.5).map(([, html]) => html)"""


@pytest.mark.parametrize(
    ("theme", "layout", "width"),
    [("light", "pair", 1280), ("dark", "grid", 1280), ("dark", "tabs", 400)],
)
def test_axe_finds_nothing_serious(theme, layout, width, trace, offline, tmp_path: Any):
    view = {"dashboard": {"layout": layout}}
    to_html(trace, tmp_path / "page.html", theme=theme, view=view, selection={"token": 17})
    offline.set_viewport_size({"width": width, "height": 800})
    offline.goto((tmp_path / "page.html").as_uri())
    panels = Panels(offline.locator("body"), Compact(trace), unfold=False)
    panels.check(Selection(token=17), "findings", "saliency")
    for tab in (
        [None] if layout == "grid" else ["carried", "update", "heads", "concepts", "overview"]
    ):
        if tab:
            offline.locator(f"[data-tab={tab}]").first.click()
            panels.check(Selection(token=17), tab)
        assert serious(offline) == []
        assert offline.evaluate(_SMALL) == []
