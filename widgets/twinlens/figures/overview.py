"""Bokeh chart of how far the models are apart, layer by layer.

The page finds the models in it by name and fills them as the selection changes:
``ColumnDataSource`` ``shift`` (columns layer, attention, feed_forward, residual), ``lens`` (layer,
base, tuned) and ``marker`` (layer); figures ``shift_figure`` and ``lens_figure``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from twinlens.contract import blocks
from twinlens.contract.palette import PALETTES, Palette
from twinlens.contract.words import ChartTheme
from twinlens.figures.theme import hover, layer_figure, layer_line, legend_above
from twinlens.support.progress import Report
from twinlens.traces.trace import Trace

if TYPE_CHECKING:
    from bokeh.models.sources import ColumnDataSource
    from bokeh.models.ui.ui_element import UIElement
    from bokeh.plotting import figure

SHIFT_HEIGHT = 230
LENS_HEIGHT = 210
#: Nats below which the lens is not drawn.
LENS_FLOOR = -12.0


def overview(trace: Trace, theme: ChartTheme = "light", report: Report | None = None) -> UIElement:
    """How far the two models are apart, layer by layer, as a Bokeh layout.

    Above, the relative difference of attention outputs, feed-forward outputs and the residual
    stream after each layer, averaged over the positions both models share. Below, the logit lens
    of a selected token, which the page fills and shows.
    """
    from bokeh.layouts import column
    from bokeh.models import ColumnDataSource

    colours = PALETTES[theme]
    marker = ColumnDataSource({"layer": []}, name="marker")
    layers = trace.manifest.pair.layers
    columns: dict[str, Any] = dict(shift_columns(trace, report))
    shift = _shift_figure(ColumnDataSource(columns, name="shift"), colours, marker, layers)
    lens = _lens_figure(colours, marker, layers)
    return column(shift, lens, sizing_mode="stretch_width")


def shift_columns(trace: Trace, report: Report | None = None) -> dict[str, Sequence[float]]:
    """Shift per layer, averaged over the positions both models share; each list has L entries."""
    # One memory order, so that a live trace and its recording give the same digits.
    means = {
        name: np.array(trace.array(block(), report), np.float64, order="C").mean(axis=0)
        for name, block in blocks.SHIFTS.items()
    }
    means["residual"] = means["residual"][1:]
    layers = [float(layer) for layer in range(trace.manifest.pair.layers)]
    return {"layer": layers, **{name: mean.tolist() for name, mean in means.items()}}


def _shift_figure(
    source: ColumnDataSource, colours: Palette, marker: ColumnDataSource, layers: int
) -> figure:
    from bokeh.models import DataRange1d

    fig = layer_figure("shift_figure", SHIFT_HEIGHT, colours, marker, layers)
    fig.y_range = DataRange1d(start=0)
    fig.yaxis.axis_label = "relative difference"
    lines = (
        ("attention", "attention", colours.attention, "circle"),
        ("feed_forward", "feed-forward", colours.feed_forward, "square"),
        ("residual", "residual", colours.ink, "triangle"),
    )
    points = [layer_line(fig, source, *line) for line in lines]
    hover(fig, points[0], [(title, f"@{name}{{0.0000}}") for name, title, *_ in lines])
    legend_above(fig, colours)
    return fig


def _lens_figure(colours: Palette, marker: ColumnDataSource, layers: int) -> figure:
    from bokeh.models import ColumnDataSource, Range1d

    source = ColumnDataSource({"layer": [], "base": [], "tuned": []}, name="lens")
    # The embedding, where the lens starts, stands at -1.
    fig = layer_figure("lens_figure", LENS_HEIGHT, colours, marker, layers, first=-1)
    fig.yaxis.axis_label = "log-probability, nats"
    # Early layers know nothing of the answer, some to hundreds of nats.
    fig.y_range = Range1d(start=LENS_FLOOR, end=0.5)
    fig.visible = False
    layer_line(fig, source, "tuned", "tuned", colours.tuned, "square")
    points = layer_line(fig, source, "base", "base", colours.base, "circle", "dashed")
    hover(fig, points, [("base", "@base{0.000} nats"), ("tuned", "@tuned{0.000} nats")])
    legend_above(fig, colours)
    return fig
