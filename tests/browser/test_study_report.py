"""The report of a study in a browser: brush, sort, a number's cases, a case's panel; offline."""

from __future__ import annotations

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import Watch
from tests.unit.studies.planted import Planted

pytest.importorskip("pyarrow")


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> str:
    from twinlens.studies.report import write_report
    from twinlens.studies.robustness import Grid

    path = tmp_path_factory.mktemp("study") / "report.html"
    grid = Grid(levels=(10,), thresholds=(7,), norms=(4.0,))
    write_report(Planted(20, effect=1.0), path, grid=grid, bootstrap=50)
    return path.as_uri()


def visible(page: Page) -> int:
    return page.locator("#cases tbody tr:visible").count()


def test_report(page: Page, report: str, watch: Watch) -> None:
    page.goto(report)
    page.wait_for_selector("body[data-state=ready]")
    assert visible(page) == 20

    # Every number leads to its cases.
    page.get_by_role("button", name="10", exact=True).first.click()
    assert visible(page) == 10
    expect(page.locator("#filter-note")).to_contain_text("one, base: 10 of 20 prompts")
    page.get_by_role("button", name="Show all").click()
    assert visible(page) == 20

    # Columns sort, both ways.
    head = page.locator("#cases th", has_text="tuned − base")
    cells = page.locator("#cases tbody tr td:nth-child(6)")
    for order in ("ascending", "descending"):
        head.locator("button").click()
        assert head.get_attribute("aria-sort") == order
        values = [float(cell.get_attribute("data-v") or "nan") for cell in cells.all()]
        assert values == sorted(values, reverse=order == "descending")
        assert len(set(values)) > 10

    # A brush in one figure keeps its cases, in the table and in the other figure.
    canvas = page.locator("#figure-cases .bk-Canvas").first
    canvas.scroll_into_view_if_needed()
    box = canvas.bounding_box()
    assert box
    page.mouse.move(box["x"] + 100, box["y"] + 100)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] * 0.6, box["y"] + box["height"] * 0.75, steps=8)
    page.mouse.up()
    expect(page.locator("#filter-note")).to_contain_text("Selected in the figure")
    source = "Bokeh.documents.flatMap((d) => d.get_model_by_name('cases') ?? [])[0]"
    chosen = page.evaluate(f"{source}.selected.indices.length")
    assert 0 < chosen < 20
    assert visible(page) == chosen
    page.get_by_role("button", name="Show all").click()

    # A case opens in the saliency panel.
    page.locator("#cases button.open", has_text="p3").first.click()
    panel = page.frame_locator("#case iframe").locator("[data-panel=saliency]")
    expect(panel).to_have_attribute("data-state", "ready")
    expect(panel).to_contain_text("instruction score")

    assert watch.errors == []
    assert watch.outside() == []
