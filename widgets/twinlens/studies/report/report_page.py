"""The report as one page: figures, the table and panels of cases, scripts and policy around it all.

Figures are saved as SVG and PNG files by a browser that is already there: BokehJS draws in browsers
only. Bokeh's own export needs Selenium and a driver beside the browser; Chromium, Chrome and Edge
can write out a page without either.
"""

from __future__ import annotations

import base64
import html
import json
import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from bokeh.document import Document
from bokeh.embed.util import standalone_docs_json
from bokeh.plotting import figure

from twinlens.contract.manifest import PairInfo
from twinlens.pages.bokehjs import bokeh_script, models_of
from twinlens.pages.html import front_end, inline_json, inline_script, inline_style, policy
from twinlens.pages.page import page_scripts, page_template
from twinlens.studies.analysis.scoring import Score
from twinlens.studies.data.cases import Cases
from twinlens.studies.report import html_tables
from twinlens.studies.report.case_packs import CASE_KIND, Packs, packed_cases, packed_text
from twinlens.studies.report.html_tables import Cell, Column
from twinlens.support.browser import drawn
from twinlens.support.files import replacing
from twinlens.support.progress import Report

#: Of saved figures, in CSS pixels.
WIDTH = 720


def figures_json(figures: Mapping[str, figure]) -> dict[str, Any]:
    """Figures as one Bokeh document, so that they share sources, and the id of each by name."""
    document = Document()
    for fig in figures.values():
        document.add_root(fig)
    return {
        "documents": standalone_docs_json(list(figures.values())),
        "roots": {name: fig.id for name, fig in figures.items()},
    }


def figure_html(name: str, caption: str) -> str:
    """Where a figure is drawn, and its caption."""
    return f'<figure data-figure="{name}"><figcaption>{html.escape(caption)}</figcaption></figure>'


def write_page(
    target: Path,
    title: str,
    how: str,
    body: str,
    data: Mapping[str, Any],
    steps: Sequence[tuple[str, Cases]],
    ids: Sequence[str],
    budget_mb: float,
    report: Report | None = None,
) -> Packs:
    """Write a report of named studies, the last one shown first, with panels as room allows."""
    pair = steps[-1][1].pair
    data = {"variants": [], "profiles": [], "shared": {}, "packs": [], "steps": [], **data}
    empty = page_html(title, pair, how, body, data, case_pages=True)
    packed = packed_cases(
        [cases for _, cases in steps], ids, int(budget_mb * 1e6) - len(empty), report
    )
    data |= {"shared": packed.shared, "packs": packed.packs}
    names = [name for name, _ in steps]
    data["steps"] = [
        {"name": name, "panels": panels} for name, panels in zip(names, packed.panels, strict=True)
    ]
    text = page_html(title, pair, how, body, data, case_pages=bool(packed.packs))
    with replacing(target) as stream:
        stream.write(text.encode(errors="replace"))
    return packed


def page_html(
    title: str, pair: PairInfo, settings: str, body: str, data: Mapping[str, Any], case_pages: bool
) -> str:
    """The complete page; scripts run only if their hash is in the policy."""
    template = page_template("twinlens", CASE_KIND) if case_pages else ""
    rest = {key: value for key, value in data.items() if key != "packs"}
    bokeh = inline_script(bokeh_script(models_of(data["figures"])))
    script = inline_script(front_end("report.js"))
    # The pages of cases stand in frames, which are under the policy of this page.
    allowed = policy(bokeh, script, *page_scripts(CASE_KIND))
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
<script type="text/plain" id="study-data">{packed_text(json.dumps(rest))}</script>
<script type="application/json" id="case-packs">{inline_json(data["packs"])}</script>
<script type="text/plain" id="case-template">{packed_text(template)}</script>
<script type="text/plain" id="bokeh">{packed_text(bokeh)}</script>
<script>{script}</script>
</body>
</html>
"""


def save(figures: Mapping[str, figure], folder: str | os.PathLike[str]) -> list[Path]:
    """Save figures as ``NAME.svg`` and ``NAME.png`` (two pixels per point).

    Parameters
    ----------
    folder : path
        Made if it is not there.

    Returns
    -------
    list of Path
        The files written.

    Raises
    ------
    BrowserError
        If there is no Chromium, Chrome or Edge, or it could not draw.
    """
    root = Path(folder)
    root.mkdir(parents=True, exist_ok=True)
    written = []
    for name, (svg, png) in _drawn(figures).items():
        for suffix, content in ((".svg", svg.encode()), (".png", base64.b64decode(png))):
            with replacing(root / f"{name}{suffix}") as stream:
                stream.write(content)
            written.append(root / f"{name}{suffix}")
    return written


def _drawn(figures: Mapping[str, figure]) -> dict[str, tuple[str, str]]:
    data = figures_json(figures)
    places = "".join(f'<div data-figure="{html.escape(name)}"></div>' for name in figures)
    page = (
        f'<!doctype html><meta charset="utf-8"><body style="margin:0;width:{WIDTH}px">{places}'
        f'<script type="application/json" id="figures">{inline_json(data)}</script>'
        f"<script>{bokeh_script(models_of(data))}</script>"
        f"<script>{inline_script(front_end('drawing.js'))}</script>"
    )
    # Wider than the figures, as a window is.
    answer = json.loads(drawn(page.encode(errors="replace"), width=WIDTH + 80, sharp=2))
    return {name: (svg, png) for name, svg, png in answer}


def cases_section(title: str, base: Sequence[Score], tuned: Sequence[Score], how: str = "") -> str:
    """All cases: two figures, the table, and room for one of them; `how` is HTML in front."""
    lengths = "Difference of the scores against the answer lengths."
    return (
        f'<h2 id="cases-title" tabindex="-1">{title}</h2>{how}<div class="figures">'
        f"{figure_html('scores', 'Score of each prompt.')}"
        f"{figure_html('lengths', lengths)}</div>"
        '<p id="filter"><span id="filter-note" role="status"></span> '
        '<button type="button" class="plain" id="clear" hidden>Show all</button></p>'
        f'{case_table(base, tuned)}<section id="case" aria-live="polite"></section>'
    )


def case_table(base: Sequence[Score], tuned: Sequence[Score]) -> str:
    """The table of all cases, which figures and numbers filter, as HTML."""
    columns = (
        Column("case", kind="text"),
        Column("group", kind="text"),
        Column("category", kind="text"),
        Column("this number", kind="own"),
        Column("base score"),
        Column("tuned score"),
        Column("tuned − base"),
        Column("prompt tokens"),
        Column("instruction tokens"),
        Column("base answer tokens"),
        Column("tuned answer tokens"),
        Column("rating"),
        Column("followed"),
    )
    cells = [_case_cells(a, b) for a, b in zip(base, tuned, strict=True)]
    # Columns that hold nothing are hidden; the page fills one of them when a point is clicked.
    empty = [not any(cell.text for cell in column) for column in zip(*cells, strict=True)]
    hidden = [" hidden" if nothing else "" for nothing in empty]
    head = "".join(
        f'<th scope="col" class="{column.kind}"{hide}>'
        f'<button type="button">{html.escape(column.title)}</button></th>'
        for column, hide in zip(columns, hidden, strict=True)
    )
    rows = []
    for score, row in zip(tuned, cells, strict=True):
        name = html.escape(score.id)
        first = f'<td class="text"><button type="button" class="open">{name}</button></td>'
        rest = "".join(
            f'<td class="{column.kind}"{html_tables.sort_value(cell)}{hide}>'
            f"{html.escape(cell.text)}</td>"
            for column, cell, hide in list(zip(columns, row, hidden, strict=True))[1:]
        )
        rows.append(f'<tr data-id="{name}">{first}{rest}</tr>')
    return (
        f'<div id="cases" class="scroll" tabindex="0" role="region" aria-labelledby="cases-title">'
        f"<table><thead><tr>{head}</tr></thead><tbody>{''.join(rows)}</tbody></table></div>"
    )


def _case_cells(base: Score, tuned: Score) -> list[Cell]:
    followed = "" if tuned.followed is None else ("yes" if tuned.followed else "no")
    scores = (base.score, tuned.score, tuned.score - base.score)
    if not tuned.instruction_length:
        scores = (math.nan,) * 3
    return [
        Cell(tuned.id),
        Cell(tuned.group),
        Cell(tuned.category),
        Cell("", math.nan),
        *(
            Cell(html_tables.number(value, form), value)
            for value, form in zip(scores, (".4f", ".4f", "+.4f"), strict=True)
        ),
        *(
            Cell(str(count), count)
            for count in (
                tuned.prompt_length,
                tuned.instruction_length,
                base.answer_length,
                tuned.answer_length,
            )
        ),
        Cell("", math.nan) if tuned.rating is None else Cell(str(tuned.rating), tuned.rating),
        Cell(followed),
    ]
