"""The report as one page: figures, panels of cases, scripts and policy around its sections."""

from __future__ import annotations

import base64
import gzip
import html
import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from twinlens.contract.manifest import PairInfo
from twinlens.contract.words import PanelKind
from twinlens.pages.front_end import front_end
from twinlens.pages.html import inline_json, inline_script, inline_style, policy
from twinlens.pages.page import page_parts, page_scripts, page_template
from twinlens.pages.values import bokeh_script
from twinlens.studies.data.cases import Cases

if TYPE_CHECKING:
    from bokeh.plotting import figure


#: What the page of a case shows.
CASE_KIND: PanelKind = "saliency"
#: How it shows it: scores and profiles of a study are made of densities.
CASE_VIEW = {"saliency": {"answerMeasure": "density"}}


def case_panel(cases: Cases, case_id: str) -> str:
    """Base64 of gzip of JSON [state, blocks] of the saliency panel of one case."""
    parts = page_parts(cases.trace(case_id), kind=CASE_KIND, title=case_id, view=CASE_VIEW)
    data = json.dumps([parts.state, parts.blocks]).encode()
    return base64.b64encode(gzip.compress(data, 9, mtime=0)).decode()


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


def page_html(
    title: str, pair: PairInfo, settings: str, body: str, data: Mapping[str, Any], case_pages: bool
) -> str:
    """The complete page; scripts run only if their hash is in the policy."""
    template = page_template("twinlens", CASE_KIND) if case_pages else ""
    scripts = [bokeh_script(), inline_script(front_end("report.js"))]
    # The pages of cases stand in frames, which are under the policy of this page.
    allowed = policy(*scripts, *page_scripts(CASE_KIND))
    return f"""<!doctype html>
<html lang="en" class="tl-report" data-theme="auto">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{html.escape(allowed)}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta name="generator" content="twinlens">
<title>{html.escape(title)}</title>
<style>{inline_style(front_end("report.css"))}</style>
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
<script type="application/json" id="study-data">{inline_json(data)}</script>
<script type="application/json" id="case-template">{inline_json(template)}</script>
{"".join(f"<script>{script}</script>" for script in scripts)}
</body>
</html>
"""
