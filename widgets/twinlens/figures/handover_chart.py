"""Bokeh chart of lower layers of one model under the upper layers of the other.

The page fills the ``ColumnDataSource`` ``handover`` for the selected token (columns layer, tuned,
base, tuned_kl, base_kl); a line has the name of the model whose layers are above.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from bokeh.models import ColumnDataSource
from bokeh.models.ui.ui_element import UIElement

from twinlens.contract import blocks
from twinlens.contract.palette import PALETTES
from twinlens.contract.words import SIDES, ChartTheme
from twinlens.figures.theme import layer_figure, layer_hover, layer_line, legend_above
from twinlens.support.progress import Report
from twinlens.traces.trace import Trace

HEIGHT = 230


def handover_chart(
    trace: Trace, theme: ChartTheme = "light", report: Report | None = None
) -> UIElement:
    """Log-probability of the answer by how many of the lowest layers are the other model's."""
    colours = PALETTES[theme]
    columns: dict[str, Any] = dict(handover_columns(trace, report))
    source = ColumnDataSource(columns, name="handover")
    depth = trace.manifest.pair.layers + 1
    unmarked = ColumnDataSource({"layer": []}, name="marker")
    fig = layer_figure("handover_figure", HEIGHT, colours, unmarked, depth)
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
