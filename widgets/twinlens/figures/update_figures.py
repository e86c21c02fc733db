"""Bokeh figures of an update taken apart: what sets of directions keep, the dial, where it lies."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import cycle
from typing import Any

from bokeh.layouts import column
from bokeh.models import ColumnDataSource, DataRange1d, NumeralTickFormatter
from bokeh.models.annotations import Span
from bokeh.models.ui.ui_element import UIElement
from bokeh.plotting import figure

from twinlens.contract.palette import PALETTES
from twinlens.contract.words import ChartTheme
from twinlens.errors import ArgumentError
from twinlens.figures.theme import (
    empty_figure,
    hover,
    layer_figure,
    layer_hover,
    layer_line,
    legend_above,
)
from twinlens.traces.frames import DataFrame

_HEIGHT = 260
#: How an order is called and drawn, as in the panel: colour, width and dash.
_ORDERS = {
    "effect": ("by effect", "tuned", 2.75, "solid"),
    "size": ("by size", "ink", 1.75, "solid"),
    "first order": ("by first order", "ink", 1.75, "dashed"),
    "random": ("at random", "muted", 1.75, "dotted"),
}
_SHAPES = ("circle", "square", "triangle", "diamond", "inverted_triangle", "hex", "plus")


def kept_figure(curves: DataFrame, goal: float = 0.9, theme: ChartTheme = "light") -> figure:
    """Share of the shift kept over the share of directions kept, one curve for each order.

    Parameters
    ----------
    curves : DataFrame
        Columns ``order``, ``directions`` and ``kept``: ``minimal().to_frame()`` of a
        `PromptUpdate`.
    goal : float
        The share that a level marks.
    theme : {"light", "dark"}
    """
    colours = PALETTES[theme]
    fig = _plain("kept", theme, "share of directions kept", "share of the shift", x_axis="log")
    fig.xaxis[0].formatter = NumeralTickFormatter(format="0.[00]%")
    fig.yaxis[0].formatter = NumeralTickFormatter(format="0%")
    count = curves["directions"].max()
    for level, dash in ((goal, "dashed"), (0.0, "solid")):
        line = Span(location=level, dimension="width", line_color=colours.muted, line_dash=dash)
        fig.add_layout(line)
    # A logarithm has no place for none.
    some = curves[curves["directions"] > 0]
    for order, rows in some.groupby("order", sort=False):
        title, colour, width, dash = _ORDERS[str(order)]
        colour = getattr(colours, colour)
        source = ColumnDataSource(
            {
                "share": (rows["directions"] / count).tolist(),
                "directions": rows["directions"].tolist(),
                "kept": rows["kept"].tolist(),
            }
        )
        style: dict[str, Any] = {"source": source, "color": colour, "legend_label": title}
        fig.line("share", "kept", line_width=width, line_dash=dash, **style)
        points = fig.scatter("share", "kept", size=6, **style)
        tooltips = [("kept", "@kept{0.0%}"), ("directions", "@directions{0,0}")]
        hover(fig, points, [("order", title), *tooltips])
    legend_above(fig, colours)
    return fig


def dial_figure(dial: Sequence[Mapping[str, Any]], theme: ChartTheme = "light") -> figure:
    """The answer's log-probability over the scale of the update: 0 is base, 1 tuned.

    Parameters
    ----------
    dial : sequence of dict
        Rows with ``scale`` and ``nats``: ``dial()`` of a `PromptUpdate`.
    theme : {"light", "dark"}
    """
    colours = PALETTES[theme]
    fig = _plain("dial", theme, "scale of the update", "log-probability of the answer, nats")
    source = ColumnDataSource({name: [row[name] for row in dial] for name in ("scale", "nats")})
    fig.line("scale", "nats", source=source, color=colours.ink, line_width=1.75)
    points = fig.scatter("scale", "nats", source=source, color=colours.ink, size=6)
    for side, scale, colour in (("base", 0, colours.base), ("tuned", 1, colours.tuned)):
        ends = [row["nats"] for row in dial if row["scale"] == scale]
        if ends:
            fig.scatter([scale], ends[:1], color=colour, size=11, legend_label=side)
    hover(fig, points, [("scale", "@scale{0.00}"), ("nats", "@nats{0.00}")])
    if fig.legend:
        legend_above(fig, colours)
    return fig


def energy_figure(matrices: Sequence[Mapping[str, Any]], theme: ChartTheme = "light") -> UIElement:
    """By layer and kind of matrix: share of the update's energy, and how much reuses base's own.

    Parameters
    ----------
    matrices : sequence of dict
        ``rows()`` of an `Update`.
    theme : {"light", "dark"}

    Raises
    ------
    ArgumentError
        If tuning changed no matrix.
    """
    if not matrices:
        raise ArgumentError("tuning changed no matrix of the layers, so that there is none to draw")
    colours = PALETTES[theme]
    layers = max(row["layer"] for row in matrices) + 1
    marker = ColumnDataSource({"layer": []}, name="marker")
    figures = []
    for name, title in (
        ("share", "share of the update's energy"),
        ("reuse", "share of it that reuses base's"),
    ):
        fig = layer_figure(f"{name}_figure", _HEIGHT, colours, marker, layers)
        fig.yaxis.axis_label = title
        fig.y_range = DataRange1d(start=0)
        kinds = dict.fromkeys(row["kind"] for row in matrices)
        looks = zip(cycle((*colours.groups, colours.ink)), cycle(_SHAPES), strict=True)
        for kind, (colour, shape) in zip(kinds, looks, strict=False):
            rows = [row for row in matrices if row["kind"] == kind]
            columns: dict[str, Any] = {key: [row[key] for row in rows] for key in rows[0]}
            source = ColumnDataSource(columns, name=f"{name} {kind}")
            points = layer_line(fig, source, name, kind, colour, shape)
            layer_hover(fig, points, [(kind, f"@{name}{{0.0%}}"), ("rank", "@effective_rank{0.0}")])
        if name == "reuse":
            chance = matrices[0]["reuse_of_random"]
            level = Span(location=chance, dimension="width", line_color=colours.muted)
            level.line_dash = "dashed"
            fig.add_layout(level)
        else:
            legend_above(fig, colours)
        figures.append(fig)
    figures[1].legend.visible = False  # the same as above
    return column(*figures, sizing_mode="stretch_width")


def _plain(name: str, theme: ChartTheme, x: str, y: str, *, x_axis: str = "linear") -> figure:
    colours = PALETTES[theme]
    fig = empty_figure(
        colours,
        _HEIGHT,
        fill=colours.background,
        name=f"{name}_figure",
        min_width=240,
        x_axis_type=x_axis,
        x_axis_label=x,
        y_axis_label=y,
    )
    fig.xgrid.grid_line_color = None
    return fig
