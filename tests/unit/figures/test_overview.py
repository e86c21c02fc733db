from __future__ import annotations

import itertools
import json

import numpy as np
import pytest
from bokeh.document import Document
from bokeh.models import ColumnDataSource
from twinlens.contract.palette import PALETTES
from twinlens.errors import UnknownBlockError
from twinlens.figures import overview
from twinlens.figures.charts import chart_json
from twinlens.pages.values import page_value

from tests.support.made_up import MadeUpTrace, manifest


def test_the_shift_is_the_mean_over_shared_positions(trace):
    source = overview.overview(trace).select_one({"name": "shift"})
    for name in ("attention", "feed_forward", "residual"):
        mean = trace.array(f"shift/{name}").astype(np.float64).mean(axis=0)
        expected = mean[1:] if name == "residual" else mean
        np.testing.assert_allclose(source.data[name], expected, rtol=1e-12)
    assert list(source.data["layer"]) == [0, 1, 2, 3]


def test_the_page_finds_what_it_fills_by_name(trace):
    layout = overview.overview(trace)
    lens, marker = (layout.select_one({"name": name}) for name in ("lens", "marker"))
    assert isinstance(lens, ColumnDataSource)
    assert list(lens.data) == ["layer", "base", "tuned"]
    assert list(marker.data) == ["layer"]
    assert layout.select_one({"name": "shift_figure"}).visible
    assert not layout.select_one({"name": "lens_figure"}).visible


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_the_json_is_a_document_and_the_same_every_time(trace, theme):
    item = chart_json(trace, f"chart/overview/{theme}")
    assert json.loads(json.dumps(item, allow_nan=False)) == item
    assert chart_json(MadeUpTrace(), f"chart/overview/{theme}") == item
    document = Document.from_json(item["doc"])
    shift = document.get_model_by_name("shift")
    assert shift.data["attention"] == overview.shift_columns(trace)["attention"]
    assert [figure.name for figure in document.roots] == ["shift_figure", "lens_figure"]


def test_one_layer_is_enough():
    assert overview.shift_columns(MadeUpTrace(manifest(layers=1, heads=1)))["layer"] == [0]


def _luminance(colour):
    channels = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return np.dot(linear, (0.2126, 0.7152, 0.0722))


def _contrast(colour, ground):
    low, high = sorted((_luminance(colour), _luminance(ground)))
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("theme", PALETTES)
def test_marks_and_texts_keep_their_contrast(theme):
    palette = PALETTES[theme]
    marks = ("ink", "muted", "base", "tuned", "both", "attention", "feed_forward")
    for name in (*marks, "holds", "turns", "unknown"):
        assert _contrast(getattr(palette, name), palette.background) >= 3, name
    for colour in palette.groups:
        assert _contrast(colour, palette.background) >= 3, colour
    for name in ("ink", "muted", "base_text", "tuned_text", "holds_text", "turns"):
        for ground in (palette.background, palette.shade, palette.chosen):
            assert _contrast(getattr(palette, name), ground) >= 4.5, (name, ground)


def test_an_unknown_chart_is_refused(trace):
    with pytest.raises(UnknownBlockError, match="chart/overview/light"):
        page_value(trace, "chart/overview")


def test_no_two_series_share_a_colour():
    for palette in PALETTES.values():
        series = (palette.attention, palette.feed_forward, palette.ink, palette.base, palette.tuned)
        for one, other in itertools.combinations(series, 2):
            assert one != other
