"""Figures for papers, drawn without a browser."""

from __future__ import annotations

import csv
from xml.etree import ElementTree

import numpy as np
import pytest
from twinlens.contract import blocks
from twinlens.errors import ArgumentError, BrowserError
from twinlens.figures.panels import FIGURES, MEASURES
from twinlens.support import browser
from twinlens.view.explorer import Explorer

from tests.support.made_up import HOSTILE, MadeUpTrace, manifest

SVG = "{http://www.w3.org/2000/svg}"


@pytest.fixture(scope="module")
def explorer():
    return Explorer(MadeUpTrace())


@pytest.mark.parametrize("name", FIGURES)
@pytest.mark.parametrize(("width", "millimetres"), [("single", 89), ("double", 183)])
def test_a_figure_is_as_wide_as_its_column_and_nothing_is_cut(explorer, name, width, millimetres):
    figure = explorer.figure(name, width=width)
    root = ElementTree.fromstring(figure.svg)
    assert root.get("width") == f"{millimetres}mm"
    _, _, room, height = map(float, root.get("viewBox").split())
    assert root.find(f"{SVG}desc").text
    for path in root.iter(f"{SVG}path"):
        places = [piece.split("h")[0].split("V")[0] for piece in path.get("d").split("M")[1:]]
        for x, y in (place.split(" ") for place in places):
            assert -0.01 <= float(x) <= room
            assert -0.01 <= float(y) <= height
    last = max(float(text.get("y")) for text in root.iter(f"{SVG}text"))
    assert last <= height


def test_a_cell_has_the_colour_of_its_number(explorer):
    trace = explorer.trace
    explorer.select(layer=1, head=2)
    figure = explorer.figure("maps", width="double")
    names, *rows = figure.rows
    assert names == ["layer", "head", "query", "query_token", "key", "key_token", "base", "tuned"]
    for side in ("base", "tuned"):
        pattern = trace.array(blocks.attention(side, 1, 2))
        for row in rows[::17]:
            np.testing.assert_allclose(row[names.index(side)], pattern[row[2], row[4]])
    explorer.select(head=-1)


def test_heads_are_drawn_by_every_measure(explorer):
    trace = explorer.trace
    with pytest.raises(ArgumentError, match="select it with"):
        explorer.figure("heads", measure="received")
    for measure in set(MEASURES) - {"received"}:
        names, *rows = explorer.figure("heads", measure=measure).rows
        assert names[:5] == ["measure", "layer", "head", "base", "tuned"]
        assert len(rows) == 32
    change = np.asarray(trace.head_change()).ravel()
    names, *rows = explorer.figure("heads", measure="change").rows
    np.testing.assert_allclose([row[-1] for row in rows], change, rtol=1e-6)
    names, *rows = explorer.figure("heads", measure="effect").rows
    for side in ("base", "tuned"):
        effect = np.asarray(trace.head_effect(side)).ravel()
        np.testing.assert_allclose([row[names.index(side)] for row in rows], effect)


def test_hostile_texts_are_drawn_as_texts(tmp_path):
    made = manifest(
        prompt=[(text + "\x00", "instruction") for text in HOSTILE],
        answers={"base": HOSTILE, "tuned": HOSTILE},
    )
    explorer = Explorer(MadeUpTrace(made))
    for name in FIGURES:
        figure = explorer.figure(name)
        root = ElementTree.fromstring(figure.svg)
        kinds = {element.tag.removeprefix(SVG) for element in root.iter()}
        allowed = {"svg", "title", "desc", "style", "rect", "path", "text"}
        assert kinds <= allowed
        assert {key for element in root.iter() for key in element.attrib}.isdisjoint(
            {"onload", "onerror", "href"}
        )
        figure.save(tmp_path / "figure.csv")
    texts = [element.text for element in root.iter(f"{SVG}text")]
    assert texts
    figure = explorer.figure("saliency")
    drawn = {element.text for element in ElementTree.fromstring(figure.svg).iter(f"{SVG}text")}
    assert "</script>" in drawn
    assert "<script>windo…" in drawn
    figure.save(tmp_path / "figure.csv")
    with (tmp_path / "figure.csv").open(newline="", encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    assert {row["answer"] for row in rows} == set(HOSTILE)


def test_what_cannot_be_drawn_is_one_sentence(explorer, monkeypatch, tmp_path):
    with pytest.raises(ArgumentError, match="no figure 'dashboard': use one of saliency, heads"):
        explorer.figure("dashboard")
    with pytest.raises(ArgumentError, match="no width 'wide': use one of single, double"):
        explorer.figure("heads", width="wide")
    with pytest.raises(ArgumentError, match="no measure of heads 'luck': use one of instruction"):
        explorer.figure("heads", measure="luck")
    with pytest.raises(ArgumentError, match=r"figure\.gif: end it in \.svg, \.csv, \.png"):
        explorer.figure("heads").save(tmp_path / "figure.gif")
    monkeypatch.setattr(browser, "_NAMES", ("no-such-browser",))
    monkeypatch.delenv(browser.BROWSER, raising=False)
    with pytest.raises(BrowserError, match="needs Chromium, Chrome or Edge: install one"):
        explorer.figure("concepts")
    with pytest.raises(BrowserError, match="needs Chromium, Chrome or Edge: install one"):
        explorer.figure("heads").save(tmp_path / "figure.png")
