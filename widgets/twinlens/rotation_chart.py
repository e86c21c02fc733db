"""Bokeh chart of how far tuning turned the feed-forward components, from a ``rotation`` block.

The page finds the ``ColumnDataSource`` ``rotation`` and ``marker`` (columns layer) in it, as in
the overview.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, cast

from twinlens.charts import (
    PALETTES,
    ChartTheme,
    Palette,
    hover,
    layer_figure,
    layer_line,
    legend_above,
    numbered,
)
from twinlens.contract.wire import Json
from twinlens.support.progress import Report
from twinlens.traces.trace import Trace

if TYPE_CHECKING:
    from bokeh.models.sources import ColumnDataSource
    from bokeh.models.ui.ui_element import UIElement
    from bokeh.plotting import figure

HEIGHT = 190


def rotation_json(trace: Trace, theme: ChartTheme = "light", report: Report | None = None) -> Json:
    """The chart of a trace as BokehJS embeds it; the same trace gives the same text."""
    from bokeh.embed import json_item

    rows = cast(list[dict[str, Any]], trace.block("rotation", report))
    return numbered(dict(json_item(rotation_layout(rows, theme))))


def rotation_layout(rows: Sequence[dict[str, Any]], theme: ChartTheme = "light") -> UIElement:
    """Angle, share of variance and weight difference by layer, one figure below the other.

    Parameters
    ----------
    rows : sequence of dict
        A ``rotation`` block, see `twinlens.contract.blocks`.
    theme : {"light", "dark"}
    """
    from bokeh.layouts import column
    from bokeh.models import ColumnDataSource, DataRange1d, Range1d

    colours = PALETTES[theme]
    columns: dict[str, Any] = {
        name: [row[name] for row in rows] for name in rows[0] if name != "added"
    }
    columns["words"] = [", ".join(word for word, _ in row["added"][:6]) for row in rows]
    source = ColumnDataSource(columns, name="rotation")
    marker = ColumnDataSource({"layer": []}, name="marker")
    layers = max(row["layer"] for row in rows) + 1

    def empty(name: str, title: str) -> figure:
        fig = layer_figure(f"{name}_figure", HEIGHT, colours, marker, layers)
        fig.yaxis.axis_label = title
        return fig

    angle = empty("angle", "mean angle, degrees")
    angle.y_range = Range1d(start=0, end=90)
    _null(angle, source, "null", colours, band=True)
    points = layer_line(angle, source, "angle", "base to tuned", colours.ink, "circle")
    hover(angle, points, [("angle", "@angle{0.00}°"), ("random rotation", "@null{0.00}°")])

    share = empty("share", "share of variance")
    share.y_range = Range1d(start=0, end=1)
    _null(share, source, "null_inside", colours)
    layer_line(share, source, "own", "base in its own components", colours.base, "circle")
    points = layer_line(share, source, "inside", "base in tuned's", colours.tuned, "square")
    hover(
        share,
        points,
        [
            ("in its own", "@own{0.0000}"),
            ("in tuned's", "@inside{0.0000}"),
            ("random rotation", "@null_inside{0.0000}"),
        ],
    )

    norm = empty("weights", "relative difference")
    norm.y_range = DataRange1d(start=0)
    points = layer_line(norm, source, "weights", "weights", colours.ink, "circle")
    hover(norm, points, [("difference", "@weights{0.0000}"), ("it adds", "@words")])
    for fig in (angle, share, norm):
        legend_above(fig, colours)
    return column(angle, share, norm, sizing_mode="stretch_width")


def _null(
    fig: figure, source: ColumnDataSource, name: str, colours: Palette, *, band: bool = False
) -> None:
    """Random rotations, with the range of the draws where there is one."""
    if band:
        fig.varea(
            x="layer",
            y1=f"{name}_low",
            y2=f"{name}_high",
            source=source,
            color=colours.marker,
            alpha=0.6,
        )
    layer_line(fig, source, name, "random rotation", colours.quiet, "triangle")
