"""Figures of the paper, by Bokeh: label shares by layers (figure 3), words that rise (table 3)."""

from __future__ import annotations

import itertools
import textwrap
from typing import Any

import numpy as np
from bokeh.layouts import column, gridplot
from bokeh.models import ColumnDataSource, FactorRange, Range1d
from bokeh.models.annotations import Span, TeeHead, Title, Whisker
from bokeh.models.ui.ui_element import UIElement
from bokeh.models.widgets import Div
from bokeh.plotting import figure

from twinlens.contract.palette import PALETTES
from twinlens.contract.words import SIDES, ChartTheme
from twinlens.figures.theme import FONT, empty_figure, hover, legend_above, small_title
from twinlens.labels.shares import LabelShares
from twinlens.weights.word_pair_table import RiseTable

_CAPTION = (
    "Share of the labelled components with each label, by group of layers: mean over the rounds of "
    "annotation, bars one standard deviation up and down (none for one round). Components that "
    "nobody could name are left out of the share."
)
_HEIGHT, _COLUMNS = 220, 2
_APART = 0.06


def label_figure(shares: LabelShares, theme: ChartTheme = "light") -> UIElement:
    """One panel per label: share of both models by group of layers, with mean and deviation.

    Parameters
    ----------
    shares : LabelShares
        From `twinlens.labels.shares.label_shares`.
    theme : {"light", "dark"}
    """
    labels = list(dict.fromkeys(row["label"] for row in shares.summary))
    groups = list(dict.fromkeys(row["layers"] for row in shares.summary))
    # The last group is all layers together, which is no point of the curve.
    groups = groups[:-1] if len(groups) > 1 else groups
    means = [name for name in shares.summary[0] if name.startswith("mean_")]
    # One scale for all panels.
    highest = max(
        (row[mean] or 0) + (row[f"sd_{mean.removeprefix('mean_')}"] or 0)
        for row in shares.summary
        for mean in means
    )
    top = max(1.05 * highest, 0.05)
    panels: list[Any] = [_panel(shares, label, groups, theme, top) for label in labels]
    grid = gridplot(panels, ncols=_COLUMNS, sizing_mode="stretch_width", toolbar_location=None)
    return column(grid, Div(text=_CAPTION), sizing_mode="stretch_width")


def _panel(
    shares: LabelShares, label: str, groups: list[str], theme: ChartTheme, highest: float
) -> figure:
    colours = PALETTES[theme]
    title = Title(text=label, text_color=colours.ink, text_font=FONT)
    x_range = FactorRange(factors=list(groups))
    fig = empty_figure(colours, _HEIGHT, title=title, x_range=x_range)
    models = [name.removeprefix("mean_") for name in shares.summary[0] if name.startswith("mean_")]
    marks = (("circle", colours.base), ("square", colours.tuned))
    for index, model in enumerate(models):
        shape, colour = marks[SIDES.index(model) if model in SIDES else index]
        rows = [
            row
            for row in shares.summary
            if row["label"] == label
            and row["layers"] in groups
            and row[f"mean_{model}"] is not None
        ]
        means = [row[f"mean_{model}"] for row in rows]
        deviations = [row[f"sd_{model}"] or 0.0 for row in rows]
        columns: dict[str, Any] = {
            "layers": [row["layers"] for row in rows],
            "mean": means,
            "sd": deviations,
            "low": [mean - sd for mean, sd in zip(means, deviations, strict=True)],
            "high": [mean + sd for mean, sd in zip(means, deviations, strict=True)],
            "model": [model] * len(rows),
            # Beside each other, so that no bar hides the other model's.
            "place": [(row["layers"], (2 * index - 1) * _APART) for row in rows],
        }
        source = ColumnDataSource(columns)
        fig.line("place", "mean", source=source, color=colour, line_width=1.75, legend_label=model)
        points = fig.scatter(
            "place", "mean", source=source, marker=shape, size=8, color=colour, legend_label=model
        )
        fig.add_layout(
            Whisker(
                base="place",
                lower="low",
                upper="high",
                source=source,
                line_color=colour,
                upper_head=TeeHead(size=8, line_color=colour),
                lower_head=TeeHead(size=8, line_color=colour),
            )
        )
        tooltips = [("model", "@model"), ("share", "@mean{0.0 %} ± @sd{0.0 %}")]
        hover(fig, points, tooltips)
    fig.y_range = Range1d(start=0, end=highest)
    fig.xaxis.axis_label = "layers"
    fig.yaxis.axis_label = "share of components"
    fig.xgrid.grid_line_color = None
    if fig.legend:
        legend_above(fig, colours)
    return fig


def rise_figure(table: RiseTable, theme: ChartTheme = "light") -> figure:
    """Bokeh figure: mean share with its standard error, by layer group and list."""
    colours = PALETTES[theme]
    tested = [row for row in table.rows if row["share"] is not None]
    lists = list(dict.fromkeys(row["list"] for row in table.rows))
    fig = empty_figure(
        colours,
        320,
        fill=colours.background,
        x_range=FactorRange(factors=[(row["layers"], row["list"]) for row in table.rows]),
        y_range=Range1d(start=0, end=1),
        min_width=240,
        x_axis_label="layers",
        y_axis_label="share of changed heads in which a word rose",
    )
    fig.add_layout(
        Span(location=0.5, dimension="width", line_dash="dashed", line_color=colours.muted)
    )
    for name, colour in zip(lists, itertools.cycle(colours.groups), strict=False):
        rows = [row for row in tested if row["list"] == name]
        error = [(row["sd"] or 0.0) / np.sqrt(row["words"]) for row in rows]
        source = ColumnDataSource(
            {
                "x": [(row["layers"], name) for row in rows],
                "share": [row["share"] for row in rows],
                "low": [row["share"] - e for row, e in zip(rows, error, strict=True)],
                "high": [row["share"] + e for row, e in zip(rows, error, strict=True)],
                "words": [row["words"] for row in rows],
                "p": ["" if row["p"] is None else f"{row['p']:.3g}" for row in rows],
            }
        )
        points = fig.scatter("x", "share", source=source, size=9, color=colour, legend_label=name)
        fig.add_layout(
            Whisker(base="x", lower="low", upper="high", source=source, line_color=colour)
        )
        hover(fig, points, [("share", "@share{0.000}"), ("words", "@words"), ("p", "@p")])
    fig.xaxis.major_label_text_font_size = "0px"  # the legend names the lists
    fig.xgrid.grid_line_color = None
    legend_above(fig, colours)
    caption = textwrap.fill(
        f"Bars: one standard error over words. p tests that {table.hypothesis}.", 95
    )
    fig.add_layout(small_title(caption, colours), "below")
    return fig
