"""What hiding segments costs, as a table of the report."""

from __future__ import annotations

import math
from collections.abc import Sequence

from twinlens.studies.analysis.exact import READ, ExactComparison
from twinlens.studies.report.html_tables import (
    CaseSets,
    Cell,
    Column,
    number,
    table,
    verdict_cell,
    with_interval,
)


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
