"""Tables of the report as HTML: every column sorts, every number leads to its cases."""

from __future__ import annotations

import html
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from twinlens.studies.analysis.comparisons import (
    DECIDING_TEST,
    EQUAL_LENGTH,
    Comparison,
    Question,
    Verdict,
)
from twinlens.studies.analysis.controls import Controls
from twinlens.studies.analysis.inference import SMALLEST_PAIRED, SMALLEST_SAMPLE, Estimate
from twinlens.studies.analysis.scoring import Settings
from twinlens.studies.analysis.variants import Share, VariantOutcome

#: Verdicts as signs, of which the shape says enough.
SIGNS: dict[Verdict, str] = {
    "holds": "●",
    "no difference shown": "◇",
    "turns": "▼",
    "too few": "×",
    "confounded": "◐",
}
#: What settings are called in the paper.
SETTINGS = {
    "levels": "levels L",
    "threshold": "threshold b",
    "norm": "norm p",
    "answer_cut": "answers cut to",
    "aggregation": "over the instruction",
    "spans": "instruction as",
}


def said_settings(settings: Settings) -> str:
    """Settings in one line."""
    said = settings.record()
    whole = said["answer_cut"] == "none"
    return ", ".join(
        "answers whole" if name == "answer_cut" and whole else f"{SETTINGS.get(name, name)} {value}"
        for name, value in said.items()
    )


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
    variant : int or None
        Number of the settings under which the cases' scores are shown.
    part : (int, int) or None
        Number of the profile, and its part from 1, of which each case's own value is shown.
    bar : tuple of (Verdict, int)
        Kind and size of the parts of a bar drawn in place of the text.
    link : str
        Page that the text leads to.
    """

    text: str
    value: float | None = None
    cases: tuple[str, ...] | None = None
    words: str = ""
    kind: str = ""
    variant: int | None = None
    part: tuple[int, int] | None = None
    bar: tuple[tuple[Verdict, int], ...] = ()
    link: str = ""


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
        f'<div class="scroll"><table><caption><span>{html.escape(caption)}</span></caption>'
        f"<thead><tr>{heads}</tr></thead><tbody>{body}</tbody></table></div>"
    )


def _cell(cell: Cell, column: Column, sets: CaseSets) -> str:
    text = html.escape(cell.text)
    if cell.bar:
        parts = "".join(
            f'<i class="{verdict_class(kind)}" style="flex:{size}"></i>' for kind, size in cell.bar
        )
        text = f'<span class="bar" role="img" aria-label="{text}">{parts}</span>'
    if cell.link:
        text = f'<a href="{html.escape(cell.link)}">{text}</a>'
    if cell.cases is not None:
        more = "" if cell.variant is None else f' data-variant="{cell.variant}"'
        if cell.part is not None:
            more += f' data-profile="{cell.part[0]}" data-part="{cell.part[1]}"'
        text = (
            f'<button type="button" data-set="{sets.number(cell.cases)}" '
            f'data-words="{html.escape(cell.words)}"{more}>{text}</button>'
        )
    return f'<td class="{f"{column.kind} {cell.kind}".strip()}"{sort_value(cell)}>{text}</td>'


def sort_value(cell: Cell) -> str:
    """Attribute with what a column sorts by, if that is not the text; empty for no number."""
    if cell.value is None:
        return ""
    return f' data-v="{cell.value:.6g}"' if math.isfinite(cell.value) else ' data-v=""'


def number(value: float | None, form: str = ".4f") -> str:
    """A number as text; a dash where there is none."""
    return format(value, form) if value is not None and math.isfinite(value) else "–"


def verdict_class(verdict: Verdict) -> str:
    """CSS class of a verdict."""
    return verdict.replace(" ", "-")


def verdict_cell(verdict: Verdict, why: str) -> Cell:
    """A verdict with its sign, and what it rests on if not on the difference."""
    text = f"{SIGNS[verdict]} {verdict}{f': {why}' if why else ''}"
    return Cell(text, kind=f"wrap verdict {verdict_class(verdict)}")


def comparison_table(comparisons: Sequence[Comparison], question: Question, sets: CaseSets) -> str:
    """Table 1 or 2 of the paper with intervals, verdicts, and what they rest on."""
    mine = [item for item in comparisons if item.question == question]
    first, second = mine[0].first.label, mine[0].second.label
    pairs = mine[0].higher is not None
    parts = any(item.controls for item in mine)
    deciding = DECIDING_TEST[question]
    columns = [
        Column("group", kind="text"),
        Column("prompts" if pairs else f"n {first}"),
        Column(f"{first} mean (sd)", "sd divided by n", tint(first)),
        *([] if pairs else [Column(f"n {second}")]),
        Column(f"{second} mean (sd)", "sd divided by n", tint(second)),
        Column("verdict", "at equal length, beyond the rest of the prompt, Holm p < 0.05", "text"),
        Column("difference at equal length", EQUAL_LENGTH[question]),
        Column("p by Holm", "at equal length, over the rows of this table"),
        Column("found from", "smallest true difference that four of five such samples would show"),
        *(
            [Column("instruction − rest", "difference in differences, at full length")]
            if parts
            else []
        ),
        Column("at full length", f"typical difference of {second} and {first}; {deciding}"),
        Column(mine[0].effect_name, "at full length"),
        *([Column("tuned higher", "prompts"), Column("ties", "prompts")] if pairs else []),
    ]
    fewest = f"{SMALLEST_PAIRED} prompts" if pairs else f"{SMALLEST_SAMPLE} answers of each kind"
    caption = (
        f"Score, {question}. The verdict needs the difference at equal length "
        f"({EQUAL_LENGTH[question]}){' and beyond the rest of the prompt, each' if parts else ','} "
        f"at 0.05 by Holm over the rows of this table; fewer than {fewest} are too few. "
        "Where no difference is shown, a true one as large as stands under “found from” would be "
        "seen in four of five such samples (at 0.05, before the correction)."
    )
    return table(caption, columns, [_comparison_row(item, parts) for item in mine], sets)


def _beyond(item: Comparison, words: str) -> Cell:
    if item.controls is None:
        return Cell("–", math.nan)
    estimate = item.controls.beyond_rest
    return Cell(with_interval(estimate), estimate.difference, item.ids, words)


def control_table(comparisons: Sequence[Comparison], question: Question, sets: CaseSets) -> str:
    """The score of the instruction beside those of the rest and of spans of equal length."""
    mine = [item for item in comparisons if item.question == question and item.controls]
    if not mine:
        return ""
    first, second = mine[0].first.label, mine[0].second.label
    pairs = mine[0].higher is not None
    columns = [
        Column("group", kind="text"),
        Column("prompts" if pairs else "answers", "whose instruction is a part of the prompt"),
        Column("instruction", f"mean score, {first} and {second}"),
        Column("rest of the prompt", f"mean score, {first} and {second}"),
        Column("span of equal length", f"mean over all its places, {first} and {second}"),
        Column("instruction − rest", "difference in differences"),
        Column("instruction − span", "difference in differences"),
        Column("share of density", "that lies on the instruction: difference"),
        Column("largest p by Holm", "of the three, at equal length, over the rows of this table"),
    ]
    rows = []
    for item in mine:
        controls, behind = item.controls, item.ids
        assert controls is not None
        cut: Controls | None = item.length.controls
        corrected = cut.p_holm if cut else math.nan
        rows.append(
            [
                Cell(item.group, cases=behind, words=item.group),
                Cell(str(controls.beyond_rest.n), controls.beyond_rest.n),
                *(
                    Cell(f"{both[0]:.3f} → {both[1]:.3f}", both[1] - both[0])
                    for both in (controls.instruction, controls.rest, controls.span)
                ),
                *(
                    Cell(
                        f"{with_interval(estimate)}, p {number(estimate.p, '.2g')}",
                        estimate.difference,
                    )
                    for estimate in (controls.beyond_rest, controls.beyond_span, controls.share)
                ),
                Cell(number(corrected, ".2g"), corrected),
            ]
        )
    caption = (
        f"Is it the instruction, or all of the prompt? The same score of the rest of the prompt, "
        f"and of a span as long as the instruction (mean over all its places), {question}, where "
        "the instruction is a part of the prompt; full answer length."
    )
    return table(caption, columns, rows, sets)


def with_interval(estimate: Estimate, form: str = "+.3f") -> str:
    """A difference with its interval, if it has one."""
    text = number(estimate.difference, form)
    if math.isfinite(estimate.low):
        text += f" ({estimate.low:{form}} to {estimate.high:{form}})"
    return text


def tint(label: str) -> str:
    """CSS class of a column about one model."""
    return label if label in ("base", "tuned") else ""


def _comparison_row(item: Comparison, parts: bool) -> list[Cell]:
    both = item.ids
    cells = [Cell(item.group, cases=both, words=item.group)]
    for sample in (item.first, item.second):
        words = f"{item.group}, {sample.label}"
        if sample is item.first or item.higher is None:
            cells.append(Cell(str(sample.n), sample.n, sample.ids, words))
        cells.append(Cell(f"{sample.mean:.4f} ({sample.sd:.4f})", sample.mean, sample.ids, words))
    words = f"{item.group}, {item.question}"
    effect = number(item.effect, ".2f")
    length = item.length
    corrected = length.estimate.p_holm
    smallest = item.estimate.smallest if length.missing else length.estimate.smallest
    cells += [
        verdict_cell(item.verdict, item.why),
        Cell(
            length.missing or with_interval(length.estimate),
            length.estimate.difference,
            both,
            words,
            kind="wrap" if length.missing else "",
        ),
        Cell(number(corrected, ".2g"), corrected, both, words),
        Cell(number(smallest, ".2f"), smallest, both, words),
        *([_beyond(item, words)] if parts else []),
        Cell(with_interval(item.estimate), item.difference, both, words),
        Cell(effect, item.effect, both, words),
    ]
    for count in (item.higher, item.ties):
        if count is not None:
            cells.append(Cell(str(count), count, both, words))
    return cells


def test_table(comparisons: Sequence[Comparison], question: Question, sets: CaseSets) -> str:
    """Every test of a question with its alternative hypothesis, plain and corrected."""
    mine = [item for item in comparisons if item.question == question]
    deciding = DECIDING_TEST[question]
    columns = [Column("group", kind="text")]
    columns += [Column(test.name, f"H1: {test.hypothesis}") for test in mine[0].tests]
    columns += [
        Column("Holm", f"{deciding}, corrected over the rows"),
        Column("Benjamini-Hochberg", f"{deciding}, corrected over the rows"),
    ]
    rows = []
    for item in mine:
        if not any(math.isfinite(test.p) for test in item.tests):
            continue
        decides = item.test(deciding)
        p_values = [*(test.p for test in item.tests), decides.p_holm, decides.p_bh]
        words = f"{item.group}, {item.question}"
        rows.append(
            [
                Cell(item.group, cases=item.ids, words=item.group),
                *(Cell(number(p, ".3g"), p, item.ids, words) for p in p_values),
            ]
        )
    hypotheses = "; ".join(f"{test.name}: {test.hypothesis}" for test in mine[0].tests)
    caption = (
        f"p-values at full length, {question}. Alternative hypotheses: {hypotheses}. The last two "
        f"columns correct the {deciding}, over the rows."
    )
    return table(caption, columns, rows, sets)


def variant_table(
    outcomes: Sequence[VariantOutcome],
    comparisons: Sequence[Comparison],
    question: Question,
    variants: Sequence[str],
    sets: CaseSets,
) -> str:
    """Verdict and effect size under each named variant, one column per group."""
    mine = {
        (o.variant, o.group): o
        for o in outcomes
        if o.question == question and o.variant != "combination"
    }
    groups = list(dict.fromkeys(group for _, group in mine))
    behind = {c.group: c.ids for c in comparisons if c.question == question}
    rows = []
    for variant in dict.fromkeys(variant for variant, _ in mine):
        row = [Cell(variant)]
        for group in groups:
            outcome = mine.get((variant, group))
            if outcome is None:
                row.append(Cell(""))
                continue
            row.append(
                Cell(
                    f"{SIGNS[outcome.verdict]} {number(outcome.effect, '+.2f')}",
                    outcome.effect,
                    behind[group],
                    f"{group}, {variant}",
                    f"verdict {outcome.verdict}",
                    variants.index(variant),
                )
            )
        rows.append(row)
    columns = [Column("one change of settings", kind="text"), *map(Column, groups)]
    caption = (
        f"Effect size of the score, {question}, by Holm over the groups: {SIGNS['holds']} second "
        f"higher, {SIGNS['turns']} second lower, {SIGNS['no difference shown']} no difference "
        f"shown, {SIGNS['too few']} too few. What makes a difference is not looked at here. Click "
        "one for its cases under these settings."
    )
    return table(caption, columns, rows, sets)


def _size(value: str) -> tuple[float, str]:
    try:
        return float(value), ""
    except ValueError:
        return math.inf, value


def share_table(
    shares: Sequence[Share],
    comparisons: Sequence[Comparison],
    question: Question,
    group: str,
    sets: CaseSets,
) -> str:
    """How many combinations of settings hold, vanish or turn, by setting and value."""
    mine = [s for s in shares if (s.question, s.group) == (question, group)]
    behind = next(c.ids for c in comparisons if (c.question, c.group) == (question, group))
    total = next(share for share in mine if share.setting == "any")
    varied = [share for share in mine if share.combinations < total.combinations]
    chosen = [total, *sorted(varied, key=lambda share: (share.setting, _size(share.value)))]
    columns = [
        Column("setting", kind="text"),
        Column("value", kind="text"),
        Column("of these", kind="text"),
        Column(f"{SIGNS['holds']} second higher"),
        Column(f"{SIGNS['no difference shown']} no difference shown"),
        Column(f"{SIGNS['turns']} second lower"),
        Column("combinations"),
    ]
    rows = []
    for share in chosen:
        counts: list[tuple[Verdict, int]] = [
            ("holds", share.holds),
            ("no difference shown", share.no_difference),
            ("turns", share.turns),
        ]
        said = ", ".join(f"{kind} {count}" for kind, count in counts)
        rows.append(
            [
                Cell("" if share.setting == "any" else SETTINGS.get(share.setting, share.setting)),
                Cell(share.value or "all combinations"),
                Cell(said, share.holds / share.combinations, bar=tuple(counts)),
                *(Cell(str(count), count, behind, group, kind) for kind, count in counts),
                Cell(str(share.combinations), share.combinations, behind, group),
            ]
        )
    return table(f"Combinations of settings, {question}, {group}.", columns, rows, sets)
