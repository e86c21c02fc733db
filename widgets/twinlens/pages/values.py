"""Whatever a page may ask for: blocks of the trace, charts, and BokehJS."""

from __future__ import annotations

from twinlens.contract import blocks
from twinlens.contract.wire import Value
from twinlens.figures.charts import chart_json
from twinlens.pages.bokehjs import bokeh_script
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
