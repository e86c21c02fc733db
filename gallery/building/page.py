"""The page of a notebook: its text, its code, and its panels, linked, without a kernel.

Each explorer lies in the page once, with the numbers that its panels show; one script mounts the
panels where the notebook has them, over one selection.
"""

from __future__ import annotations

import html
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

from nbconvert.filters import markdown2html
from pygments import highlight
from pygments.formatters import HtmlFormatter
from pygments.lexers import PythonLexer
from twinlens.contract import blocks
from twinlens.contract.palette import PALETTES
from twinlens.contract.wire import Value
from twinlens.contract.words import ChartTheme, PanelKind
from twinlens.errors import UnknownBlockError
from twinlens.labels.given_names import LabelledTrace
from twinlens.pages.bokehjs import bokeh_script
from twinlens.pages.html import document, front_end, inline_json, inline_script, policy
from twinlens.pages.page import page_parts, page_state
from twinlens.support.progress import Report
from twinlens.traces.trace import Trace
from twinlens.view.explorer import Explorer
from twinlens.view.panel import Panel

from gallery.building.run import WIDGET, Cell, Ran

STYLE = Path(__file__).with_name("site.css")
#: How keys of blocks that take long begin, and the panel beside the dashboard that shows them.
COSTLY: dict[str, PanelKind] = {
    "findings": "findings",
    "carried": "carried",
    "exchanged": "carried",
    "update": "update",
    "deletion": "saliency",
    "heads/effect": "heads",
    "heads/ablation": "heads",
    "units": "concepts",
    "neuron/": "concepts",
    "lens_table": "overview",
}
#: Panels that are wide; a reader of a narrow page gets them over its whole width.
CHARTED = ("dashboard", "overview")


class Shown(Trace):
    """A trace with the blocks that some of its panels show."""

    def __init__(self, trace: Trace, kinds: Iterable[PanelKind]) -> None:
        self.manifest, self.marks, self.story = trace.manifest, trace.marks, trace.story
        self._trace, self._kinds = trace, set(kinds)

    def keys(self) -> list[str]:
        keys = self._trace.keys()
        return [key for key in keys if self._shows(key)]

    def block(self, key: str, report: Report | None = None) -> Value:
        if not self._shows(key):
            raise UnknownBlockError(f"no panel of this page shows {key}")
        return self._trace.block(key, report)

    def _shows(self, key: str) -> bool:
        panels = {panel for begins, panel in COSTLY.items() if key.startswith(begins)}
        return not panels or "dashboard" in self._kinds or not panels.isdisjoint(self._kinds)


def write_page(ran: Ran, path: Path, links: str) -> None:
    """Write the page of a notebook.

    Parameters
    ----------
    ran : Ran
    path : Path
        Beside it, in a folder of its name without ending, lie the files the notebook wrote.
    links : str
        HTML of what leads to the other pages.
    """
    kinds: dict[str, list[PanelKind]] = {}
    body = "".join(_cell(cell, ran, kinds, path.stem) for cell in ran.cells)
    parts = "".join(
        _explorer(model_id, ran.widgets[model_id], shown) for model_id, shown in kinds.items()
    )
    script = inline_script(front_end("notebook.js"))
    style = front_end("twinlens.css") + site_style()
    text = document(
        ran.title,
        style,
        policy(script, bokeh_script()),
        f"{links}<main>\n{body}</main>\n{links}{parts}<script>{script}</script>\n",
    )
    path.write_text(text, encoding="utf-8", errors="replace")


def site_style() -> str:
    """Style sheet of all pages of the site, with the product's colours, in both themes."""
    dark = "@media (prefers-color-scheme: dark)"
    return "".join(
        (
            _colours("light", "xcode"),
            f"{dark} {{\n{_colours('dark', 'github-dark')}}}\n",
            STYLE.read_text(encoding="utf-8"),
        )
    )


def _colours(theme: ChartTheme, code: str) -> str:
    palette = PALETTES[theme]
    names = {
        "ink": palette.ink,
        "muted": palette.muted,
        "paper": palette.background,
        "shade": palette.shade,
        "rule": palette.rule,
        "link": palette.base_text,
    }
    root = " ".join(f"--{name}: {colour};" for name, colour in names.items())
    rules = HtmlFormatter(style=code).get_style_defs("pre.code").splitlines()
    # Of the style of the code only what colours words.
    words = "\n".join(rule for rule in rules if rule.startswith("pre.code ."))
    return f":root {{ {root} }}\n{words}\n"


def _cell(cell: Cell, ran: Ran, kinds: dict[str, list[PanelKind]], folder: str) -> str:
    if cell.kind == "markdown":
        return f'<section class="text">{markdown2html(cell.source)}</section>\n'
    code = highlight(cell.source, PythonLexer(), HtmlFormatter(nowrap=True))
    shown = "".join(_output(output, ran, kinds) for output in cell.outputs)
    files = "".join(
        f'<li><a href="{folder}/{html.escape(file.as_posix())}">{html.escape(file.name)}</a></li>'
        for file in cell.files
    )
    wrote = f'<ul class="wrote" aria-label="Files that it wrote">{files}</ul>' if files else ""
    return f'<pre class="code" tabindex="0">{code}</pre>\n{shown}{wrote}'


def _output(output: dict[str, Any], ran: Ran, kinds: dict[str, list[PanelKind]]) -> str:
    if WIDGET in output:
        return _widget(output[WIDGET]["model_id"], ran, kinds)
    if "text/html" in output:
        return f'<div class="output" tabindex="0">{output["text/html"]}</div>\n'
    text = html.escape(output.get("text/plain", ""))
    return f'<pre class="output" tabindex="0">{text}</pre>\n' if text.strip() else ""


def _widget(model_id: str, ran: Ran, kinds: dict[str, list[PanelKind]]) -> str:
    widget = ran.widgets[model_id]
    kind: PanelKind = "dashboard"
    if isinstance(widget, Panel):
        kind, widget = widget.kind, widget.explorer
        ran.widgets[widget.model_id] = widget
    if not isinstance(widget, Explorer):
        return f'<p class="note">{html.escape(_said(widget))}</p>\n'
    kinds.setdefault(widget.model_id, []).append(kind)
    return f'<div class="panel" data-shows="{widget.model_id}" data-kind="{kind}"></div>\n'


def _said(widget: Any) -> str:
    name = type(widget).__name__
    return f"Here stands a widget of the notebook ({name}): it needs the notebook to be running."


def _explorer(model_id: str, explorer: Any, kinds: list[PanelKind]) -> str:
    """What an explorer shows, as elements that the script reads."""
    kind = next((one for one in kinds if one in CHARTED), kinds[0])
    if "update" in kinds:  # a panel waits to be asked for it, and a page cannot be asked
        with suppress(UnknownBlockError):
            explorer.trace.block(blocks.update())
    trace = LabelledTrace(Shown(explorer.trace, kinds), explorer.labels)
    state = page_state(
        trace,
        selection={name: getattr(explorer, name) for name in ("token", "layer", "head", "unit")},
        method=explorer.method,
        marks=explorer.marks,
        view=explorer.view,
        story=explorer.slides,
        kind=kind,
    )
    parts = page_parts(trace, state)
    return (
        f'<script type="application/json" data-explorer="{model_id}">'
        f"{inline_json(parts.state)}</script>\n"
        f'<script type="text/plain" data-blocks="{model_id}">{parts.blocks}</script>\n'
    )
