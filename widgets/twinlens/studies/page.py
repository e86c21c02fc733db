"""The report as one page: figures, panels of cases, scripts and policy around its sections."""

from __future__ import annotations

import base64
import gzip
import hashlib
import html
import json
import tempfile
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

from twinlens import charts, export
from twinlens.contract.manifest import PairInfo
from twinlens.studies.cases import Cases

if TYPE_CHECKING:
    from bokeh.plotting import figure


class Panels:
    """The saliency panel of cases: page and bundle once, manifest and blocks of each."""

    def __init__(self) -> None:
        self.shell = ""
        self.script = ""

    def add(self, cases: Cases, case_id: str) -> str:
        """Base64 of gzip of JSON [page, blocks] of one case."""
        with tempfile.TemporaryDirectory() as folder:
            target = Path(folder) / "case.html"
            export.to_html(cases.trace(case_id), target, kind="saliency", title=case_id)
            text = target.read_text(encoding="utf-8")
        page, text = _cut(text, '<script type="application/json" id="twinlens-page">', "%PAGE%")
        blocks, text = _cut(text, '<script type="text/plain" id="twinlens-blocks">', "%BLOCKS%")
        if not self.script:
            self.script, self.shell = _cut(text, "<script>", "%SCRIPT%")
        data = json.dumps([page, blocks]).encode()
        return base64.b64encode(gzip.compress(data, 9, mtime=0)).decode()


def _cut(text: str, opening: str, mark: str) -> tuple[str, str]:
    """Take the contents of a script element out and leave a mark in its place."""
    before, _, rest = text.partition(opening)
    inside, _, after = rest.partition("</script>")
    return inside, f"{before}{opening}{mark}</script>{after}"


def figures_json(figures: Mapping[str, figure]) -> dict[str, Any]:
    """Figures as one Bokeh document, so that they share sources, and the id of each by name."""
    from bokeh.document import Document
    from bokeh.embed.util import standalone_docs_json

    document = Document()
    for fig in figures.values():
        document.add_root(fig)
    return {
        "documents": standalone_docs_json(list(figures.values())),
        "roots": {name: fig.id for name, fig in figures.items()},
    }


def bokeh_script() -> str:
    """BokehJS, fit to stand in a script element."""
    return inline(charts.bokeh_script())


def page_html(
    title: str, pair: PairInfo, settings: str, body: str, data: Mapping[str, Any], panels: Panels
) -> str:
    """The complete page; scripts run only if their hash is in the policy."""
    bokeh, script = bokeh_script(), inline(asset("report.js"))
    allowed = " ".join(_hash(text) for text in (bokeh, script, panels.script) if text)
    policy = (
        f"default-src 'none'; script-src {allowed}; style-src 'unsafe-inline'; "
        "img-src data: blob:; base-uri 'none'; form-action 'none'"
    )
    return f"""<!doctype html>
<html lang="en" data-theme="auto">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{html.escape(policy)}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta name="generator" content="twinlens">
<title>{html.escape(title)}</title>
<style>{asset("report.css")}</style>
</head>
<body data-state="loading">
<header>
<h1>{html.escape(title)}</h1>
<label class="theme">Theme <select id="theme"><option>auto<option>light<option>dark</select></label>
</header>
<p><span class="base">base: {html.escape(pair.base.name)}</span> ·
<span class="tuned">tuned: {html.escape(pair.tuned.name)}</span>
<span class="muted">{html.escape(pair.note)}</span></p>
<p class="muted">{html.escape(settings)}</p>
<main>
{body}
</main>
<script type="application/json" id="study-data">{_json(data)}</script>
<script type="application/json" id="panel-shell">{_json(panels.shell)}</script>
<script type="application/json" id="panel-script">{_json(panels.script)}</script>
<script>{bokeh}</script>
<script>{script}</script>
</body>
</html>
"""


def asset(name: str) -> str:
    """Text of a file of this package."""
    return (files("twinlens.studies") / name).read_text(encoding="utf-8")


def _json(value: Any) -> str:
    return json.dumps(value, separators=(",", ":")).replace("<", "\\u003c")


def inline(script: str) -> str:
    """A script as it may stand in a script element."""
    return script.replace("</script", "<\\/script").replace("<!--", "<\\!--")


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
