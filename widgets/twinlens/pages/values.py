"""Whatever a page may ask for: blocks of the trace, charts, and BokehJS."""

from __future__ import annotations

from pathlib import Path

from twinlens.contract import blocks
from twinlens.contract.wire import Value
from twinlens.figures.bokeh_import import load_bokeh
from twinlens.figures.charts import chart_json
from twinlens.support.progress import Report
from twinlens.traces.trace import Trace


def page_value(trace: Trace, key: str, report: Report | None = None) -> Value:
    """A block of the trace, a chart, or BokehJS.

    Raises
    ------
    UnknownBlockError
        If it is none of them.
    """
    if key == blocks.bokeh_script():
        return bokeh_script()
    if key.split("/")[0] == blocks.chart.parts[0]:
        return chart_json(trace, key, report)
    return trace.block(key, report)


def bokeh_script() -> str:
    """BokehJS of the installed Bokeh, so that both halves have one version."""
    load_bokeh()
    from bokeh.util.paths import bokehjs_path

    return (Path(bokehjs_path()) / "js" / "bokeh.min.js").read_text(encoding="utf-8")
