"""Whatever a page may ask for: blocks of the trace, charts, and BokehJS."""

from __future__ import annotations

import re
from pathlib import Path

from twinlens.contract import blocks
from twinlens.contract.wire import Value
from twinlens.figures.charts import chart_json, load_bokeh
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
#: What is written over in BokehJS, and how: `runBokeh` runs it and gives way after each module, a
#: chart is made view by view, and a figure is painted in another task than it is laid out.
_IN_TURNS = (
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
    (
        "this._needs_paint&&this.paint()",
        f"this._needs_paint&&{_TURN}.then(() => this._needs_paint&&this.paint())",
    ),
)
#: Where the list of its modules begins, where each of them does, and where the list ends.
_MODULES = re.compile(r"(\}\)\n\()\[(\nfunction _\(.*\},)\n\](, 0, \{)", re.DOTALL)
_MODULE = "\nfunction _("
#: Characters of a script: a browser reads it as a whole.
_SCRIPT = 150_000
#: Between the scripts of one block.
SCRIPT_END = "\n//# next script\n"


def bokeh_in_pieces() -> list[str]:
    """The same as scripts that run one after the other, where no task may be long.

    The last leaves `runBokeh`, which runs module by module. To read BokehJS at once takes a tenth
    of a second, to run all modules a fifth. None needs one that needs it, so that they may run in
    any order. Of a Bokeh whose script looks otherwise it is the script as it is.
    """
    script = bokeh_script()
    if any(script.count(old) != 1 for old, _ in _IN_TURNS) or not _MODULES.search(script):
        return [script]
    for old, new in _IN_TURNS:
        script = script.replace(old, new)
    listed = _MODULES.search(script)
    assert listed
    modules = listed[2].replace(_MODULE, f"\0{_MODULE}").split("\0")[1:]
    pieces = [""]
    for module in modules:
        if len(pieces[-1]) > _SCRIPT:
            pieces.append("")
        pieces[-1] += module
    before, after = script[: listed.end(1)], script[listed.start(3) :]
    added = "'use strict';\n(globalThis.bokehModules ??= []).push("
    return [*(f"{added}{piece})" for piece in pieces), f"{before}globalThis.bokehModules{after}"]
