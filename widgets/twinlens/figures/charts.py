"""The charts a page may ask for, each with the blocks it is made from."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

from twinlens.contract import blocks
from twinlens.contract.wire import Json
from twinlens.contract.words import SIDES, THEMES, ChartTheme
from twinlens.errors import UnknownBlockError
from twinlens.figures.bokeh_import import load_bokeh
from twinlens.figures.handover_chart import handover_chart
from twinlens.figures.heads_chart import heads_chart
from twinlens.figures.rotation_chart import rotation_chart
from twinlens.figures.theme import numbered
from twinlens.support.progress import Report
from twinlens.traces.trace import Trace

if TYPE_CHECKING:
    from bokeh.models.ui.ui_element import UIElement

    Draw: TypeAlias = Callable[[Trace, ChartTheme, Report | None], UIElement]


@dataclass(frozen=True)
class Chart:
    """A chart of a trace.

    Attributes
    ----------
    draw : callable
        Makes the Bokeh layout from trace, theme and report.
    needs : frozenset of str
        Keys of the blocks it is made from.
    """

    draw: Draw
    needs: frozenset[str]


CHARTS: dict[str, Chart] = {
    "heads": Chart(
        heads_chart,
        frozenset(
            {
                blocks.head_circuits(),
                blocks.head_change(),
                *(blocks.head_effect(side, None) for side in SIDES),
            }
        ),
    ),
    "handover": Chart(handover_chart, frozenset(blocks.handover(side) for side in SIDES)),
    "rotation": Chart(rotation_chart, frozenset({blocks.rotation()})),
}


def chart_keys(keys: Collection[str]) -> list[str]:
    """Keys of the charts that can be made from some blocks."""
    return [
        blocks.chart(name, theme)
        for name, chart in CHARTS.items()
        if chart.needs <= set(keys)
        for theme in THEMES
    ]


def chart_json(trace: Trace, key: str, report: Report | None = None) -> Json:
    """A chart as BokehJS embeds it; the same trace gives the same text.

    Parameters
    ----------
    key : str
        ``chart/NAME/THEME``.

    Raises
    ------
    UnknownBlockError
        If there is no such chart.
    """
    charts = {
        blocks.chart(name, theme): (chart, theme)
        for name, chart in CHARTS.items()
        for theme in THEMES
    }
    if key not in charts:
        raise UnknownBlockError(f"there is no chart {key!r}: one of {', '.join(charts)}")
    load_bokeh()
    from bokeh import __version__
    from bokeh.document import Document

    chart, theme = charts[key]
    layout = chart.draw(trace, theme, report)
    document = Document(title="")
    # A page lays out and paints each figure by itself.
    for figure in getattr(layout, "children", [layout]):
        document.add_root(figure)
    return {"doc": numbered(document.to_json(deferred=False)), "version": __version__}
