"""Bokeh figures over the layers: how far tuning turned the feed-forward components, and handover.

The page finds the ``ColumnDataSource`` ``rotation`` and ``marker`` (columns layer) in the chart of
a trace, as in the overview. Of lower layers of one model under the upper layers of the other it
fills ``handover`` for the selected token (columns layer, tuned, base, tuned_kl, base_kl); a line
has the name of the model whose layers are above.
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
from twinlens.contract.words import SIDES, ChartTheme
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
HANDOVER_HEIGHT = 230


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


def handover_chart(
    trace: Trace, theme: ChartTheme = "light", report: Report | None = None
) -> UIElement:
    """Log-probability of the answer by how many of the lowest layers are the other model's."""
    colours = PALETTES[theme]
    columns: dict[str, Any] = dict(handover_columns(trace, report))
    source = ColumnDataSource(columns, name="handover")
    depth = trace.manifest.pair.layers + 1
    unmarked = ColumnDataSource({"layer": []}, name="marker")
    fig = layer_figure("handover_figure", HANDOVER_HEIGHT, colours, unmarked, depth)
    fig.xaxis.axis_label = "lowest layers from the other model"
    fig.yaxis.axis_label = "log-probability, nats"
    points = layer_line(fig, source, "tuned", "tuned above base", colours.tuned, "square")
    layer_line(fig, source, "base", "base above tuned", colours.base, "circle", "dashed")
    values = [
        ("tuned above base", "@tuned{0.00} nats, KL @tuned_kl{0.00}"),
        ("base above tuned", "@base{0.00} nats, KL @base_kl{0.00}"),
    ]
    layer_hover(fig, points, values)
    legend_above(fig, colours)
    return fig


def handover_columns(trace: Trace, report: Report | None = None) -> dict[str, Sequence[float]]:
    """Sums over the answer by the number of lower layers; each list has L + 1 entries."""
    columns: dict[str, Any] = {"layer": list(range(trace.manifest.pair.layers + 1))}
    for lower, upper in zip(SIDES, reversed(SIDES), strict=True):
        sums = trace.array(blocks.handover(lower), report).astype("float64").sum(axis=1)
        columns[upper], columns[f"{upper}_kl"] = sums.T.tolist()
    return columns
