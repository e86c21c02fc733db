"""The chart of the heads: its numbers, its parts by name, and the same text every time."""

from __future__ import annotations

import json

import numpy as np
import pytest
from bokeh.document import Document
from twinlens.figures import heads_chart as head_chart
from twinlens.figures.charts import CHARTS, chart_json, chart_keys
from twinlens.labels.given_names import LabelledTrace
from twinlens.pages.values import page_value

from tests.support.made_up import MadeUpTrace, manifest


def test_columns_are_the_blocks(trace):
    columns = head_chart.head_columns(trace)
    circuits = trace.array("heads/circuits")
    effects = [trace.array(f"heads/effect/{side}/answer") for side in ("base", "tuned")]
    row = next(i for i in range(32) if (columns["layer"][i], columns["head"][i]) == (2, 5))
    assert columns["weights"][row] == pytest.approx(circuits[2, 5, [0, 2]].mean())
    assert columns["pattern"][row] == pytest.approx(trace.head_change()[2, 5])
    assert columns["effect"][row] == pytest.approx(effects[1][2, 5] - effects[0][2, 5])


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_the_page_finds_points_and_figures_by_name(trace, theme):
    item = page_value(trace, f"chart/heads/{theme}")
    assert json.loads(json.dumps(item, allow_nan=False)) == item
    assert page_value(MadeUpTrace(), f"chart/heads/{theme}") == item
    document = Document.from_json(item["doc"])
    points = document.get_model_by_name("heads")
    assert len(points.data["layer"]) == len(points.data["effect"]) == 32
    for name, (along, up) in head_chart.FIGURES.items():
        figure = document.get_model_by_name(name)
        (drawn,) = figure.renderers
        assert drawn.data_source is points
        assert (drawn.glyph.x.field, drawn.glyph.y.field) == (along, up)


def test_rank_correlation_is_in_the_title(trace):
    columns = head_chart.head_columns(trace)
    columns["pattern"] = columns["weights"] ** 3
    layout = head_chart.heads_layout(columns)
    assert layout.select_one({"name": "pattern_figure"}).title.text == "rank correlation 1.00"
    columns["pattern"] = np.zeros(32)
    layout = head_chart.heads_layout(columns)
    assert layout.select_one({"name": "pattern_figure"}).title.text == ""


def test_a_page_holds_the_charts_its_blocks_allow(trace):
    assert "chart/heads/dark" in chart_keys(list(trace.keys()))
    assert chart_keys(["heads/change"]) == []


class Reading(LabelledTrace):
    """Notes what is read of it."""

    def __init__(self):
        super().__init__(MadeUpTrace(), {})
        self.read = set()

    def block(self, key, report=None):
        self.read.add(key)
        return super().block(key, report)


@pytest.mark.parametrize("name", CHARTS)
def test_a_chart_is_made_from_the_blocks_it_names(name):
    trace = Reading()
    chart_json(trace, f"chart/{name}/light")
    assert trace.read == CHARTS[name]


def test_one_head_is_enough():
    item = page_value(MadeUpTrace(manifest(layers=1, heads=1)), "chart/heads/light")
    assert Document.from_json(item["doc"]).get_model_by_name("heads").data["head"] == [0.0]
