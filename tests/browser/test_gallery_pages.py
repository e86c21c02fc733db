"""Every notebook of the gallery runs, and its page works without a kernel and without a network."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest
from playwright.sync_api import Locator, Page, expect
from twinlens.view.explorer import Explorer

from gallery.build import NOTEBOOKS, build_notebooks
from gallery.building.run import Ran
from tests.browser.conftest import Watch
from tests.support.places import ROOT

pytest.importorskip("pyarrow")

GALLERY = ROOT / "gallery"


#: What a click selects with, the first that a panel has.
TARGETS = (
    "[data-token]:visible",
    "button[data-part]:visible, button[data-direction]:visible, button[data-unit]:visible",
    ".tl-grids canvas:visible",
)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], tuple[Ran, Path]]:
    """Run a notebook, once, and write its page."""
    folder = tmp_path_factory.mktemp("site")

    @cache
    def built(name: str) -> tuple[Ran, Path]:
        (one,) = build_notebooks(folder, [GALLERY / f"{name}.ipynb"])
        return one

    return built


def click(places: Locator) -> None:
    """Select something in one of the panels."""
    for target in TARGETS:
        found = places.locator(target)
        if found.count():
            found.nth(found.count() // 3).click()
            return
    raise AssertionError("there is nothing to click")


@pytest.mark.parametrize("name", [path.stem for path in NOTEBOOKS])
def test_a_notebook_runs_and_its_page_works(
    name: str, site: Callable[[str], tuple[Ran, Path]], offline: Page, watch: Watch
) -> None:
    """Every panel is drawn, and all of an explorer follow a click in one of them."""
    ran, path = site(name)
    assert "## Try" in ran.cells[-1].source
    offline.goto(path.as_uri())
    expect(offline.locator("h1")).to_have_count(1)
    explorers = [widget for widget in ran.widgets.values() if isinstance(widget, Explorer)]
    for explorer in explorers:
        places = offline.locator(f"[data-shows='{explorer.model_id}']")
        panels = places.locator("[data-panel]:visible")
        ready(panels)
        before = panels.first.get_attribute("data-selection") or ""
        click(places)
        expect(panels.first).not_to_have_attribute("data-selection", before)
        chosen = panels.first.get_attribute("data-selection") or ""
        for panel in panels.all():
            expect(panel).to_have_attribute("data-selection", chosen)
        ready(panels)
    assert explorers or name.startswith("10")
    assert watch.errors == []
    assert [url for url in watch.requests if not url.startswith(("file:", "data:", "blob:"))] == []


def ready(panels: Locator) -> None:
    expect(panels.first).to_be_visible()
    for panel in panels.all():
        expect(panel).to_have_attribute("data-state", "ready")


def test_the_report_of_the_study_leads_to_a_case(
    site: Callable[[str], tuple[Ran, Path]], page: Page, watch: Watch
) -> None:
    _, path = site("02_does_it_see_the_instruction")
    page.goto((path.with_suffix("") / "instruction_study.html").as_uri())
    page.wait_for_selector("body[data-state=ready]")
    assert page.locator("#cases tbody tr").count() == 18
    titles = page.locator("h2").all_inner_texts()
    assert any("rest more on the instruction" in title for title in titles)
    page.locator("#cases button.open", has_text="question 3").click()
    panel = page.frame_locator("#case iframe").locator("[data-panel=saliency]")
    expect(panel).to_have_attribute("data-state", "ready")
    assert watch.errors == []
    assert watch.outside() == []
