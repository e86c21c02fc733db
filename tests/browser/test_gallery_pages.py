"""Every notebook of the gallery runs, and its page works without a kernel and without a network.

The first is also run in JupyterLab, as a reader does, beside the same run in this process.
"""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from playwright.sync_api import Locator, Page, expect
from twinlens.traces import recording
from twinlens.view.explorer import Explorer

from gallery.build import NOTEBOOKS, build_notebooks
from gallery.building.run import Ran
from tests.browser.conftest import Watch
from tests.browser.lab import Notebook
from tests.browser.panels import KINDS, Compact, Panels, Selection, walk
from tests.browser.test_lab import dashboard, separate
from tests.support.places import ROOT

pytest.importorskip("pyarrow")

GALLERY = ROOT / "gallery"
FIRST = "01_what_did_tuning_change"

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


def test_the_first_notebook_works_from_top_to_bottom(site, page, lab, offline, watch):
    """Run it, click through dashboard and cells, and open what it exported."""
    ran, _ = site(FIRST)
    # What the notebook computes, computed here.
    live = next(w.trace for w in ran.widgets.values() if isinstance(w, Explorer))
    shutil.copy(GALLERY / f"{FIRST}.ipynb", lab.root)
    opened = Notebook(page, lab, f"{FIRST}.ipynb")
    opened.open()
    opened.run_all()
    chosen = Selection(live.manifest.prompt_length + 4)

    shown, apart = dashboard(page, live), separate(page, live)
    # Taking the update apart takes as long as all the rest: the test of the dial does it.
    shown.kinds = [kind for kind in KINDS if kind != "update"]
    apart.kinds = ("findings", "saliency")
    shown.check(chosen)
    apart.check(chosen)
    opened.run("ex.select(token=-1)")
    apart.check(walk(shown, head=(1, 2)))
    apart.click_token(chosen.token)
    shown.check(chosen)

    assert watch.outside() == []

    recorded = recording.read(lab.root / "first_look.twl")
    offline.goto((lab.root / "first_look.html").as_uri())
    exported = Panels(offline.locator("body"), Compact(recorded))
    exported.check(chosen)
    assert watch.outside() == []

    # A recording offers only the methods it holds.
    assert set(recorded.manifest.methods) <= set(live.manifest.methods)
    assert dataclasses.replace(recorded.manifest, methods=live.manifest.methods) == live.manifest
    for key in list(recorded.keys()):
        if isinstance(recorded.block(key), np.ndarray):
            found, expected = recorded.array(key), live.array(key)
            scale = max(float(np.abs(expected).max(initial=0)), 1e-6)
            np.testing.assert_allclose(found, expected, atol=2e-3 * scale, err_msg=key)


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
