"""What the paper prints beside what is computed here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from twinlens.studies.analysis.comparisons import Comparison, Question
from twinlens.studies.data.published import Printed
from twinlens.studies.report.html_tables import CaseSets, Cell, Column, number, table

#: Prompts of the paper's tables.
_PROMPTS = 632


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
