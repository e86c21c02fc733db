"""The charts a page may ask for, each with the blocks it is made from.

What draws them imports Bokeh, which takes seconds to load: it is imported once one is asked for,
whole and by one thread: two threads that import it at once deadlock.
"""

from __future__ import annotations

from collections.abc import Collection
from threading import Lock

from twinlens.contract import blocks
from twinlens.contract.wire import Json
from twinlens.contract.words import SIDES, THEMES
from twinlens.errors import MissingLibraryError, UnknownBlockError
from twinlens.support.progress import Report
from twinlens.traces.trace import Trace

#: Keys of the blocks that a chart is made from, by its name.
CHARTS: dict[str, set[str]] = {
    "heads": {
        blocks.head_circuits(),
        blocks.head_change(),
        *(blocks.head_effect(side, None) for side in SIDES),
    },
    "handover": {blocks.handover(side) for side in SIDES},
    "rotation": {blocks.rotation()},
}
#: Types of all that they are made of, as BokehJS calls them.
MODELS = frozenset(
    [
        "AllIndices",
        "AllLabels",
        "BasicTickFormatter",
        "BasicTicker",
        "CDSView",
        "ColumnDataSource",
        "DataRange1d",
        "DocumentConfig",
        "Figure",
        "GlyphRenderer",
        "Grid",
        "HoverTool",
        "Legend",
        "LegendItem",
        "Line",
        "LinearAxis",
        "LinearScale",
        "Notifications",
        "Range1d",
        "Scatter",
        "Selection",
        "TapTool",
        "Title",
        "Toolbar",
        "UnionRenderers",
        "VArea",
        "VSpan",
    ]
)
_LOADING = Lock()


def chart_keys(keys: Collection[str]) -> list[str]:
    """Keys of the charts that can be made from some blocks."""
    return [
        blocks.chart(name, theme)
        for name, needed in CHARTS.items()
        if needed <= set(keys)
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
    charts = {blocks.chart(name, theme): (name, theme) for name in CHARTS for theme in THEMES}
    if key not in charts:
        raise UnknownBlockError(f"there is no chart {key!r}: one of {', '.join(charts)}")
    load_bokeh()
    from bokeh import __version__
    from bokeh.document import Document

    from twinlens.figures.heads_chart import heads_chart
    from twinlens.figures.layer_charts import handover_chart, rotation_chart
    from twinlens.figures.theme import numbered

    draw = {"heads": heads_chart, "handover": handover_chart, "rotation": rotation_chart}
    name, theme = charts[key]
    layout = draw[name](trace, theme, report)
    document = Document(title="")
    # A page lays out and paints each figure by itself.
    for figure in getattr(layout, "children", [layout]):
        document.add_root(figure)
    return {"doc": numbered(document.to_json(deferred=False)), "version": __version__}


def load_bokeh() -> None:
    """Import all of Bokeh that charts use; what is imported after it is there already.

    Raises
    ------
    MissingLibraryError
        If it is not installed.
    """
    try:
        with _LOADING:
            import bokeh.embed
            import bokeh.layouts
            import bokeh.models
            import bokeh.plotting
            import bokeh.util.paths  # noqa: F401
    except ModuleNotFoundError as error:
        raise MissingLibraryError(
            "charts, and pages with charts, need bokeh, which is not installed here: "
            "`pip install bokeh`"
        ) from error
