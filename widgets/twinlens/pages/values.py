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


#: Lets what waits have its turn.
_TURN = (
    "new Promise(done => { const { port1, port2 } = new MessageChannel();"
    " port1.onmessage = () => { port1.close(); done() }; port2.postMessage(0) })"
)
#: What is written over in BokehJS, and how: `runBokeh` runs it and gives way after each module, and
#: a chart is made view by view.
_IN_PIECES = (
    (
        "  const bokeh = factory();\n",
        "  root.runBokeh = function*() {\n  const bokeh = yield* factory();\n",
    ),
    ("})(this, function() {\n", "  }\n})(this, function*() {\n"),
    ("  return (function(modules, entry,", "  return yield* (function*(modules, entry,"),
    (
        "  const main = require(entry);\n",
        "  for (let id = modules.length - 1; id > 0; id--) {\n    require(id);\n    yield;\n  }\n"
        "  const main = require(entry);\n",
    ),
    (
        "return o.initialize(),await o.lazy_initialize(),o}",
        f"return o.initialize(),await o.lazy_initialize(),await {_TURN},o}}",
    ),
)


def bokeh_in_pieces() -> str:
    """The same, to be run module by module, where no task may be long.

    All modules at once take a fifth of a second. None needs one that needs it, so that they may run
    in any order. Of a Bokeh whose script looks otherwise it is the script as it is.
    """
    script = bokeh_script()
    if any(script.count(old) != 1 for old, _ in _IN_PIECES):
        return script
    for old, new in _IN_PIECES:
        script = script.replace(old, new)
    return script
