"""Bokeh figure of the paper's table 3: how often the words of some lists rise."""

from __future__ import annotations

import itertools
import textwrap

import numpy as np
from bokeh.models import ColumnDataSource, FactorRange, Range1d
from bokeh.models.annotations import Span, Whisker
from bokeh.plotting import figure

from twinlens.contract.palette import PALETTES
from twinlens.contract.words import ChartTheme
from twinlens.figures.theme import empty_figure, hover, legend_above, small_title
from twinlens.weights.word_pair_table import RiseTable


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
