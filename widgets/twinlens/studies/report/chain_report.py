"""The report of a chain of checkpoints: curves, tests of each step, and every case at each step."""

from __future__ import annotations

import html
import math
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any
from urllib.parse import quote

from bokeh.models import ColumnDataSource
from bokeh.plotting import figure

from twinlens.contract.palette import PALETTES
from twinlens.contract.words import THEMES, ChartTheme
from twinlens.figures.theme import hover
from twinlens.studies.analysis.chain_analysis import ChainAnalysis, Step, analyse_chain
from twinlens.studies.analysis.exact import READ
from twinlens.studies.analysis.scoring import Settings
from twinlens.studies.report.figures import blank, case_figures
from twinlens.studies.report.html_tables import (
    SIGNS,
    CaseSets,
    Cell,
    Column,
    number,
    said_settings,
    table,
    verdict_cell,
    verdict_class,
    with_interval,
)
from twinlens.studies.report.report import side_scores, write_report
from twinlens.studies.report.report_page import cases_section, figure_html, figures_json, write_page
from twinlens.studies.run.chain import Chain, pair_folder
from twinlens.support.progress import Report

#: Whose answer is read, as in `twinlens.studies.analysis.exact.READ`, of two steps of a chain.
_READ = READ | {"own": "each its own", "tuned": "the later's", "base": "the earlier's"}
#: Name of the report in the folder of a pair, and of the chain.
REPORT = "report.html"


def write_chain_report(
    chain: Chain,
    path: str | os.PathLike[str] | None = None,
    *,
    settings: Settings | None = None,
    budget_mb: float = 8.0,
    report: Report | None = None,
) -> Path:
    """Write the report of a chain, and one of each pair beside its study.

    Parameters
    ----------
    chain : Chain
    path : path, optional
        ``report.html`` in the folder of the chain by default; links lead to the reports of the
        pairs from there.
    settings : Settings, optional
        The paper's by default.
    budget_mb : float
        Of each page, see `twinlens.studies.report.report.write_report`.
    report : callable, optional
        Called with (done, total, what).

    Returns
    -------
    Path
        The page.

    Raises
    ------
    StudyError
        If a file of the chain is missing or damaged.
    TwinlensError
        If the study of a pair holds no finished prompt, or the front end is not built.

    Examples
    --------
    >>> import twinlens as tl
    >>> models = ["path/to/base", "path/to/tuned", "path/to/third"]
    >>> chain = tl.study(models, ["Name the opposite. hot"], "stages", max_new_tokens=4)
    >>> from twinlens.studies import write_chain_report
    >>> page = write_chain_report(chain)
    """
    for places in chain.pairs:
        store = chain.store(*places)
        name = " against ".join(chain.names[place] for place in reversed(places))
        write_report(
            store,
            pair_folder(chain.folder, *places) / REPORT,
            settings=settings,
            title=name,
            problems=store.problems,
            budget_mb=budget_mb,
            report=report,
        )
    analysis = analyse_chain(chain, settings)
    last = (0, len(chain.names) - 1)
    whole = analysis.analyses[last]
    base, tuned = side_scores(whole, "base"), side_scores(whole, "tuned")
    sets = CaseSets(score.id for score in tuned)
    target = Path(path) if path is not None else chain.folder / REPORT
    body = "".join(_sections(chain, analysis, target, sets))
    body += cases_section("Cases: the last model against the first", base, tuned)
    figures = {
        theme: figures_json({**curve_figures(analysis, theme), **case_figures(base, tuned, theme)})
        for theme in THEMES
    }
    title = " → ".join(chain.names)
    chosen = said_settings(whole.settings)
    how = f"A chain of {len(chain.names)} models. Settings: {chosen}. Intervals: 95 %."
    # The last against the first comes last: it is what the table shows, and opens first.
    steps = [
        (analysis.step_name(step), chain.store(step.before, step.after))
        for step in sorted(analysis.steps, key=lambda step: (step.before, step.after) == last)
    ]
    data = {"sets": sets.sets, "figures": figures}
    ids = [score.id for score in tuned]
    write_page(target, title, how, body, data, steps, ids, budget_mb)
    return target


def curve_figures(analysis: ChainAnalysis, theme: ChartTheme = "light") -> dict[str, figure]:
    """Every measure over the chain, with its interval; one figure each."""
    figures = {}
    labels = [f"{place}: {name}" for place, name in enumerate(analysis.names)]
    for place, measure in enumerate(dict.fromkeys(point.measure for point in analysis.curves)):
        points = [point for point in analysis.curves if point.measure == measure]
        source = ColumnDataSource(
            {
                "model": [labels[point.stage] for point in points],
                "typical": [point.typical for point in points],
                "low": [point.low for point in points],
                "high": [point.high for point in points],
                "n": [point.n for point in points],
            }
        )
        # The caption says what it is; an axis is too short for that.
        unit = "nats" if "nats" in measure else measure.split(" ")[0].replace("answer", "tokens")
        fig: Any = blank(f"curve-{place}", "", unit, 260, theme, x_range=labels)
        ink = PALETTES[theme].ink
        fig.line("model", "typical", source=source, color=ink, line_width=2)
        fig.segment("model", "low", "model", "high", source=source, color=ink, line_width=2)
        marks = fig.scatter("model", "typical", source=source, color=ink, size=9)
        tooltips = [("@model", "@typical{0.000} (@low{0.000} to @high{0.000}), @n prompts")]
        hover(fig, marks, tooltips, visible=False)
        figures[f"curve-{place}"] = fig
    return figures


def _sections(chain: Chain, analysis: ChainAnalysis, target: Path, sets: CaseSets) -> Iterable[str]:
    yield "<h2>What was found</h2>"
    for step, text in zip(analysis.steps, analysis.found, strict=True):
        verdict, name = step.comparison.verdict, analysis.step_name(step)
        yield (
            f'<div class="finding"><p><b class="{verdict_class(verdict)}">{SIGNS[verdict]} '
            f"{html.escape(name)}.</b>{html.escape(text[len(name) + 1 :])}</p></div>"
        )
    yield "<h2>Every measure over the chain</h2>"
    yield (
        "<p>Typical values (median of the mean of two) of the prompts that every pair has, with "
        "95 % intervals.</p>"
    )
    measures = dict.fromkeys(point.measure for point in analysis.curves)
    yield '<div class="figures">'
    for place, measure in enumerate(measures):
        yield figure_html(f"curve-{place}", f"{measure[0].upper()}{measure[1:]}.")
    yield "</div><h2>Each step</h2>"
    yield _score_steps(analysis, target, chain, sets)
    if any(step.exact for step in analysis.steps):
        yield _exact_steps(analysis, sets)
    yield "<h2>Every case at each step</h2>"
    yield _case_steps(chain, analysis, target, sets)


def _link(chain: Chain, target: Path, step: Step) -> str:
    """Where the report of a pair lies, from the page."""
    place = pair_folder(chain.folder, step.before, step.after) / REPORT
    return Path(os.path.relpath(place, target.parent)).as_posix()


def _score_steps(analysis: ChainAnalysis, target: Path, chain: Chain, sets: CaseSets) -> str:
    columns = [
        Column("step", kind="text"),
        Column("prompts"),
        Column("score before"),
        Column("score after"),
        Column("verdict", "that answers rest more on the instruction", "text"),
        Column("at equal length"),
        Column("p, Holm", "over the steps of the chain"),
        Column("smallest found", "difference that four of five such studies find"),
        Column("its report", kind="text"),
    ]
    rows = []
    for step in analysis.steps:
        item = step.comparison
        equal = item.length.estimate
        rows.append(
            [
                Cell(analysis.step_name(step), kind="wrap"),
                Cell(str(item.first.n), item.first.n),
                Cell(f"{item.first.mean:.4f}", item.first.mean),
                Cell(f"{item.second.mean:.4f}", item.second.mean),
                verdict_cell(item.verdict, item.why),
                Cell(with_interval(equal), equal.difference),
                Cell(number(equal.p_holm, ".2g"), equal.p_holm),
                Cell(number(equal.smallest, ".3f"), equal.smallest),
                Cell("open", link=_link(chain, target, step)),
            ]
        )
    caption = "Score of the paper: each model against the first and against the one before it."
    return table(caption, columns, rows, sets)


def _exact_steps(analysis: ChainAnalysis, sets: CaseSets) -> str:
    columns = [
        Column("step", kind="text"),
        Column("hidden", kind="text"),
        Column("answer read", kind="text"),
        Column("cost before"),
        Column("cost after"),
        Column("verdict", "that hiding it costs more after", "text"),
        Column("at equal length"),
        Column("p, Holm", "over the rows"),
    ]
    rows = [
        [
            Cell(analysis.step_name(step), kind="wrap"),
            Cell(row.segment),
            Cell(_READ[row.answer]),
            Cell(f"{row.base:.3f}", row.base),
            Cell(f"{row.tuned:.3f}", row.tuned),
            verdict_cell(row.verdict, row.why),
            Cell(with_interval(row.equal_length), row.equal_length.difference),
            Cell(number(row.equal_length.p_holm, ".2g"), row.equal_length.p_holm),
        ]
        for step in analysis.steps
        for row in step.exact
    ]
    caption = "What hiding a part of the prompt costs, exactly, in nats per answer token."
    return table(caption, columns, rows, sets)


def _case_steps(chain: Chain, analysis: ChainAnalysis, target: Path, sets: CaseSets) -> str:
    """Score of every prompt by every model, and its panel in the report of each pair."""
    by_stage = [
        {
            score.id: score.score
            for score in side_scores(analysis.analyses[0, place or 1], "tuned" if place else "base")
        }
        for place in range(len(chain.names))
    ]
    columns = [Column("case", kind="text"), *map(Column, chain.names)]
    columns += [Column(analysis.step_name(step), kind="text") for step in analysis.steps]
    rows = [
        [
            Cell(case_id),
            *(
                Cell(number(score), score)
                for score in (scores.get(case_id, math.nan) for scores in by_stage)
            ),
            *(
                Cell("panel", link=f"{_link(chain, target, step)}#case={quote(case_id)}")
                for step in analysis.steps
            ),
        ]
        for case_id in by_stage[-1]
    ]
    caption = "Score of each prompt along the chain; panels open in the report of the pair."
    return table(caption, columns, rows, sets)
