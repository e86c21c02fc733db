"""Tables of the report as HTML: every column sorts, every number leads to its cases."""

from __future__ import annotations

import html
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from twinlens.studies.comparisons import DECIDING_TEST, Comparison, Question
from twinlens.studies.robustness import Share


@dataclass(frozen=True)
class Cell:
    """One cell.

    Attributes
    ----------
    text : str
        As shown; escaped here.
    value : float or None
        What the column sorts by; the text if None.
    cases : tuple of str or None
        Ids of the cases behind it.
    words : str
        What these cases are.
    kind : str
        CSS classes.
    """

    text: str
    value: float | None = None
    cases: tuple[str, ...] | None = None
    words: str = ""
    kind: str = ""


@dataclass(frozen=True)
class Column:
    """A column: its heading, the explanation on hovering, and its CSS class."""

    title: str
    hint: str = ""
    kind: str = ""


class CaseSets:
    """Sets of cases that numbers lead to, each written once."""

    def __init__(self, ids: Iterable[str]) -> None:
        self._index = {case_id: place for place, case_id in enumerate(ids)}
        self._known: dict[tuple[int, ...], int] = {}

    def number(self, ids: Iterable[str]) -> int:
        """Number of a set."""
        places = tuple(self._index[case_id] for case_id in ids)
        return self._known.setdefault(places, len(self._known))

    @property
    def sets(self) -> list[list[int]]:
        """All sets, by number."""
        return [list(places) for places in self._known]


def table(
    caption: str, columns: Sequence[Column], rows: Iterable[Sequence[Cell]], sets: CaseSets
) -> str:
    """One table as HTML."""
    heads = "".join(
        f'<th scope="col" class="{column.kind}" title="{html.escape(column.hint)}">'
        f'<button type="button">{html.escape(column.title)}</button></th>'
        for column in columns
    )
    body = "".join(
        "<tr>"
        + "".join(_cell(cell, column, sets) for cell, column in zip(row, columns, strict=True))
        + "</tr>"
        for row in rows
    )
    return (
        f'<div class="scroll"><table><caption>{html.escape(caption)}</caption>'
        f"<thead><tr>{heads}</tr></thead><tbody>{body}</tbody></table></div>"
    )


def _cell(cell: Cell, column: Column, sets: CaseSets) -> str:
    text = html.escape(cell.text)
    if cell.cases is not None:
        text = (
            f'<button type="button" data-set="{sets.number(cell.cases)}" '
            f'data-words="{html.escape(cell.words)}">{text}</button>'
        )
    value = "" if cell.value is None else f' data-v="{_finite(cell.value)}"'
    return f'<td class="{f"{column.kind} {cell.kind}".strip()}"{value}>{text}</td>'


def _finite(value: float) -> str:
    return repr(float(value)) if math.isfinite(value) else ""


def number(value: float, form: str = ".4f") -> str:
    """A number as text; a dash where there is none."""
    return format(value, form) if math.isfinite(value) else "–"


def comparison_table(comparisons: Sequence[Comparison], question: Question, sets: CaseSets) -> str:
    """Table 1 or 2 of the paper with everything it lacks."""
    mine = [item for item in comparisons if item.question == question]
    first, second = mine[0].first.label, mine[0].second.label
    deciding = DECIDING_TEST[question]
    columns = [
        Column("group", kind="text"),
        Column(f"n {first}"),
        Column(f"{first} mean (sd)", "sd divided by n", _tint(first)),
        Column(f"n {second}"),
        Column(f"{second} mean (sd)", "sd divided by n", _tint(second)),
        Column("difference", f"mean of {second} minus mean of {first}"),
        Column(mine[0].effect_name, "95 % percentile bootstrap interval"),
    ]
    columns += [
        Column("verdict", f"{deciding} at 0.05", "text"),
        Column("at equal length", mine[0].length.how, "text"),
    ]
    if question == "tuned against base":
        columns.append(Column("tuned higher", "prompts"))
    columns += [Column(f"p {test.name}", f"H1: {test.hypothesis}") for test in mine[0].tests]
    columns += [
        Column("p Holm", f"{deciding}, corrected over the groups"),
        Column("p BH", f"{deciding}, Benjamini-Hochberg over the groups"),
    ]
    hypotheses = "; ".join(f"{test.name}: {test.hypothesis}" for test in mine[0].tests)
    caption = f"Instruction score, {question}. Alternative hypotheses: {hypotheses}."
    return table(caption, columns, [_comparison_row(item) for item in mine], sets)


def _tint(label: str) -> str:
    return label if label in ("base", "tuned") else ""


def _comparison_row(item: Comparison) -> list[Cell]:
    both = item.second.ids if item.higher is not None else (*item.first.ids, *item.second.ids)
    cells = [Cell(item.group, cases=both, words=item.group)]
    for sample in (item.first, item.second):
        words = f"{item.group}, {sample.label}"
        cells += [
            Cell(str(sample.n), sample.n, sample.ids, words),
            Cell(f"{sample.mean:.4f} ({sample.sd:.4f})", sample.mean, sample.ids, words),
        ]
    words = f"{item.group}, {item.question}"
    effect = number(item.effect, ".2f")
    if math.isfinite(item.effect_low):
        effect += f" ({item.effect_low:.2f} to {item.effect_high:.2f})"
    cells += [
        Cell(f"{item.difference:+.4f}", item.difference, both, words),
        Cell(effect, item.effect, both, words),
    ]
    length = item.length
    at_equal = f"{length.verdict} ({length.difference:+.4f}, p {number(length.p, '.2g')})"
    if length.explained:
        at_equal += ": explained by length"
    cells += [Cell(item.verdict, kind=item.verdict), Cell(at_equal, kind=length.verdict)]
    if item.higher is not None:
        cells.append(Cell(str(item.higher), item.higher, both, words))
    deciding = item.test(DECIDING_TEST[item.question])
    p_values = [*(test.p for test in item.tests), deciding.p_holm, deciding.p_bh]
    return cells + [Cell(number(p, ".3g"), p, both, words) for p in p_values]


def share_table(shares: Sequence[Share], question: Question, group: str, sets: CaseSets) -> str:
    """How many combinations of settings hold, vanish or turn, by setting and value."""
    mine = [s for s in shares if (s.question, s.group) == (question, group)]
    total = next(share for share in mine if share.setting == "any")
    varied = [share for share in mine if share.combinations < total.combinations]
    chosen = [total, *sorted(varied, key=lambda share: share.setting)]
    columns = [
        Column("setting", kind="text"),
        Column("value", kind="text"),
        Column("combinations"),
        Column("hold"),
        Column("vanish"),
        Column("turn"),
    ]
    rows = [
        [
            Cell(share.setting),
            Cell(share.value or "all combinations"),
            Cell(str(share.combinations), share.combinations),
            Cell(str(share.holds), share.holds, kind="holds"),
            Cell(str(share.vanishes), share.vanishes, kind="vanishes"),
            Cell(str(share.turns), share.turns, kind="turns"),
        ]
        for share in chosen
    ]
    return table(f"Combinations of settings, {question}, {group}.", columns, rows, sets)
