"""Bokeh chart of the heads: how far weights, pattern and effect moved, against each other.

The page finds the ``ColumnDataSource`` ``heads`` in it (one row per head: layer, head, weights,
pattern, effect and what they are made of) and sets its selection; a tap selects a head. The
figures are `FIGURES`.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from bokeh.layouts import row
from bokeh.models import BasicTicker, ColumnDataSource, TapTool
from bokeh.models.ui.ui_element import UIElement
from bokeh.plotting import figure

from twinlens.contract import blocks
from twinlens.contract.palette import PALETTES
from twinlens.contract.wire import Array
from twinlens.contract.words import SIDES, ChartTheme
from twinlens.figures.theme import empty_figure, hover, small_title
from twinlens.measures.differences import spearman
from twinlens.support.progress import Report
from twinlens.traces.trace import Trace

HEIGHT = 240
#: Narrower than this a figure moves to the next row.
LEAST_WIDTH = 205

#: Measures by column, with the title of their axis.
TITLES = {
    "weights": "change of weights, relative",
    "pattern": "change of pattern, bits",
    "effect": "change of effect, nats",
}
#: Figures by name, with the measures along and up.
FIGURES = {
    "pattern_figure": ("weights", "pattern"),
    "effect_figure": ("weights", "effect"),
    "both_figure": ("pattern", "effect"),
}


def heads_chart(
    trace: Trace, theme: ChartTheme = "light", report: Report | None = None
) -> UIElement:
    """`heads_layout` of a trace."""
    return heads_layout(head_columns(trace, report), theme)


def head_columns(trace: Trace, report: Report | None = None) -> dict[str, Array]:
    """One row per head: where it is, and how far it moved.

    Returns
    -------
    dict of str to array, each of length L * H
        ``layer``, ``head``; ``query_key`` and ``value_output``, relative differences of the
        circuits, and ``weights``, their mean; ``pattern``, Jensen-Shannon divergence averaged
        over positions, bits; ``effect_base`` and ``effect_tuned``, first-order effects on the
        whole answer, nats, and ``effect``, their difference.
    """
    change = trace.array(blocks.head_circuits(), report)
    effects = [trace.array(blocks.head_effect(side, None), report) for side in SIDES]
    layer, head = np.indices(change.shape[:2])
    columns = {
        "layer": layer,
        "head": head,
        "query_key": change[..., 0],
        "value_output": change[..., 2],
        "weights": (change[..., 0] + change[..., 2]) / 2,
        "pattern": trace.head_change(),
        "effect_base": effects[0],
        "effect_tuned": effects[1],
        "effect": effects[1] - effects[0],
    }
    # float64, so that a live trace and its recording give the same digits.
    return {name: np.asarray(column, np.float64).ravel() for name, column in columns.items()}


def heads_layout(columns: dict[str, Array], theme: ChartTheme = "light") -> UIElement:
    """Three scatter plots side by side that share their points and their selection.

    Parameters
    ----------
    columns : dict of str to array
        See `head_columns`.
    """
    data: dict[str, Any] = {name: column.tolist() for name, column in columns.items()}
    source = ColumnDataSource(data, name="heads")
    figures = [
        _scatter(source, name, along, up, _rank_correlation(columns[along], columns[up]), theme)
        for name, (along, up) in FIGURES.items()
    ]
    return row(*figures, sizing_mode="stretch_width", styles={"flex-wrap": "wrap"})


def _scatter(
    source: ColumnDataSource, name: str, along: str, up: str, rank: float, theme: ChartTheme
) -> figure:
    colours = PALETTES[theme]
    text = f"rank correlation {rank:.2f}".replace("-", "−") if np.isfinite(rank) else ""
    fig = empty_figure(
        colours,
        HEIGHT,
        name=name,
        min_width=LEAST_WIDTH,
        tools=[TapTool()],
        title=small_title(text, colours),
    )
    points = fig.scatter(
        along,
        up,
        source=source,
        size=8,
        fill_color=colours.ink,
        fill_alpha=0.55,
        line_color=None,
        nonselection_fill_color=colours.ink,
        nonselection_fill_alpha=0.3,
        nonselection_line_color=None,
        selection_fill_color=colours.attention,
        selection_fill_alpha=1.0,
        selection_line_color=colours.ink,
    )
    tooltips = [
        ("head", "@layer.@head"),
        ("weights", "query-key @query_key{0.000}, value-output @value_output{0.000}"),
        ("pattern", "@pattern{0.0000} bits"),
        ("effect", "@effect_base{+0.000} to @effect_tuned{+0.000} nats"),
    ]
    hover(fig, points, tooltips)
    fig.xaxis.ticker = BasicTicker(desired_num_ticks=4)
    fig.xaxis.axis_label, fig.yaxis.axis_label = TITLES[along], TITLES[up]
    return fig


def _rank_correlation(first: Array, second: Array) -> float:
    """Spearman's rank correlation of the heads that have both; NaN where one does not vary."""
    finite = np.isfinite(first) & np.isfinite(second)
    first, second = first[finite], second[finite]
    if len(first) < 2 or not first.std() or not second.std():
        return float("nan")
    return spearman(first, second)
