"""What hiding a segment of the prompt costs the answers, exactly: base against tuned.

A measure of its own beside the score of the paper. It does not depend on gradients, but on which
answer is read: each model's own, or one that both read.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from twinlens.contract.words import SIDES
from twinlens.measures.density import FloatArray
from twinlens.studies.analysis import inference
from twinlens.studies.analysis.comparisons import (
    SIGNIFICANCE,
    Level,
    Verdict,
    difference_verdict,
    parts,
)
from twinlens.studies.analysis.inference import SMALLEST_PAIRED, Estimate
from twinlens.studies.data.cases import Pairing

#: What is hidden, in the order of tables. The rest only stands beside the instruction.
SEGMENTS = ("instruction", "context", "template")
REST = "rest"
#: Each model's own answer, or one that both read.
OWN = "own"
ANSWERS = (OWN, "tuned", "base", "given")
#: Whose answer it is, in words.
READ = {
    OWN: "each its own answer",
    "tuned": "both tuned's answer",
    "base": "both base's answer",
    "given": "both the given answer",
}
_UNKNOWN = (math.nan, math.nan)
_NONE = (math.nan,)


@dataclass(frozen=True)
class Effect:
    """What hiding one segment of one prompt costs both models, in nats per answer token.

    Attributes
    ----------
    segment : str
    answer : {"own", "base", "tuned", "given"}
        Each model's own answer, or whose answer both read.
    base, tuned : float
        Mean over the answer's tokens.
    base_cut, tuned_cut : float
        The same with both answers cut to the shorter one.
    base_rest, tuned_rest : float
        As cut, of the rest of what was written, where `segment` is the instruction and a part of
        it; else NaN.
    base_length, tuned_length : int
        Tokens of the answers.
    """

    id: str
    group: str
    category: str
    segment: str
    answer: str
    base: float
    tuned: float
    base_cut: float
    tuned_cut: float
    base_rest: float
    tuned_rest: float
    base_length: int
    tuned_length: int


@dataclass(frozen=True)
class ExactComparison:
    """One group: what hiding a segment costs tuned against base, nats per answer token.

    Attributes
    ----------
    segment, answer
        As in `Effect`.
    group, level
        As in `Comparison`.
    base, tuned : float
        Means over the prompts.
    higher : int
        Prompts where it costs tuned more.
    estimate, equal_length : Estimate
        Typical difference tuned less base, of whole answers, and with both cut to the shorter
        one; signed-rank test.
    rest : (float, float)
        Means of hiding the rest of the prompt instead, where there is one.
    beyond_rest : Estimate
        Difference in differences: of the instruction less of the rest.
    verdict : Verdict
        About "hiding it costs tuned more": of the difference at equal length, and of an
        instruction also beyond the rest, each after Holm's correction over all rows.
    why : str
        What the verdict rests on, if not on the difference.
    ids : tuple of str
    """

    segment: str
    answer: str
    group: str
    level: Level
    base: float
    tuned: float
    higher: int
    estimate: Estimate
    equal_length: Estimate
    rest: tuple[float, float]
    beyond_rest: Estimate
    ids: tuple[str, ...]
    verdict: Verdict = "too few"
    why: str = ""

    @property
    def n(self) -> int:
        """Prompts."""
        return len(self.ids)

    def record(self) -> dict[str, object]:
        """One row of a tidy table."""
        row: dict[str, object] = {
            name: getattr(self, name)
            for name in ("segment", "answer", "group", "level", "n", "base", "tuned", "higher")
        }
        row |= {"base_rest": self.rest[0], "tuned_rest": self.rest[1]}
        for lead in ("estimate", "equal_length", "beyond_rest"):
            estimate = dataclasses.asdict(getattr(self, lead))
            row |= {f"{lead}_{key}": value for key, value in estimate.items()}
        return row | {"verdict": self.verdict, "why": self.why}


def effects_of(pairing: Pairing) -> list[Effect]:
    """Everything that was hidden in one prompt, by segment and answer."""
    effects = []
    for segment in SEGMENTS:
        for answer in ANSWERS:
            costs = _costs(pairing, segment, answer)
            if costs is None:
                continue
            rest = _costs(pairing, REST, answer) if segment == "instruction" else None
            cut = min(map(len, costs))
            base, tuned = (float(np.mean(row)) for row in costs)
            base_cut, tuned_cut = (float(np.mean(row[:cut])) for row in costs)
            base_rest, tuned_rest = (float(np.mean(row[:cut])) for row in rest or (_NONE, _NONE))
            effects.append(
                Effect(
                    id=pairing[1].id,
                    group=pairing[1].group,
                    category=pairing[1].category,
                    segment=segment,
                    answer=answer,
                    base=base,
                    tuned=tuned,
                    base_cut=base_cut,
                    tuned_cut=tuned_cut,
                    base_rest=base_rest,
                    tuned_rest=tuned_rest,
                    base_length=len(costs[0]),
                    tuned_length=len(costs[1]),
                )
            )
    return effects


def _costs(pairing: Pairing, segment: str, answer: str) -> list[tuple[float, ...]] | None:
    whose = SIDES if answer == OWN else (answer, answer)
    costs = [
        case.hidden.get((segment, name), ()) for case, name in zip(pairing, whose, strict=True)
    ]
    return costs if all(costs) else None


def compare_exact(effects: Sequence[Effect]) -> list[ExactComparison]:
    """Every segment and answer, for every group, category, and all prompts together."""
    comparisons: list[ExactComparison] = []
    for segment in SEGMENTS:
        for answer in ANSWERS:
            mine = [
                effect for effect in effects if (effect.segment, effect.answer) == (segment, answer)
            ]
            comparisons += [
                _compared(segment, answer, level, group, [mine[i] for i in chosen])
                for level, group, chosen in parts(mine)
            ]
    return corrected(comparisons)


def _compared(
    segment: str, answer: str, level: Level, group: str, effects: Sequence[Effect]
) -> ExactComparison:
    base, tuned = _values(effects, "base"), _values(effects, "tuned")
    cut = _values(effects, "base_cut"), _values(effects, "tuned_cut")
    apart = [effect for effect in effects if math.isfinite(effect.base_rest)]
    rest = _values(apart, "base_rest"), _values(apart, "tuned_rest")
    alone = _values(apart, "base_cut"), _values(apart, "tuned_cut")
    return ExactComparison(
        segment=segment,
        answer=answer,
        group=group,
        level=level,
        base=float(base.mean()),
        tuned=float(tuned.mean()),
        higher=int((tuned > base).sum()),
        estimate=inference.paired_estimate(base, tuned),
        equal_length=inference.paired_estimate(*cut),
        rest=(float(rest[0].mean()), float(rest[1].mean())) if apart else _UNKNOWN,
        beyond_rest=inference.paired_estimate(alone[0] - rest[0], alone[1] - rest[1]),
        ids=tuple(effect.id for effect in effects),
    )


def _values(effects: Iterable[Effect], name: str) -> FloatArray:
    return np.array([getattr(effect, name) for effect in effects], dtype=np.float64)


def corrected(rows: Sequence[ExactComparison]) -> list[ExactComparison]:
    """Fill in corrected p-values, one family per column of the table, and verdicts."""
    enough = [row.n >= SMALLEST_PAIRED for row in rows]
    columns = {
        name: inference.adjust(
            [
                getattr(row, name).p
                if keep and getattr(row, name).n >= SMALLEST_PAIRED
                else math.nan
                for row, keep in zip(rows, enough, strict=True)
            ],
            "holm",
        )
        for name in ("estimate", "equal_length", "beyond_rest")
    }
    has_rest = any(row.beyond_rest.n for row in rows)
    judged = []
    for place, row in enumerate(rows):
        changed = {
            name: dataclasses.replace(getattr(row, name), p_holm=p_values[place])
            for name, p_values in columns.items()
        }
        filled = dataclasses.replace(row, **changed)
        verdict, why = _verdict(filled, enough[place], has_rest)
        judged.append(dataclasses.replace(filled, verdict=verdict, why=why))
    return judged


def _verdict(row: ExactComparison, enough: bool, has_rest: bool) -> tuple[Verdict, str]:
    equal = row.equal_length
    verdict = difference_verdict(equal.difference, equal.p_holm, enough=enough)
    if verdict not in ("holds", "turns") or row.segment != "instruction" or not has_rest:
        return verdict, ""
    if row.beyond_rest.n < SMALLEST_PAIRED:
        return "confounded", "too few prompts have more than an instruction"
    beyond = row.beyond_rest
    if not beyond.p_holm < SIGNIFICANCE or (beyond.difference > 0) != (verdict == "holds"):
        return "confounded", "not told from the rest of the prompt"
    return verdict, ""
