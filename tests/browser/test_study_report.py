"""The report of a study in a browser: brush, sort, a number's cases, a case's panel; offline."""

from __future__ import annotations

import base64
import gzip
import json
from pathlib import Path
from typing import TYPE_CHECKING
from xml.etree import ElementTree

import pytest
from playwright.sync_api import Page, expect
from twinlens.contract.palette import PALETTES

from tests.browser.axe import serious
from tests.browser.conftest import Watch
from tests.unit.studies.planted import Planted

if TYPE_CHECKING:
    from twinlens.studies.report.report import ReportFile

pytest.importorskip("pyarrow")

#: Where the fourth point of tuned stands in the page, and its value.
POINT = """(name) => {
  const view = [...twinlensBokeh.index.roots].find((v) => v.model.name === name);
  const glyphs = view.model.renderers.filter((r) => r.glyph.type === "Scatter");
  const data = glyphs.at(-1).data_source.data;
  const at = view.el.getBoundingClientRect();
  const x = view.frame.x_scale.compute(data.part[3]), y = view.frame.y_scale.compute(data.mean[3]);
  return [at.left + x, at.top + y, data.mean[3]];
}"""
PNG = b"\x89PNG\r\n"


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> ReportFile:
    from twinlens.studies.analysis.variants import Grid
    from twinlens.studies.report.report import write_report

    path = tmp_path_factory.mktemp("study") / "report.html"
    grid = Grid(levels=(10,), thresholds=(7,), norms=(4.0,))
    return write_report(Planted(20, effect=1.0), path, grid=grid)


@pytest.fixture
def report(written: ReportFile) -> str:
    return written.path.as_uri()


def visible(page: Page) -> int:
    return page.locator("#cases tbody tr:visible").count()


def test_report(page: Page, report: str, watch: Watch) -> None:
    page.goto(report)
    page.wait_for_selector("body[data-state=ready]")
    assert visible(page) == 20
    assert serious(page) == []

    # Every number leads to its cases.
    page.get_by_role("button", name="10", exact=True).first.click()
    assert visible(page) == 10
    expect(page.locator("#filter-note")).to_contain_text("one, base: 10 of 20 prompts")
    page.get_by_role("button", name="Show all").click()
    assert visible(page) == 20

    # Columns sort, both ways.
    head = page.locator("#cases th", has_text="tuned − base")
    cells = page.locator("#cases tbody tr td:nth-child(7)")
    for order in ("ascending", "descending"):
        head.locator("button").click()
        assert head.get_attribute("aria-sort") == order
        values = [float(cell.get_attribute("data-v") or "nan") for cell in cells.all()]
        assert values == sorted(values, reverse=order == "descending")
        assert len(set(values)) > 10

    # A brush in one figure keeps its cases, in the table and in the other figure.
    canvas = page.locator("#plot-scores .bk-Canvas").first
    canvas.scroll_into_view_if_needed()
    box = canvas.bounding_box()
    assert box
    page.mouse.move(box["x"] + 100, box["y"] + 100)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] * 0.6, box["y"] + box["height"] * 0.75, steps=8)
    page.mouse.up()
    expect(page.locator("#filter-note")).to_contain_text("Selected in the figure")
    source = "twinlensBokeh.documents.flatMap((d) => d.get_model_by_name('cases') ?? []).at(-1)"
    chosen = page.evaluate(f"{source}.selected.indices.length")
    assert 0 < chosen < 20
    assert visible(page) == chosen
    page.get_by_role("button", name="Show all").click()

    # A number of the robustness table leads to its cases with their scores under these settings.
    place = page.locator("td.verdict button[data-variant='1']").last
    place.click()
    expect(page.locator("#filter-note")).to_contain_text("not divided by the prompt's maximum")
    packed = page.locator("#study-data").text_content() or ""
    study = json.loads(gzip.decompress(base64.b64decode(packed)))
    expected = study["variants"][1]["tuned"][3]
    scores = page.locator("#cases tr[data-id=p3] td")
    assert float(scores.nth(5).inner_text()) == pytest.approx(expected, abs=1e-4)
    assert page.evaluate(f"{source}.data.tuned[3]") == pytest.approx(expected, abs=1e-4)
    page.get_by_role("button", name="Show all").click()
    assert float(scores.nth(5).inner_text()) != pytest.approx(expected, abs=1e-2)

    # A point of a profile leads to its cases, each with its own value: they average to the point.
    expect(page.locator("#cases .own").first).to_be_hidden()
    plot = page.locator("#plot-profile-answer")
    plot.scroll_into_view_if_needed()
    x, y, mean = page.evaluate(POINT, "profile-answer")
    page.mouse.click(x, y)
    expect(page.locator("#filter-note")).to_contain_text("driven by the instruction, tenth 4")
    own = page.locator("#cases tbody tr:visible .own")
    values = [float(text) for text in own.all_inner_texts()]
    assert values == sorted(values, reverse=True)
    assert len(set(values)) > 1
    assert sum(values) / len(values) == pytest.approx(mean, abs=1e-3)
    page.get_by_text("The numbers of these figures").click()
    page.locator("button[data-profile='0'][data-part='1']").first.click()
    expect(page.locator("#filter-note")).to_contain_text("base, density by position in the prompt")
    page.get_by_role("button", name="Show all").click()
    expect(page.locator("#cases .own").first).to_be_hidden()

    # A case opens in the saliency panel, by keyboard too.
    page.locator("#cases button.open", has_text="p3").first.focus()
    page.keyboard.press("Enter")
    panel = page.frame_locator("#case iframe").locator("[data-panel=saliency]")
    expect(panel).to_have_attribute("data-state", "ready")
    expect(panel).to_contain_text("Instruction score")

    # Dark: page, figures and panel; every figure is saved as it is seen.
    page.locator("#theme").select_option("dark")
    page.wait_for_selector("body[data-state=ready][data-theme=dark]")
    paper = page.evaluate("getComputedStyle(document.body).backgroundColor")
    dark_paper = PALETTES["dark"].background
    assert paper == f"rgb({', '.join(str(int(dark_paper[i : i + 2], 16)) for i in (1, 3, 5))})"
    expect(panel).to_have_attribute("data-state", "ready")
    inside = page.frame_locator("#case iframe").locator(".twinlens").first
    dark = inside.evaluate("(el) => getComputedStyle(el).backgroundColor.match(/\\d+/g)[0]")
    assert int(dark) < 60
    for form in ("svg", "png"):
        with page.expect_download() as saving:
            page.locator(f"figure[data-figure=scores] button[data-format={form}]").click()
        assert saving.value.suggested_filename == f"scores.{form}"
        content = Path(saving.value.path()).read_bytes()
        if form == "png":
            assert content.startswith(PNG)
        else:
            assert len(list(ElementTree.fromstring(content).iter())) > 60
            assert dark_paper.encode() in content

    # On a narrow screen nothing but tables scrolls sideways.
    page.set_viewport_size({"width": 400, "height": 800})
    page.wait_for_function("document.documentElement.scrollWidth <= 400")

    assert watch.errors == []
    assert watch.outside() == []


def test_figures_are_saved_from_python(
    written: ReportFile, chromium: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("TWINLENS_BROWSER", chromium)
    files = written.save_figures(tmp_path)
    names = {path.name for path in files}
    assert {"scores.svg", "lengths.png", "robustness-tuned-against-base.svg"} <= names
    for path in files:
        content = path.read_bytes()
        if path.suffix == ".png":
            assert content.startswith(PNG)
            assert int.from_bytes(content[16:20], "big") == 2 * 720  # two pixels per point
        else:
            assert ElementTree.fromstring(content).get("width") == "720"
