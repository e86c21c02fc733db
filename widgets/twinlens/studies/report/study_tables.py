"""Tables of the report: what hiding segments costs; what the paper prints, and what is here."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from twinlens.studies.analysis.comparisons import Comparison, Question
from twinlens.studies.analysis.exact import READ, ExactComparison
from twinlens.studies.data.published import Printed
from twinlens.studies.report.html_tables import (
    CaseSets,
    Cell,
    Column,
    number,
    table,
    verdict_cell,
    with_interval,
)

#: Prompts of the paper's tables.
_PROMPTS = 632


def exact_table(rows: Sequence[ExactComparison], sets: CaseSets) -> str:
    """Every segment, answer and group, with its tests and its verdict."""
    columns = [
        Column("hidden", kind="text"),
        Column("answer read", kind="text"),
        Column("group", kind="text"),
        Column("prompts"),
        Column("base", "nats per answer token", "base"),
        Column("tuned", "nats per answer token", "tuned"),
        Column("verdict", "that hiding it costs tuned more", "text"),
        Column("at equal length", "typical difference, both answers cut to the shorter one"),
        Column("p, Holm", "signed-rank test at equal length, over the rows"),
        Column("smallest found", "difference that four of five such studies find"),
        Column("beyond the rest", "instruction less rest of the prompt, at equal length"),
        Column("p, Holm", "of that"),
        Column("tuned − base", "typical difference, whole answers"),
        Column("p", "signed-rank test, whole answers"),
        Column("tuned more"),
    ]
    return table(
        "What hiding a part of the prompt from all other tokens costs the answers, exactly, in "
        "nats per answer token. A verdict about the instruction needs the difference at equal "
        "length and beyond the rest of the prompt.",
        columns,
        [_row(row) for row in rows],
        sets,
    )


def _row(row: ExactComparison) -> list[Cell]:
    words = f"{row.group}, {row.segment} hidden, {READ[row.answer]}"
    equal, beyond = row.equal_length, row.beyond_rest
    has_rest = math.isfinite(beyond.difference)
    return [
        Cell(row.segment),
        Cell(READ[row.answer]),
        Cell(row.group, cases=row.ids, words=words),
        Cell(str(row.n), row.n, row.ids, words),
        Cell(number(row.base, ".3f"), row.base, row.ids, words),
        Cell(number(row.tuned, ".3f"), row.tuned, row.ids, words),
        verdict_cell(row.verdict, row.why),
        Cell(with_interval(equal), equal.difference, row.ids, words),
        Cell(number(equal.p_holm, ".2g"), equal.p_holm, row.ids, words),
        Cell(number(equal.smallest, ".3f"), equal.smallest, row.ids, words),
        Cell(with_interval(beyond) if has_rest else "no rest", beyond.difference),
        Cell(number(beyond.p_holm, ".2g"), beyond.p_holm),
        Cell(with_interval(row.estimate), row.estimate.difference, row.ids, words),
        Cell(number(row.estimate.p, ".2g"), row.estimate.p, row.ids, words),
        Cell(str(row.higher), row.higher, row.ids, words),
    ]


def published_table(
    comparisons: Sequence[Comparison],
    printed: Mapping[tuple[Question, str], Printed],
    sets: CaseSets,
) -> str:
    """The means that the paper prints beside those computed here."""
    columns = [
        Column("question", kind="text"),
        Column("data", kind="text"),
        *(
            Column(f"{who} {what}")
            for what in ("first mean", "second mean", "one-sided p")
            for who in ("paper:", "here:")
        ),
        Column("prompts or answers here"),
    ]
    rows = []
    same = 0
    for item in comparisons:
        published = printed.get((item.question, item.group))
        if published is None:
            continue
        means = (f"{item.first.mean:.4f}", f"{item.second.mean:.4f}")
        same += sum(a == b for a, b in zip(means, (published.first, published.second), strict=True))
        p = item.test("Welch t, one-sided").p
        words = f"{item.group}, {item.question}"
        n = (item.first.n, item.second.n)
        rows.append(
            [
                Cell(item.question),
                Cell(item.group, cases=item.ids, words=words),
                Cell(published.first, float(published.first)),
                Cell(means[0], item.first.mean, item.first.ids, f"{words}, {item.first.label}"),
                Cell(published.second, float(published.second)),
                Cell(means[1], item.second.mean, item.second.ids, f"{words}, {item.second.label}"),
                Cell(published.p),
                Cell(number(p, ".2g"), p, item.ids, words),
                Cell(
                    str(n[0]) if item.higher is not None else f"{n[0]} and {n[1]}",
                    sum(n),
                    item.ids,
                    words,
                ),
            ]
        )
    here = max((item.first.n for item in comparisons if item.higher is not None), default=0)
    some = f" of {here} of them" if here < _PROMPTS else ""
    caption = (
        f"Tables 1 and 2 of the paper ({_PROMPTS} prompts) beside this computation{some}: {same} "
        f"of {2 * len(rows)} means are equal to the printed digit. First is base or unfollowed, "
        "second tuned or followed."
    )
    return table(caption, columns, rows, sets) if rows else ""
