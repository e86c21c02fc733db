"""Bokeh figures of how far tuning turned the feed-forward components.

The page finds the ``ColumnDataSource`` ``rotation`` and ``marker`` (columns layer) in the chart of
a trace, as in the overview.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

from bokeh.layouts import column
from bokeh.models import ColumnDataSource, DataRange1d, Range1d
from bokeh.models.ui.ui_element import UIElement
from bokeh.models.widgets import Div
from bokeh.plotting import figure

from twinlens.contract import blocks
from twinlens.contract.palette import PALETTES
from twinlens.contract.words import ChartTheme
from twinlens.figures.theme import layer_figure, layer_hover, layer_line, legend_above
from twinlens.support.progress import Report
from twinlens.traces.trace import Trace
from twinlens.weights.rotation_table import Rotation

HEIGHT = 190
_CAPTION = (
    "Mean of the {k} principal angles between the {k} leading components of base and of tuned; "
    "share of base's variance that these of either model hold; norm of the weight difference "
    "divided by that of base. Grey: random rotations of base's components, mean and range over "
    "the draws. Angles can be large without much change where neighbouring components explain "
    "about equally much; the share of variance is not misled by that."
)


def rotation_chart(
    trace: Trace, theme: ChartTheme = "light", report: Report | None = None
) -> UIElement:
    """`rotation_layout` of a trace."""
    return rotation_layout(
        cast(list[dict[str, Any]], trace.block(blocks.rotation(), report)), theme
    )


def rotation_figure(
    rotation: Rotation, k: int | None = None, *, theme: ChartTheme = "light"
) -> UIElement:
    """Bokeh layout by layer: mean principal angle, share of variance, relative difference.

    Parameters
    ----------
    rotation : Rotation
    k : int, optional
        Number of leading components. By default the largest that was looked at, but at most a
        quarter of the rank: subspaces that nearly fill the space agree whatever they are.
    theme : {"light", "dark"}

    Raises
    ------
    HeadIndexError
        If k was not looked at.
    """
    if k is None:
        quarter = max(1, rotation.parameters["rank"] // 4)
        k = max(
            (count for count in rotation.measured if count <= quarter),
            default=min(rotation.measured),
        )
    layout = rotation_layout(rotation.block(k), theme)
    return column(layout, Div(text=_CAPTION.format(k=k)), sizing_mode="stretch_width")


def rotation_layout(rows: Sequence[dict[str, Any]], theme: ChartTheme = "light") -> UIElement:
    """Angle, share of variance and weight difference by layer, one figure below the other.

    Parameters
    ----------
    rows : sequence of dict
        A ``rotation`` block, see `twinlens.contract.blocks`.
    """
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
    angle.varea(
        x="layer", y1="null_low", y2="null_high", source=source, color=colours.marker, alpha=0.6
    )
    layer_line(angle, source, "null", "random rotation", colours.muted, "triangle")
    points = layer_line(angle, source, "angle", "base to tuned", colours.ink, "circle")
    layer_hover(angle, points, [("angle", "@angle{0.00}°"), ("random rotation", "@null{0.00}°")])

    share = empty("share", "share of variance")
    share.y_range = Range1d(start=0, end=1)
    layer_line(share, source, "null_inside", "random rotation", colours.muted, "triangle")
    layer_line(share, source, "own", "base in its own components", colours.base, "circle")
    points = layer_line(share, source, "inside", "base in tuned's", colours.tuned, "square")
    layer_hover(
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
    layer_hover(norm, points, [("difference", "@weights{0.0000}"), ("it adds", "@words")])
    for fig in (angle, share, norm):
        legend_above(fig, colours)
    return column(angle, share, norm, sizing_mode="stretch_width")
