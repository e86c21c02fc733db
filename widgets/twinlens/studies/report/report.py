"""The report: one offline HTML page with tables, figures and the saliency panel of each case."""

from __future__ import annotations

import html
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bokeh.plotting import figure

from twinlens.contract.words import SIDES, THEMES, ChartTheme, Side
from twinlens.errors import TwinlensError
from twinlens.studies.analysis import study_finding
from twinlens.studies.analysis.analysis import Analysis, frame_named
from twinlens.studies.analysis.comparisons import Question, Verdict
from twinlens.studies.analysis.profiles import PARTS, Profile
from twinlens.studies.analysis.scoring import Score, Settings
from twinlens.studies.analysis.sentences import counted, find, in_short, widest_of
from twinlens.studies.analysis.statistics import analyse
from twinlens.studies.analysis.study_finding import StudyFinding, widest
from twinlens.studies.analysis.tables import all_records
from twinlens.studies.analysis.variants import (
    Grid,
    VariantOutcome,
    VariantScores,
    other_methods,
    robustness,
    shares,
    variant_scores,
)
from twinlens.studies.data.cases import Cases
from twinlens.studies.data.change_tables import Changes
from twinlens.studies.data.published import PRINTED, Printed, PublishedCases
from twinlens.studies.data.rows import Problem
from twinlens.studies.report import figures, html_tables, report_page
from twinlens.studies.report.html_tables import SIGNS, CaseSets, Cell, Column, said_settings
from twinlens.studies.report.report_page import cases_section, figure_html, figures_json, write_page
from twinlens.studies.report.study_tables import exact_table, published_table
from twinlens.studies.report.weight_sections import weight_figures, weight_sections
from twinlens.support.progress import Report
from twinlens.traces.frames import DataFrame

QUESTIONS: tuple[Question, ...] = ("tuned against base", "followed against unfollowed")
DEFAULT_BUDGET_MB = 8.0
_TITLES: dict[Question, str] = {
    "tuned against base": "Does tuning make answers rest more on the instruction?",
    "followed against unfollowed": "Do answers that follow the instruction rest more on it?",
}
#: The same where no part of any prompt is marked.
_WHOLE_TITLES: dict[Question, str] = {
    "tuned against base": "Are densities more even over the prompt after tuning?",
    "followed against unfollowed": "Are densities more even in answers that were judged good?",
}


@dataclass(frozen=True)
class ReportFile:
    """The page that was written, its size in bytes, and how many cases carry their panel."""

    path: Path
    size: int
    panels: int
    analysis: Analysis
    outcomes: tuple[VariantOutcome, ...] = field(repr=False)
    changes: Changes = field(repr=False)

    def to_frame(self, table: str = "comparisons") -> DataFrame:
        """One of the tables of the report as a frame.

        Parameters
        ----------
        table : str
            ``scores``, ``comparisons``, ``tests``, ``profiles``, ``effects``, ``exact``,
            ``counts``, ``robustness``, ``robustness_shares``, or ``weights_NAME`` where weights
            were compared.

        Raises
        ------
        StudyError
            If there is no such table.
        """
        return frame_named(all_records(self.analysis, self.outcomes, self.changes), table)

    def _repr_html_(self) -> str:
        """What was found, in a notebook, and where the page lies."""
        findings = find(self.analysis, self.outcomes, self.changes)
        texts = "".join(
            f"<p>{html.escape(text)}</p>" for finding in findings for text in finding.texts
        )
        return f"<div>{texts}<p>{html.escape(str(self.path))}</p></div>"

    def save_figures(
        self, folder: str | os.PathLike[str], *, theme: ChartTheme = "light"
    ) -> list[Path]:
        """Save every figure as SVG and PNG; see `twinlens.studies.report.report_page.save`.

        Raises
        ------
        BrowserError
            If there is no Chromium, Chrome or Edge to draw with.
        """
        drawn = report_figures(self.analysis, self.outcomes, self.changes, theme)
        return report_page.save(drawn, folder)


def write_report(
    cases: Cases,
    path: str | os.PathLike[str],
    *,
    settings: Settings | None = None,
    grid: Grid | None = None,
    title: str | None = None,
    problems: Sequence[Problem] = (),
    changes: Changes | None = None,
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
    changes : mapping, optional
        Tables of heads and concepts (questions 2 and 3), from `weight_tables`; by default those
        that lie in the folder of the study.
    budget_mb : float
        Cases carry their saliency panel, in order, until the page has this size (10^6 bytes).
    report : callable, optional
        Called with (done, total, what) for each case.

    Returns
    -------
    ReportFile
        With the page's ``path``, its ``size`` in bytes, and its tables by ``to_frame``.

    Raises
    ------
    TwinlensError
        If there is not one complete case, or the front end is not built.

    Examples
    --------
    >>> import twinlens as tl
    >>> prompts = [{"prompt": "Make this sentence negative: The cat swims."}]
    >>> store = tl.study(tl.demo_pair(), prompts, "opposites", template=True, max_new_tokens=12)
    >>> from twinlens.studies import write_report
    >>> page = write_report(store, "opposites/report.html")
    """
    analysis = analyse(cases, settings)
    if not analysis.scores:
        raise TwinlensError("the study holds no finished prompt: run it before its report")
    outcomes = robustness(cases, grid)
    outcomes += other_methods(cases)
    changes = cases.changes if changes is None else changes
    variants = variant_scores(cases, outcomes)
    tuned = side_scores(analysis, "tuned")
    sets = CaseSets(score.id for score in tuned)
    names = [variant.variant for variant in variants]
    printed = PRINTED if isinstance(cases, PublishedCases) else {}
    body = "".join(_sections(analysis, outcomes, changes, names, problems, printed, sets))
    data: dict[str, Any] = {
        "sets": sets.sets,
        "variants": [_rounded(variant, tuned) for variant in variants],
        "profiles": [
            _by_case(profile, [score.id for score in tuned]) for profile in analysis.profiles
        ],
        "figures": {
            theme: figures_json(report_figures(analysis, outcomes, changes, theme))
            for theme in THEMES
        },
    }
    how = (
        "Instruction score of Wu et al. (2310.00492), section 3. Settings: "
        f"{said_settings(analysis.settings)}. Intervals: 95 %: the typical differences that the "
        "test does not reject; test and interval agree."
    )
    pair = cases.pair
    heading = title or f"{pair.base.name} and {pair.tuned.name}"
    target, ids = Path(path), [score.id for score in tuned]
    packed = write_page(target, heading, how, body, data, [("", cases)], ids, budget_mb, report)
    carried = sum(place is not None for place in packed.panels[0])
    return ReportFile(target, target.stat().st_size, carried, analysis, tuple(outcomes), changes)


def report_figures(
    analysis: Analysis, outcomes: Sequence[VariantOutcome], changes: Changes, theme: ChartTheme
) -> dict[str, figure]:
    """All figures of a report by name."""
    drawn = figures.first_figures(analysis.comparisons, analysis.exact, theme)
    drawn |= figures.case_figures(
        side_scores(analysis, "base"), side_scores(analysis, "tuned"), theme
    )
    for question in _asked(analysis):
        group = _widest(outcomes, question)
        name = figures.robustness_name(question)
        drawn[name] = figures.robustness_figure(outcomes, question, group, theme)
    if analysis.exact:
        drawn[figures.EXACT] = figures.exact_figure(analysis.exact, theme)
    return {
        **drawn,
        **figures.profile_figures(analysis.profiles, theme),
        **weight_figures(changes, theme),
    }


def side_scores(analysis: Analysis, side: Side) -> list[Score]:
    """Scores of one model."""
    return [score for score in analysis.scores if score.side == side]


def _asked(analysis: Analysis) -> list[Question]:
    return [q for q in QUESTIONS if any(item.question == q for item in analysis.comparisons)]


def _widest(outcomes: Sequence[VariantOutcome], question: Question) -> str:
    return [outcome.group for outcome in outcomes if outcome.question == question][-1]


def _rounded(variant: VariantScores, known: Sequence[Score]) -> dict[str, Any]:
    """Scores by case; none where there is no instruction to score."""
    return {
        "name": variant.variant,
        **{
            side: [
                round(value, 4) if score.instruction_length else None
                for value, score in zip(getattr(variant, side).tolist(), known, strict=True)
            ]
            for side in SIDES
        },
    }


def _by_case(profile: Profile, ids: Sequence[str]) -> list[list[float] | None]:
    """Values of a profile for each case of the report; none where it is not about the case."""
    known = dict(zip(profile.ids, profile.values.round(3).tolist(), strict=True))
    return [known.get(case_id) for case_id in ids]


def _sections(
    analysis: Analysis,
    outcomes: Sequence[VariantOutcome],
    changes: Changes,
    variants: Sequence[str],
    problems: Sequence[Problem],
    printed: Mapping[tuple[Question, str], Printed],
    sets: CaseSets,
) -> Iterable[str]:
    yield from _first_screen(analysis)
    if printed:
        yield published_table(analysis.comparisons, printed, sets)
    yield "<h2>What was found</h2>"
    yield "".join(_finding(finding, sets) for finding in find(analysis, outcomes, changes))
    for question in _asked(analysis):
        title = _TITLES if analysis.has_parts else _WHOLE_TITLES
        yield f"<h2>{html.escape(title[question])}</h2>"
        yield html_tables.comparison_table(analysis.comparisons, question, sets)
        yield html_tables.control_table(analysis.comparisons, question, sets)
        yield html_tables.test_table(analysis.comparisons, question, sets)
    if analysis.exact:
        yield "<h2>What does hiding a part of the prompt cost?</h2>"
        yield figure_html(
            figures.EXACT,
            "Typical difference of tuned and base, nats per answer token, whole answers; 95 % "
            "interval.",
        )
        yield exact_table(analysis.exact, sets)
    yield cases_section(
        "Cases",
        side_scores(analysis, "base"),
        side_scores(analysis, "tuned"),
        "<p>Select in either figure, or click any number: the table keeps those cases. "
        "Click a case to see what both answers rest on.</p>",
    )
    totals = shares(o for o in outcomes if o.method == outcomes[0].method)
    for question in _asked(analysis):
        widest = _widest(outcomes, question)
        yield f"<h2>Does it hold under other settings? {html.escape(question.capitalize())}</h2>"
        yield f'<p class="muted">{html.escape(_varied(outcomes))}</p>'
        yield html_tables.variant_table(outcomes, analysis.comparisons, question, variants, sets)
        caption = (
            f"Typical difference of the score with 95 % interval, in units of the standard "
            f"deviation, {widest}. Click a mark for its cases."
        )
        yield figure_html(figures.robustness_name(question), caption)
        yield html_tables.share_table(totals, analysis.comparisons, question, widest, sets)
    yield from _profiles(analysis.profiles, sets)
    yield from weight_sections(changes, sets)
    if problems:
        yield "<h2>Rows set aside</h2>"
        columns = [Column("row"), Column("what was wrong", kind="text wrap")]
        rows = [[Cell(str(p.number), p.number), Cell(p.message)] for p in problems]
        yield html_tables.table(
            f"Not in the study: {counted(len(problems), 'row')}.", columns, rows, sets
        )


def _first_screen(analysis: Analysis) -> Iterable[str]:
    """Each question with its verdict, one sentence and one picture."""
    cards = []
    titles = _TITLES if analysis.has_parts else _WHOLE_TITLES
    for question in _asked(analysis):
        item = widest_of(analysis.comparisons, question)
        if item is not None:
            cards.append(
                (titles[question], item.verdict, in_short(item), figures.first_name(question))
            )
    exact = [row for row in widest(analysis.exact) if row.segment == "instruction"]
    if exact:
        title = f"Does hiding the {'instruction' if analysis.has_parts else 'prompt'} cost more?"
        text = study_finding.in_short(analysis.exact)
        cards.append((title, exact[0].verdict, text, figures.FIRST_EXACT))
    yield '<section class="first">'
    for title, verdict, text, name in cards:
        yield (
            f"<div><h3>{html.escape(title)}</h3><p>{_badge(verdict)} {html.escape(text)}</p>"
            f"{figure_html(name, '95 % intervals, at equal answer length.')}</div>"
        )
    yield "</section>"


def _badge(verdict: Verdict) -> str:
    return f'<b class="{html_tables.verdict_class(verdict)}">{SIGNS[verdict]} {verdict}:</b>'


def _finding(finding: StudyFinding, sets: CaseSets) -> str:
    verdict = ""
    if finding.verdict:
        verdict = f"{_badge(finding.verdict)} "
    claim, first, *rest = map(html.escape, (finding.claim, *finding.sentences))
    if finding.ids:
        first += (
            f' <button type="button" class="plain" data-set="{sets.number(finding.ids)}" '
            f'data-words="{claim}">{counted(len(finding.ids), "case")}</button>'
        )
    more = "".join(f"<p>{text}</p>" for text in rest)
    return f'<div class="finding"><h3>{verdict}{claim}</h3><p>{first}</p>{more}</div>'


def _varied(outcomes: Sequence[VariantOutcome]) -> str:
    """What is varied, and what the data do not allow to vary."""
    methods = list(dict.fromkeys(outcome.method for outcome in outcomes))
    text = "One setting at a time is changed against the paper's; below, every combination."
    if len({outcome.settings.parameters.levels for outcome in outcomes}) == 1:
        text += " Only finished levels are stored: their number L cannot be varied."
    if len(methods) == 1:
        text += (
            f" Only one attribution method is stored ({methods[0]}): whether another agrees is not "
            "known; a study that is run with several shows it here."
        )
    return text


def _profiles(profiles: Sequence[Profile], sets: CaseSets) -> Iterable[str]:
    captions = {
        "profile-prompt": "Density by position in the prompt, prompts of 10 tokens or more.",
        "profile-long": "The same, prompts of 60 tokens or more.",
        "profile-answer": "Share of answer tokens that the instruction drives, along the answer.",
    }
    names = figures.profile_names(profiles)
    driven = (
        "share of answer tokens with at least one instruction token above the level threshold "
        "(prompts of which the instruction is only a part). "
    )
    yield (
        "<h2>Along the prompt and the answer</h2><p>Mean density in ten equal parts of the prompt"
        f"{f'; {driven}' if 'profile-answer' in names else '. '}Bands: ± one standard error. Click "
        "a point for its cases, each with its own value.</p>"
    )
    yield f'<div class="figures">{"".join(figure_html(n, captions[n]) for n in names)}</div>'
    columns = [Column("profile", kind="text"), Column("model", kind="text")]
    columns += [Column(title) for title in ("tenth", "mean", "standard error", "prompts")]
    rows = []
    for place, profile in enumerate(profiles):
        for point in profile.points:
            words = f"{point.side}, {point.profile}"
            if len(profile.points) == PARTS:
                words += f", tenth {point.part}"
            numbers = (
                Cell(text, value, profile.ids, words, part=(place, point.part))
                for text, value in (
                    (html_tables.number(point.mean), point.mean),
                    (html_tables.number(point.standard_error), point.standard_error),
                    (str(point.n), point.n),
                )
            )
            part = str(point.part) if len(profile.points) == PARTS else "all"
            rows.append(
                [
                    Cell(point.profile),
                    Cell(point.side, kind=point.side),
                    Cell(part, point.part),
                    *numbers,
                ]
            )
    table = html_tables.table("Means and standard errors.", columns, rows, sets)
    yield f"<details><summary>The numbers of these figures</summary>{table}</details>"
