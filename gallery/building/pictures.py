"""Pictures of pages, for the index: what a reader sees first, in both themes."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from playwright.sync_api import Browser, Page, sync_playwright
from twinlens.contract.words import THEMES, ChartTheme

from tests.browser.chromium import FLAGS, find

WIDTH, HEIGHT = 960, 600
SCALE = 0.6
#: A page may have to wait for cores that are busy.
PATIENCE_MS = 60_000

#: By theme a picture as the address of an image.
Pictures = dict[ChartTheme, str]


@contextmanager
def camera() -> Iterator[Browser | None]:
    """A Chromium; None where there is none that works."""
    executable = find()
    if executable is None:
        yield None
        return
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=executable, args=FLAGS)
        yield browser
        browser.close()


def pictures(browser: Browser, page: Path, panel: str = "") -> Pictures:
    """Take a picture of a page, from the panel of a kind on where it has one."""
    return {theme: _picture(browser, page, panel, theme) for theme in THEMES}


def _picture(browser: Browser, path: Path, panel: str, theme: ChartTheme) -> str:
    context = browser.new_context(
        viewport={"width": WIDTH, "height": HEIGHT}, device_scale_factor=SCALE, color_scheme=theme
    )
    context.set_default_timeout(PATIENCE_MS)
    page = context.new_page()
    page.goto(path.as_uri())
    drawn(page)
    chosen = page.locator(f"[data-kind={panel}]" if panel else ".panel").first
    if chosen.count():
        chosen.evaluate("panel => panel.scrollIntoView()")
        page.evaluate("new Promise(done => requestAnimationFrame(() => setTimeout(done, 200)))")
    data = page.screenshot(type="jpeg", quality=82)
    context.close()
    return f"data:image/jpeg;base64,{base64.b64encode(data).decode()}"


def drawn(page: Page) -> None:
    """Wait until every panel in the page has been drawn."""
    page.wait_for_function(
        """() => [...document.querySelectorAll("[data-shows]")].every(place => {
          const panels = [...place.querySelectorAll("[data-panel]")];
          return panels.length && panels.every(one =>
            one.dataset.state === "ready" || one.offsetParent === null);
        })"""
    )
