"""BokehJS as pages hold it: of the installed Bokeh, so that both halves have one version."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterable
from functools import cache
from pathlib import Path

from twinlens.contract.wire import Json
from twinlens.figures.charts import MODELS, load_bokeh

#: Where the list of its modules begins, where each of them does, where the list ends, and the
#: place of those that have a name.
_LIST = re.compile(r"(\}\)\n\()\[(\nfunction _\(.*\},)\n\](, 0, (\{[^{}]*\}))", re.DOTALL)
_MODULE = "\nfunction _("
_NO_MODULE = "\nfunction _(){},"
#: What runs first, and modules that only pass on what others define: nothing of those left out.
_PASSES_ON = re.compile(r"main|models/(.+/)?(index|main)")
#: Where it goes once it has run: Bokeh of a notebook, which may draw more, keeps its name.
_NAME = ("root.Bokeh", "root.twinlensBokeh")

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
#: Characters of a script: a browser reads it as a whole.
_SCRIPT = 150_000
#: Between the scripts of one block.
SCRIPT_END = "\n//# next script\n"


def bokeh_script(models: Collection[str] = MODELS) -> str:
    """What of BokehJS draws some models, as a script that leaves `twinlensBokeh` in the page.

    Parameters
    ----------
    models : collection of str
        Their types, see `models_of`; by default those of the charts.

    Returns
    -------
    str
        Without the modules that none of them needs. Of a Bokeh whose script looks otherwise, or
        knows one of them not, all of it, as it is: it goes by its own name.
    """
    return _script(frozenset(models))


@cache
def _script(models: frozenset[str]) -> str:
    load_bokeh()
    from bokeh.util.paths import bokehjs_path

    script = (Path(bokehjs_path()) / "js" / "bokeh.min.js").read_text(encoding="utf-8")
    listed = _LIST.search(script)
    if not listed:
        return script
    modules, places = _split(listed[2]), json.loads(listed[4])
    defining = [_defining(name, modules) for name in models]
    if not all(defining) or "index" not in places:
        return script
    held = _needed({places["index"]}.union(*defining), modules)
    held.update(place for name, place in places.items() if _PASSES_ON.fullmatch(name))
    left = "".join(module if place in held else _NO_MODULE for place, module in enumerate(modules))
    before, after = script[: listed.start(2)], script[listed.end(2) : listed.start(4)]
    return f"{before}{left}{after}{{}}{script[listed.end(4) :]}".replace(*_NAME)


def _split(listed: str) -> list[str]:
    return listed.replace(_MODULE, f"\0{_MODULE}").split("\0")[1:]


def _defining(model: str, modules: Iterable[str]) -> set[int]:
    """Places of the modules that define a class of this name."""
    return {place for place, module in enumerate(modules) if f'.__name__="{model}"' in module}


def _needed(first: set[int], modules: list[str]) -> set[int]:
    """These modules and all that one of them asks for; the first parameter of each asks."""
    needed: set[int] = set()
    waiting = list(first)
    while waiting:
        place = waiting.pop()
        if place in needed or place >= len(modules):
            continue
        needed.add(place)
        asks = re.escape(re.split(r"\W", modules[place][len(_MODULE) :], maxsplit=1)[0])
        asked = re.findall(rf"(?<![\w$.]){asks}\((\d+)\)", modules[place])
        waiting += map(int, asked)
    return needed


def models_of(document: Json) -> set[str]:
    """Types of all models in the JSON of Bokeh documents."""
    models: set[str] = set()
    waiting = [document]
    while waiting:
        part = waiting.pop()
        if isinstance(part, dict):
            if part.get("type") == "object":
                models.add(str(part["name"]))
            waiting += part.values()
        elif isinstance(part, list):
            waiting += part
    return models


def bokeh_in_pieces() -> list[str]:
    """The same for charts as scripts that run one after the other, where no task may be long.

    The last leaves `runBokeh`, which runs module by module. To read BokehJS at once takes a tenth
    of a second, to run all modules a fifth. None needs one that needs it, so that they may run in
    any order. Of a Bokeh whose script looks otherwise it is the script as it is.
    """
    script = bokeh_script()
    listed = _LIST.search(script)
    if any(script.count(old) != 1 for old, _ in _IN_TURNS) or not listed:
        return [script]
    for old, new in _IN_TURNS:
        script = script.replace(old, new)
    listed = _LIST.search(script)
    assert listed
    pieces = [""]
    for module in _split(listed[2]):
        if len(pieces[-1]) > _SCRIPT:
            pieces.append("")
        pieces[-1] += module
    before, after = script[: listed.end(1)], script[listed.start(3) :]
    added = "'use strict';\n(globalThis.bokehModules ??= []).push("
    return [*(f"{added}{piece})" for piece in pieces), f"{before}globalThis.bokehModules{after}"]
