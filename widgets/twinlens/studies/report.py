"""The report: one offline HTML page with tables, figures and the saliency panel of each case."""

from __future__ import annotations

import base64
import gzip
import hashlib
import html
import json
import os
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

from twinlens import charts, export
from twinlens.errors import TwinlensError
from twinlens.files import replacing
from twinlens.schema import SIDES, PairInfo
from twinlens.studies import figures, html_tables
from twinlens.studies.cases import Cases
from twinlens.studies.comparisons import Question
from twinlens.studies.data import Problem
from twinlens.studies.findings import findings
from twinlens.studies.html_tables import CaseSets, Cell, Column
from twinlens.studies.robustness import Grid, Outcome, other_methods, robustness, shares
from twinlens.studies.scoring import Score, Settings
from twinlens.studies.statistics import Analysis, analyse
from twinlens.trace import Report

QUESTIONS: tuple[Question, ...] = ("tuned against base", "followed against unfollowed")
DEFAULT_BUDGET_MB = 15.0
_TITLES: dict[Question, str] = {
    "tuned against base": "Does tuning make answers rest more on the instruction?",
    "followed against unfollowed": "Do answers that follow the instruction rest more on it?",
}


@dataclass(frozen=True)
class ReportFile:
    """The page that was written, its size in bytes, and how many cases carry their panel."""

    path: Path
    size: int
    panels: int
    analysis: Analysis
    outcomes: tuple[Outcome, ...]


def write_report(
    cases: Cases,
    path: str | os.PathLike[str],
    *,
    settings: Settings | None = None,
    grid: Grid | None = None,
    title: str | None = None,
    problems: Sequence[Problem] = (),
    bootstrap: int = 2000,
    seed: int = 0,
    budget_mb: float = DEFAULT_BUDGET_MB,
    report: Report | None = None,
) -> ReportFile:
    """Analyse the cases of a study and write the report as one HTML file.

    Parameters
    ----------
    cases : Cases
        A stored study (`Store`) or `PublishedCases`.
    path : path
        Written only when complete.
    settings : Settings, optional
        Of the tables; the paper's by default.
    grid : Grid, optional
        Settings that are varied for the robustness chart.
    title : str, optional
    problems : sequence of Problem
        Rows that were set aside.
    bootstrap, seed : int
        Resampling for intervals.
    budget_mb : float
        Cases carry their saliency panel, in order, until the page has this size (10^6 bytes).
    report : callable, optional
        Called with (done, total, what) for each case.

    Raises
    ------
    TwinlensError
        If there is not one complete case, or the front end is not built.
    """
    analysis = analyse(cases, settings, bootstrap=bootstrap, seed=seed)
    if not analysis.scores:
        raise TwinlensError("the study holds no finished prompt: run it before its report")
    outcomes = robustness(cases, grid, bootstrap=bootstrap // 2, seed=seed)
    outcomes += other_methods(cases, bootstrap=bootstrap // 2, seed=seed)
    base, tuned = ([s for s in analysis.scores if s.side == side] for side in SIDES)
    sets = CaseSets(score.id for score in tuned)
    body = "".join(_sections(analysis, outcomes, base, tuned, problems, sets))
    page: dict[str, Any] = {
        "sets": sets.sets,
        "figures": _figure_items(analysis, outcomes, base, tuned),
        "panels": [],
    }
    bokeh, script = _inline(charts.bokeh_script()), _inline(_asset("report.js"))
    pair = cases.pair
    heading = title or f"{pair.base.name} and {pair.tuned.name}"
    room = int(budget_mb * 1e6) - len(bokeh) - len(body) - len(json.dumps(page)) - 300_000
    panels = _Panels()
    for place, score in enumerate(tuned):
        packed = panels.add(cases, score.id) if room > 0 else None
        room -= len(packed or "")
        page["panels"].append(packed)
        if report:
            report(place + 1, len(tuned), "cases")
    text = _page(heading, pair, analysis, body, page, panels, bokeh, script)
    target = Path(path)
    with replacing(target) as stream:
        stream.write(text.encode(errors="replace"))
    carried = sum(packed is not None for packed in page["panels"])
    return ReportFile(target, target.stat().st_size, carried, analysis, tuple(outcomes))


def _sections(
    analysis: Analysis,
    outcomes: Sequence[Outcome],
    base: Sequence[Score],
    tuned: Sequence[Score],
    problems: Sequence[Problem],
    sets: CaseSets,
) -> Iterable[str]:
    yield "<h2>What was found</h2>"
    yield "".join(f"<p>{html.escape(text)}</p>" for text in findings(analysis, outcomes))
    asked = [q for q in QUESTIONS if any(item.question == q for item in analysis.comparisons)]
    for question in asked:
        yield f"<h2>{html.escape(_TITLES[question])}</h2>"
        yield html_tables.comparison_table(analysis.comparisons, question, sets)
    yield '<h2 id="cases-title">Cases</h2>'
    yield (
        "<p>Select in either figure, or click any number above: the table keeps those cases. "
        "Click a case to see what both answers rest on.</p>"
        '<div class="figure" id="figure-cases"></div>'
        '<p id="filter"><span id="filter-note" role="status"></span> '
        '<button type="button" class="plain" id="clear" hidden>Show all</button></p>'
    )
    yield _case_table(base, tuned)
    yield '<div id="case"></div>'
    counted = shares(o for o in outcomes if o.method == outcomes[0].method)
    for place, question in enumerate(asked):
        yield f"<h2>Robustness: {html.escape(question)}</h2>"
        yield (
            "<p>Effect size with its 95 % bootstrap interval under one change of settings at a "
            "time: where the conclusion holds (circle), vanishes (diamond) or turns (triangle). "
            "Below, every combination of settings.</p>"
            f'<div class="figure" id="figure-robustness-{place}"></div>'
        )
        widest = [o.group for o in outcomes if o.question == question][-1]
        yield html_tables.share_table(counted, question, widest, sets)
    yield (
        "<h2>Along the prompt and the answer</h2><p>Mean density in ten equal parts of the prompt "
        "(prompts of at least 10 tokens); share of answer tokens with at least one instruction "
        "token above the level threshold (prompts of which the instruction is only a part). "
        'Bands: ± one standard error.</p><div class="figure" id="figure-profiles"></div>'
    )
    if problems:
        yield "<h2>Rows set aside</h2>"
        columns = [Column("row"), Column("what was wrong", kind="text wrap")]
        rows = [[Cell(str(p.number), p.number), Cell(p.message)] for p in problems]
        yield html_tables.table(f"{len(problems)} rows are not in the study.", columns, rows, sets)


def _case_table(base: Sequence[Score], tuned: Sequence[Score]) -> str:
    heads = (
        "case",
        "group",
        "category",
        "base score",
        "tuned score",
        "tuned − base",
        "prompt tokens",
        "instruction tokens",
        "base answer tokens",
        "tuned answer tokens",
        "rating",
        "followed",
    )
    head = "".join(
        f'<th scope="col"><button type="button">{html.escape(title)}</button></th>'
        for title in heads
    )
    rows = []
    for place, (a, b) in enumerate(zip(base, tuned, strict=True)):
        name = html.escape(b.id)
        followed = "" if b.followed is None else ("yes" if b.followed else "no")
        numbers = (
            (f"{a.score:.4f}", a.score),
            (f"{b.score:.4f}", b.score),
            (f"{b.score - a.score:+.4f}", b.score - a.score),
            (str(b.prompt_length), b.prompt_length),
            (str(b.instruction_length), b.instruction_length),
            (str(a.answer_length), a.answer_length),
            (str(b.answer_length), b.answer_length),
            ("" if b.rating is None else str(b.rating), -1 if b.rating is None else b.rating),
        )
        cells = "".join(f'<td data-v="{value!r}">{text}</td>' for text, value in numbers)
        rows.append(
            f'<tr data-case="{place}" data-id="{name}">'
            f'<td class="text"><button type="button" class="open">{name}</button></td>'
            f'<td class="text">{html.escape(b.group)}</td>'
            f'<td class="text">{html.escape(b.category)}</td>{cells}<td>{followed}</td></tr>'
        )
    return (
        f'<div id="cases"><table><thead><tr>{head}</tr></thead>'
        f"<tbody>{''.join(rows)}</tbody></table></div>"
    )


def _figure_items(
    analysis: Analysis,
    outcomes: Sequence[Outcome],
    base: Sequence[Score],
    tuned: Sequence[Score],
) -> dict[str, Any]:
    from bokeh.embed import json_item

    made = {"figure-cases": figures.case_figures(base, tuned)}
    asked = [q for q in QUESTIONS if any(o.question == q for o in outcomes)]
    for place, question in enumerate(asked):
        made[f"figure-robustness-{place}"] = figures.robustness_figure(outcomes, question)
    made["figure-profiles"] = figures.profile_figures(analysis.profiles)
    return {name: json_item(layout) for name, layout in made.items()}


class _Panels:
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


def _page(
    title: str,
    pair: PairInfo,
    analysis: Analysis,
    body: str,
    page: dict[str, Any],
    panels: _Panels,
    bokeh: str,
    script: str,
) -> str:
    allowed = " ".join(_hash(text) for text in (bokeh, script, panels.script) if text)
    policy = (
        f"default-src 'none'; script-src {allowed}; style-src 'unsafe-inline'; "
        "img-src data: blob:; base-uri 'none'; form-action 'none'"
    )
    settings = ", ".join(f"{name} {value}" for name, value in analysis.settings.record().items())
    models = (
        f'<p><span class="base">base: {html.escape(pair.base.name)}</span> · '
        f'<span class="tuned">tuned: {html.escape(pair.tuned.name)}</span>'
        f'<span class="muted"> {html.escape(pair.note)}</span></p>'
    )
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{html.escape(policy)}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="generator" content="twinlens">
<title>{html.escape(title)}</title>
<style>{_asset("report.css")}</style>
</head>
<body data-state="loading">
<h1>{html.escape(title)}</h1>
{models}
<p class="muted">Instruction score of Wu et al. (2310.00492), section 3. Settings: {
        html.escape(settings)
    }. Intervals: percentile bootstrap, {analysis.bootstrap} resamples, seed {analysis.seed}.</p>
{body}
<script type="application/json" id="study-data">{_json(page)}</script>
<script type="application/json" id="panel-shell">{_json(panels.shell)}</script>
<script type="application/json" id="panel-script">{_json(panels.script)}</script>
<script>{bokeh}</script>
<script>{script}</script>
</body>
</html>
"""


def _asset(name: str) -> str:
    return (files("twinlens.studies") / name).read_text(encoding="utf-8")


def _json(value: Any) -> str:
    return json.dumps(value, separators=(",", ":")).replace("<", "\\u003c")


def _inline(script: str) -> str:
    return script.replace("</script", "<\\/script").replace("<!--", "<\\!--")


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
