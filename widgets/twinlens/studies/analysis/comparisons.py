"""Comparisons: base against tuned, followed against unfollowed, group by group.

A verdict is about the claim that an answer rests more on the instruction. It needs the difference
at equal answer length, and that difference beyond the rest of the prompt (`Controls`), each at
0.05 after Holm's correction over all rows of one question.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import numpy as np

from twinlens.contract.words import SIDES, Side
from twinlens.measures.density import FloatArray
from twinlens.studies.analysis import inference
from twinlens.studies.analysis.inference import SMALLEST_PAIRED, SMALLEST_SAMPLE, Estimate, Test
from twinlens.studies.analysis.scoring import Score

Question: TypeAlias = Literal["tuned against base", "followed against unfollowed"]
Verdict: TypeAlias = Literal["holds", "turns", "no difference shown", "too few", "confounded"]
Level: TypeAlias = Literal["group", "category", "all"]
Record: TypeAlias = dict[str, Any]
#: The estimate of one number of all scores of a comparison.
Measured: TypeAlias = Callable[[Callable[[Score], float]], Estimate]

#: Table 1 of the paper leaves out rated answers of fewer tokens than this.
MINIMUM_RATED_ANSWER = 5
SIGNIFICANCE = 0.05
#: The test that decides about a difference, per question.
DECIDING_TEST: dict[Question, str] = {
    "tuned against base": "paired t, two-sided",
    "followed against unfollowed": "Welch t, two-sided",
}
#: What is compared at equal length, per question.
EQUAL_LENGTH: dict[Question, str] = {
    "tuned against base": "both answers of a prompt cut to the shorter one; paired t",
    "followed against unfollowed": "a cubic spline of the logarithm of the answer length taken "
    "out, where the lengths of both overlap; t with HC3 errors",
}


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
class Controls:
    """The same difference beyond what the rest of the prompt shows; only prompts that have a rest.

    A tuned model whose densities are higher all over the prompt does not rest more on the
    instruction. Each of the three below is blind to another form of that: to a rise that is the
    same for the instruction and the rest, to one that is the same for every token, and to one by
    the same factor.

    Attributes
    ----------
    instruction, rest, span : (float, float)
        Mean scores of the first and the second sample.
    beyond_rest : Estimate
        Difference in differences: of the instruction's score less the score of the rest.
    beyond_span : Estimate
        The same less the score of spans of equal length.
    share : Estimate
        Difference of the instruction's share of the prompt's density.
    p : float
        The largest of their three p, or 1 where their signs differ.
    p_holm : float
        p corrected over the rows of one question.
    """

    instruction: tuple[float, float]
    rest: tuple[float, float]
    span: tuple[float, float]
    beyond_rest: Estimate
    beyond_span: Estimate
    share: Estimate
    p: float
    p_holm: float = math.nan

    @property
    def enough(self) -> bool:
        """Whether enough prompts have a rest."""
        return self.beyond_rest.n >= SMALLEST_PAIRED


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
        Mean of second minus mean of first, at the answers' full length.
    effect_name : str
    effect, effect_low, effect_high : float
        Effect size of the deciding test with its 95 % interval.
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
    effect_low: float
    effect_high: float
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
        return self.estimate.difference

    @property
    def enough(self) -> bool:
        """Whether there are enough prompts, or answers of both samples, for a verdict."""
        if self.higher is not None:
            return self.first.n >= SMALLEST_PAIRED
        return min(self.first.n, self.second.n) >= SMALLEST_SAMPLE

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
    kept = [score.instruction_length > 0 for score in scores]
    base, tuned = _sides([score for score, keep in zip(scores, kept, strict=True) if keep])
    cut = [score for score, keep in zip(at_equal_length, kept, strict=True) if keep]
    base_cut, tuned_cut = _sides(cut)
    found: list[Comparison] = []
    for level, group, chosen in parts(tuned):
        found.append(
            _base_against_tuned(
                group,
                level,
                *([of[i] for i in chosen] for of in (base, tuned, base_cut, tuned_cut)),
            )
        )
        judged = [tuned[i] for i in chosen if tuned[i].followed is not None]
        judged = [score for score in judged if score.answer_length >= MINIMUM_RATED_ANSWER]
        unfollowed = [score for score in judged if not score.followed]
        followed = [score for score in judged if score.followed]
        if unfollowed and followed:
            found.append(_followed(group, level, unfollowed, followed))
    has_parts = any(score.is_part for score in tuned)
    return [_decided(item, has_parts) for item in _corrected(found)]


def _sides(scores: Sequence[Score]) -> tuple[list[Score], list[Score]]:
    base, tuned = ([score for score in scores if score.side == side] for side in SIDES)
    return base, tuned


def parts(scores: Sequence[Score]) -> list[tuple[Level, str, list[int]]]:
    """Groups, categories, and all prompts: (level, name, indexes), in order of appearance."""
    groups: dict[tuple[Level, str], list[int]] = {}
    categories: dict[tuple[Level, str], list[int]] = {}
    for index, score in enumerate(scores):
        groups.setdefault(("group", score.group), []).append(index)
        if score.category:
            name = f"{score.group}: {score.category}"
            categories.setdefault(("category", name), []).append(index)
    found = [*groups.items(), *categories.items()]
    if len(groups) > 1:
        found.insert(len(groups), (("all", "all prompts"), list(range(len(scores)))))
    return [(level, name, chosen) for (level, name), chosen in found]


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
    first, second = _values(base), _values(tuned)
    low, high = inference.paired_interval(first, second)
    return Comparison(
        question=question,
        group=group,
        level=level,
        first=_sample("base", base),
        second=_sample("tuned", tuned),
        estimate=inference.paired_estimate(first, second),
        effect_name="paired d",
        effect=inference.paired_d(first, second),
        effect_low=low,
        effect_high=high,
        cohen_d=inference.cohen_d(first, second),
        tests=(*inference.welch(first, second, names), *inference.paired(first, second, names)),
        higher=int((second > first).sum()),
        ties=int((second == first).sum()),
        controls=_paired_controls(base, tuned),
        length=LengthCheck(
            how=EQUAL_LENGTH[question],
            estimate=inference.paired_estimate(_values(base_cut), _values(tuned_cut)),
            verdict="too few",
            controls=_paired_controls(base_cut, tuned_cut),
        ),
    )


def _followed(
    group: str, level: Level, unfollowed: list[Score], followed: list[Score]
) -> Comparison:
    question: Question = "followed against unfollowed"
    first, second = _values(unfollowed), _values(followed)
    low, high = inference.cohen_interval(first, second)
    effect = inference.cohen_d(first, second)
    fit = _at_equal_length(unfollowed, followed, _score)
    apart, together = (
        [score for score in sample if score.is_part] for sample in (unfollowed, followed)
    )
    return Comparison(
        question=question,
        group=group,
        level=level,
        first=_sample("unfollowed", unfollowed),
        second=_sample("followed", followed),
        estimate=inference.welch_estimate(first, second),
        effect_name="Cohen's d",
        effect=effect,
        effect_low=low,
        effect_high=high,
        cohen_d=effect,
        tests=tuple(inference.welch(first, second, ("unfollowed", "followed"))),
        higher=None,
        ties=None,
        controls=_controls(
            apart,
            together,
            lambda number: inference.welch_estimate(
                _values(apart, number), _values(together, number)
            ),
        ),
        length=LengthCheck(
            how=EQUAL_LENGTH[question],
            estimate=fit.estimate,
            verdict="too few",
            controls=_controls(
                apart, together, lambda number: _at_equal_length(apart, together, number).estimate
            ),
            left_out=fit.left_out,
            spread=fit.spread,
            missing=fit.lengths,
        ),
    )


def _at_equal_length(
    first: Sequence[Score], second: Sequence[Score], number: Callable[[Score], float]
) -> inference.LengthFit:
    return inference.at_equal_length(
        _values(first, number), _values(second, number), _lengths(first), _lengths(second)
    )


def _paired_controls(base: Sequence[Score], tuned: Sequence[Score]) -> Controls | None:
    both = [(a, b) for a, b in zip(base, tuned, strict=True) if a.is_part and b.is_part]
    first, second = [a for a, _ in both], [b for _, b in both]
    return _controls(
        first,
        second,
        lambda number: inference.paired_estimate(_values(first, number), _values(second, number)),
    )


def _controls(
    first: Sequence[Score], second: Sequence[Score], measured: Measured
) -> Controls | None:
    if not first or not second:
        return None

    def means(number: Callable[[Score], float]) -> tuple[float, float]:
        return float(_values(first, number).mean()), float(_values(second, number).mean())

    three = (
        measured(lambda score: score.score - score.rest),
        measured(lambda score: score.score - score.span),
        measured(lambda score: score.share),
    )
    agree = len({one.difference > 0 for one in three}) == 1
    return Controls(
        means(_score),
        means(lambda score: score.rest),
        means(lambda score: score.span),
        *three,
        p=float(np.max([one.p for one in three])) if agree else 1.0,
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
    plain = difference_verdict(
        item.difference, item.test(DECIDING_TEST[item.question]).p_holm, enough=item.enough
    )
    estimate = item.length.estimate
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
        if item.higher is None:
            return "confounded", "answer length explains it"
        return "no difference shown", "answer length makes the difference at full length"
    why = ""
    if plain not in shown:
        why = "answer length masks it"
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


def _score(score: Score) -> float:
    return score.score


def _values(scores: Sequence[Score], number: Callable[[Score], float] = _score) -> FloatArray:
    return np.array([number(score) for score in scores], dtype=np.float64)


def _lengths(scores: Sequence[Score]) -> FloatArray:
    return np.array([score.answer_length for score in scores], dtype=np.float64)


def _sample(label: str, scores: Sequence[Score]) -> Sample:
    values = _values(scores)
    return Sample(
        label=label,
        n=values.size,
        mean=float(values.mean()),
        sd=float(values.std()),
        answer_length=float(_lengths(scores).mean()),
        ids=tuple(score.id for score in scores),
    )


def _corrected(comparisons: Sequence[Comparison]) -> list[Comparison]:
    """Fill in corrected p-values: one family per question and test, as one table shows them.

    Rows from which nothing is concluded do not count, and get none.
    """
    found = list(comparisons)
    for question in DECIDING_TEST:
        places = [i for i, item in enumerate(found) if item.question == question]
        if not places:
            continue
        mine = [found[i] for i in places]
        families = [
            [item.tests[t].p if item.enough else math.nan for item in mine]
            for t in range(len(mine[0].tests))
        ]
        holm = [inference.adjust(values, "holm") for values in families]
        bh = [inference.adjust(values, "benjamini-hochberg") for values in families]
        equal = _holm(item.length.estimate.p if item.enough else math.nan for item in mine)
        full = _holm(_controls_p(item, item.controls) for item in mine)
        cut = _holm(_controls_p(item, item.length.controls) for item in mine)
        for row, (place, item) in enumerate(zip(places, mine, strict=True)):
            tests = tuple(
                dataclasses.replace(test, p_holm=holm[t][row], p_bh=bh[t][row])
                for t, test in enumerate(item.tests)
            )
            deciding = next(t for t in tests if t.name == DECIDING_TEST[question])
            estimate = item.length.estimate
            found[place] = dataclasses.replace(
                item,
                tests=tests,
                estimate=dataclasses.replace(item.estimate, p_holm=deciding.p_holm),
                controls=_with_holm(item.controls, full[row]),
                length=dataclasses.replace(
                    item.length,
                    estimate=dataclasses.replace(estimate, p_holm=equal[row]),
                    controls=_with_holm(item.length.controls, cut[row]),
                ),
            )
    return found


def _holm(p_values: Iterable[float]) -> list[float]:
    return inference.adjust(list(p_values), "holm")


def _controls_p(item: Comparison, controls: Controls | None) -> float:
    enough = item.enough and controls is not None and controls.enough
    return controls.p if enough and controls is not None else math.nan


def _with_holm(controls: Controls | None, p_holm: float) -> Controls | None:
    return None if controls is None else dataclasses.replace(controls, p_holm=p_holm)


def flat(comparison: Comparison) -> Record:
    """One row of the tidy table of groups: everything but the ids and the tests."""
    record: Record = {
        "question": comparison.question,
        "group": comparison.group,
        "level": comparison.level,
    }
    for name in ("first", "second"):
        sample = dataclasses.asdict(getattr(comparison, name))
        del sample["ids"]
        record |= {f"{name}_{key}": value for key, value in sample.items()}
    record |= dataclasses.asdict(comparison.estimate)
    names = ("effect_name", "effect", "effect_low", "effect_high", "cohen_d", "higher", "ties")
    record |= {name: getattr(comparison, name) for name in (*names, "plain", "verdict", "why")}
    record |= _flat_controls("", comparison.controls)
    length = comparison.length
    record |= {
        f"equal_length_{name}": getattr(length, name)
        for name in ("how", "verdict", "left_out", "spread", "missing")
    }
    record |= {
        f"equal_length_{key}": value for key, value in dataclasses.asdict(length.estimate).items()
    }
    return record | _flat_controls("equal_length_", length.controls)


def _flat_controls(lead: str, controls: Controls | None) -> Record:
    """Columns of the controls; they are there, empty, where there are none."""
    record: Record = {}
    for name in ("instruction", "rest", "span"):
        both = getattr(controls, name, (math.nan, math.nan))
        record |= {f"{lead}part_{name}_first": both[0], f"{lead}part_{name}_second": both[1]}
    nothing = Estimate(0, math.nan, math.nan, math.nan, math.nan, math.nan)
    for name in ("beyond_rest", "beyond_span", "share"):
        estimate = dataclasses.asdict(getattr(controls, name, nothing))
        keys = ("n", "difference", "low", "high", "p")
        record |= {f"{lead}{name}_{key}": estimate[key] for key in keys}
    return record | {
        f"{lead}controls_p": getattr(controls, "p", math.nan),
        f"{lead}controls_p_holm": getattr(controls, "p_holm", math.nan),
    }
