from __future__ import annotations

import itertools
import json

import numpy as np
import pytest
from bokeh.document import Document
from twinlens.contract import blocks
from twinlens.contract.palette import PALETTES
from twinlens.errors import UnknownBlockError
from twinlens.figures.charts import CHARTS, MODELS, chart_json
from twinlens.pages.bokehjs import models_of
from twinlens.pages.values import page_value

from tests.support.made_up import MadeUpTrace


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_the_json_is_a_document_and_the_same_every_time(trace, theme):
    item = chart_json(trace, f"chart/handover/{theme}")
    assert json.loads(json.dumps(item, allow_nan=False)) == item
    assert chart_json(MadeUpTrace(), f"chart/handover/{theme}") == item
    document = Document.from_json(item["doc"])
    assert [figure.name for figure in document.roots] == ["handover_figure"]


def test_the_models_of_charts_are_those_that_are_named(trace):
    keys = [blocks.chart(name, theme) for name in CHARTS for theme in PALETTES]
    assert set().union(*(models_of(chart_json(trace, key)["doc"]) for key in keys)) == MODELS


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
    with pytest.raises(UnknownBlockError, match="chart/handover/light"):
        page_value(trace, "chart/handover")


def test_no_two_series_share_a_colour():
    for palette in PALETTES.values():
        series = (palette.attention, palette.feed_forward, palette.ink, palette.base, palette.tuned)
        for one, other in itertools.combinations(series, 2):
            assert one != other
