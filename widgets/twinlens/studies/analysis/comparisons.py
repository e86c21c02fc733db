"""Comparisons: base against tuned, followed against unfollowed, group by group.

A verdict is about the claim that an answer rests more on the instruction. It needs the difference
at equal answer length, and that difference beyond the rest of the prompt (`Controls`), each at
0.05 after Holm's correction over all rows of one question.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol, TypeAlias

import numpy as np

from twinlens.contract.words import SIDES, Side
from twinlens.measures.density import FloatArray
from twinlens.studies.analysis import equal_length, inference
from twinlens.studies.analysis.controls import (
    Controls,
    controls_of,
    paired_controls,
    score_of,
    values,
    with_holm,
)
from twinlens.studies.analysis.inference import SMALLEST_PAIRED, SMALLEST_SAMPLE, Estimate, Test
from twinlens.studies.analysis.scoring import Score

Question: TypeAlias = Literal["tuned against base", "followed against unfollowed"]
Verdict: TypeAlias = Literal["holds", "turns", "no difference shown", "too few", "confounded"]
Level: TypeAlias = Literal["group", "category", "all"]
Record: TypeAlias = dict[str, Any]

#: Table 1 of the paper leaves out rated answers of fewer tokens than this.
MINIMUM_RATED_ANSWER = 5
SIGNIFICANCE = 0.05
#: The test that decides about a difference, per question.
DECIDING_TEST: dict[Question, str] = {
    "tuned against base": inference.SIGNED_RANK,
    "followed against unfollowed": inference.BRUNNER_MUNZEL,
}
#: What is compared at equal length, per question.
EQUAL_LENGTH: dict[Question, str] = {
    "tuned against base": "both answers of a prompt cut to the shorter one; signed-rank test",
    "followed against unfollowed": "a cubic spline of the logarithm of the answer length taken "
    "out, where the lengths of both overlap; Brunner and Munzel's test of what is left",
}


class Grouped(Protocol):
    """Anything that belongs to a group of prompts."""

    @property
    def group(self) -> str: ...
    @property
    def category(self) -> str: ...


@dataclass(frozen=True)
class Sample:
    """Scores of one side of a comparison: label, n, mean, sd (divided by n), mean answer length."""

    label: str
    n: int
    mean: float
    sd: float
    answer_length: float
    ids: tuple[str, ...]


@dataclass(frozen=True)
class LengthCheck:
    """The same comparison at equal answer length, on which the verdict rests.

    Attributes
    ----------
    how : str
        In words.
    estimate : Estimate
        Of the second sample against the first; NaN where it cannot be had.
    verdict : Verdict
        Of the difference, after Holm's correction.
    controls : Controls or None
        At equal length; None where no prompt has a rest.
    left_out : int
        Answers whose length does not occur in the other sample.
    spread : float
        sd of what the curve of length leaves; NaN where answers were cut.
    missing : str
        Why there is no estimate, in words.
    """

    how: str
    estimate: Estimate
    verdict: Verdict
    controls: Controls | None
    left_out: int = 0
    spread: float = math.nan
    missing: str = ""


@dataclass(frozen=True)
class Comparison:
    """One group, two samples of scores.

    Attributes
    ----------
    question : Question
        The claim is that the second sample (tuned, followed) rests more on the instruction.
    group : str
    level : {"group", "category", "all"}
    first, second : Sample
    estimate : Estimate
        Typical difference of second and first, at the answers' full length.
    effect_name : str
    effect : float
        Mean difference in units of its standard deviation, as the name says.
    cohen_d : float
    tests : tuple of Test
    higher, ties : int or None
        Prompts where the second score is higher, and where both are equal, for pairs.
    plain : Verdict
        Of the difference at full length, after Holm's correction.
    controls : Controls or None
        At full length; None where no prompt has a rest.
    length : LengthCheck
    verdict : Verdict
        About the claim: holds, turns (the opposite holds), no difference shown, too few, or
        confounded: there is a difference, but it cannot be told from one of answer length or of
        the prompt as a whole.
    why : str
        What the verdict rests on, if not on the plain difference; empty otherwise.
    """

    question: Question
    group: str
    level: Level
    first: Sample
    second: Sample
    estimate: Estimate
    effect_name: str
    effect: float
    cohen_d: float
    tests: tuple[Test, ...]
    higher: int | None
    ties: int | None
    controls: Controls | None
    length: LengthCheck
    plain: Verdict = "too few"
    verdict: Verdict = "too few"
    why: str = ""

    @property
    def difference(self) -> float:
        """Mean of second minus mean of first."""
        return self.second.mean - self.first.mean

    @property
    def enough(self) -> bool:
        """Whether there are enough prompts, or answers of both samples, for a verdict."""
        if self.higher is not None:
            return self.first.n >= SMALLEST_PAIRED
        return min(self.first.n, self.second.n) >= SMALLEST_SAMPLE

    @property
    def ids(self) -> tuple[str, ...]:
        """Cases behind it."""
        return self.second.ids if self.higher is not None else (*self.first.ids, *self.second.ids)

    def test(self, name: str) -> Test:
        """One of its tests by name."""
        return next(test for test in self.tests if test.name == name)


def compare(scores: Sequence[Score], at_equal_length: Sequence[Score]) -> list[Comparison]:
    """Comparisons of both questions, for every group, category, and all prompts together.

    Prompts without an instruction token are left out. Where no instruction at all is a proper
    part of its prompt the scores are those of whole prompts, and verdicts are about them.

    Parameters
    ----------
    scores : sequence of Score
        Base and tuned of each prompt after one another.
    at_equal_length : sequence of Score
        The same with both answers cut to the shorter one.
    """
    has_instruction = [score.instruction_length > 0 for score in scores]
    base, tuned = _sides(
        [score for score, keep in zip(scores, has_instruction, strict=True) if keep]
    )
    cut = [score for score, keep in zip(at_equal_length, has_instruction, strict=True) if keep]
    base_cut, tuned_cut = _sides(cut)
    comparisons: list[Comparison] = []
    for level, group, chosen in parts(tuned):
        comparisons.append(
            _base_against_tuned(
                group,
                level,
                *([side[i] for i in chosen] for side in (base, tuned, base_cut, tuned_cut)),
            )
        )
        judged = [tuned[i] for i in chosen if tuned[i].followed is not None]
        judged = [score for score in judged if score.answer_length >= MINIMUM_RATED_ANSWER]
        unfollowed = [score for score in judged if not score.followed]
        followed = [score for score in judged if score.followed]
        if unfollowed and followed:
            comparisons.append(_followed(group, level, unfollowed, followed))
    has_parts = any(score.is_part for score in tuned)
    return decided(comparisons, has_parts)


def decided(comparisons: Sequence[Comparison], has_parts: bool) -> list[Comparison]:
    """The same comparisons, corrected over what stands in one table, with their verdicts.

    Parameters
    ----------
    has_parts : bool
        Whether the instruction is a part of any prompt: else verdicts are about whole prompts.
    """
    return [_decided(item, has_parts) for item in _corrected(comparisons)]


def _sides(scores: Sequence[Score]) -> list[list[Score]]:
    return [[score for score in scores if score.side == side] for side in SIDES]


def parts(scores: Sequence[Grouped]) -> list[tuple[Level, str, list[int]]]:
    """Groups, categories, and all prompts: (level, name, indexes), in order of appearance."""
    groups: dict[tuple[Level, str], list[int]] = {}
    categories: dict[tuple[Level, str], list[int]] = {}
    for index, score in enumerate(scores):
        groups.setdefault(("group", score.group), []).append(index)
        if score.category:
            name = f"{score.group}: {score.category}"
            categories.setdefault(("category", name), []).append(index)
    named = [*groups.items(), *categories.items()]
    if len(groups) > 1:
        named.insert(len(groups), (("all", "all prompts"), list(range(len(scores)))))
    return [(level, name, chosen) for (level, name), chosen in named]


def _base_against_tuned(
    group: str,
    level: Level,
    base: list[Score],
    tuned: list[Score],
    base_cut: list[Score],
    tuned_cut: list[Score],
) -> Comparison:
    question: Question = "tuned against base"
    names: tuple[Side, Side] = SIDES
    first, second = values(base), values(tuned)
    return Comparison(
        question=question,
        group=group,
        level=level,
        first=_sample("base", base),
        second=_sample("tuned", tuned),
        estimate=inference.paired_estimate(first, second),
        effect_name="paired d",
        effect=inference.paired_d(first, second),
        cohen_d=inference.cohen_d(first, second),
        tests=(*inference.welch(first, second, names), *inference.paired(first, second, names)),
        higher=int((second > first).sum()),
        ties=int((second == first).sum()),
        controls=paired_controls(base, tuned),
        length=LengthCheck(
            how=EQUAL_LENGTH[question],
            estimate=inference.paired_estimate(values(base_cut), values(tuned_cut)),
            verdict="too few",
            controls=paired_controls(base_cut, tuned_cut),
        ),
    )


def _followed(
    group: str, level: Level, unfollowed: list[Score], followed: list[Score]
) -> Comparison:
    question: Question = "followed against unfollowed"
    first, second = values(unfollowed), values(followed)
    effect = inference.cohen_d(first, second)
    fit = _at_equal_length(unfollowed, followed, score_of)
    apart, together = (
        [score for score in sample if score.is_part] for sample in (unfollowed, followed)
    )
    return Comparison(
        question=question,
        group=group,
        level=level,
        first=_sample("unfollowed", unfollowed),
        second=_sample("followed", followed),
        estimate=inference.two_sample_estimate(first, second),
        effect_name="Cohen's d",
        effect=effect,
        cohen_d=effect,
        tests=tuple(inference.independent(first, second, ("unfollowed", "followed"))),
        higher=None,
        ties=None,
        controls=controls_of(
            apart,
            together,
            lambda number: inference.two_sample_estimate(
                values(apart, number), values(together, number)
            ),
        ),
        length=LengthCheck(
            how=EQUAL_LENGTH[question],
            estimate=fit.estimate,
            verdict="too few",
            controls=controls_of(
                apart, together, lambda number: _at_equal_length(apart, together, number).estimate
            ),
            left_out=fit.left_out,
            spread=fit.spread,
            missing=fit.lengths,
        ),
    )


def _at_equal_length(
    first: Sequence[Score], second: Sequence[Score], number: Callable[[Score], float]
) -> equal_length.LengthFit:
    return equal_length.at_equal_length(
        values(first, number), values(second, number), _lengths(first), _lengths(second)
    )


def difference_verdict(difference: float, p: float, *, enough: bool = True) -> Verdict:
    """What a difference and its two-sided p say: second higher, lower, or not shown to differ."""
    if not enough or not math.isfinite(difference):
        return "too few"
    if difference == 0 or (math.isfinite(p) and p >= SIGNIFICANCE):
        return "no difference shown"
    if not math.isfinite(p):
        return "too few"
    return "holds" if difference > 0 else "turns"


def _decided(item: Comparison, has_parts: bool) -> Comparison:
    """Fill in the verdicts, of which `has_parts` says whether they are about instructions."""
    full, estimate = item.estimate, item.length.estimate
    plain = difference_verdict(full.difference, full.p_holm, enough=item.enough)
    equal = difference_verdict(estimate.difference, estimate.p_holm, enough=item.enough)
    length = dataclasses.replace(item.length, verdict=equal)
    verdict, why = _verdict(item, plain, length, has_parts)
    return dataclasses.replace(item, plain=plain, length=length, verdict=verdict, why=why)


def _verdict(
    item: Comparison, plain: Verdict, length: LengthCheck, has_parts: bool
) -> tuple[Verdict, str]:
    shown = ("holds", "turns")
    if not item.enough or plain == "too few":
        return "too few", ""
    if length.missing:
        return ("confounded", length.missing) if plain in shown else (plain, "")
    if length.verdict not in shown:
        if plain not in shown:
            return "no difference shown", ""
        explained = length.estimate.leaves_out(item.estimate)
        why = "answer length explains it" if explained else "not shown at equal answer length"
        return ("confounded" if item.higher is None else "no difference shown"), why
    why = ""
    if plain not in shown:
        masked = item.estimate.leaves_out(length.estimate)
        why = "answer length masks it" if masked else "shown at equal answer length only"
    elif plain != length.verdict:
        why = "answer length turns it"
    controls = length.controls
    if not has_parts:
        return length.verdict, why
    if controls is None:
        return "confounded", "the whole prompt is the instruction"
    if not controls.enough:
        return "confounded", "too few prompts have more than an instruction"
    if not controls.p_holm < SIGNIFICANCE or (
        (controls.beyond_rest.difference > 0) != (length.verdict == "holds")
    ):
        return "confounded", "not told from the rest of the prompt"
    return length.verdict, why


def _lengths(scores: Sequence[Score]) -> FloatArray:
    return np.array([score.answer_length for score in scores], dtype=np.float64)


def _sample(label: str, scores: Sequence[Score]) -> Sample:
    numbers = values(scores)
    return Sample(
        label=label,
        n=numbers.size,
        mean=float(numbers.mean()),
        sd=float(numbers.std()),
        answer_length=float(_lengths(scores).mean()),
        ids=tuple(score.id for score in scores),
    )


def _corrected(comparisons: Sequence[Comparison]) -> list[Comparison]:
    """Fill in corrected p-values: one family per question and test, as one table shows them.

    Rows from which nothing is concluded do not count, and get none.
    """
    corrected = list(comparisons)
    for question in DECIDING_TEST:
        places = [i for i, item in enumerate(corrected) if item.question == question]
        if not places:
            continue
        mine = [corrected[i] for i in places]
        families = [
            [item.tests[t].p if item.enough else math.nan for item in mine]
            for t in range(len(mine[0].tests))
        ]
        holm = [inference.adjust(values, "holm") for values in families]
        bh = [inference.adjust(values, "benjamini-hochberg") for values in families]
        checks = (
            [item.length.estimate.p if item.enough else math.nan for item in mine],
            [_controls_p(item, item.controls) for item in mine],
            [_controls_p(item, item.length.controls) for item in mine],
        )
        equal, full, cut = (inference.adjust(p_values, "holm") for p_values in checks)
        for row, (place, item) in enumerate(zip(places, mine, strict=True)):
            tests = tuple(
                dataclasses.replace(test, p_holm=holm[t][row], p_bh=bh[t][row])
                for t, test in enumerate(item.tests)
            )
            deciding = next(t for t in tests if t.name == DECIDING_TEST[question])
            estimate = item.length.estimate
            corrected[place] = dataclasses.replace(
                item,
                tests=tests,
                estimate=dataclasses.replace(item.estimate, p_holm=deciding.p_holm),
                controls=with_holm(item.controls, full[row]),
                length=dataclasses.replace(
                    item.length,
                    estimate=dataclasses.replace(estimate, p_holm=equal[row]),
                    controls=with_holm(item.length.controls, cut[row]),
                ),
            )
    return corrected


def _controls_p(item: Comparison, controls: Controls | None) -> float:
    return controls.p if item.enough and controls and controls.enough else math.nan
