"""Comparisons: base against tuned, followed against unfollowed, group by group."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import numpy as np

from twinlens.contract.words import SIDES, Side
from twinlens.measures.density import FloatArray
from twinlens.studies.analysis import inference
from twinlens.studies.analysis.inference import Test
from twinlens.studies.analysis.scoring import Score

Question: TypeAlias = Literal["tuned against base", "followed against unfollowed"]
Verdict: TypeAlias = Literal["holds", "turns", "vanishes", "unknown"]
Level: TypeAlias = Literal["group", "category", "all"]
Record: TypeAlias = dict[str, Any]

#: Table 1 of the paper leaves out rated answers of fewer tokens than this.
MINIMUM_RATED_ANSWER = 5
SIGNIFICANCE = 0.05
#: The test that decides a verdict, per question.
DECIDING_TEST: dict[Question, str] = {
    "tuned against base": "paired t, two-sided",
    "followed against unfollowed": "Welch t, two-sided",
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
class LengthCheck:
    """The same comparison with answer length taken out.

    Attributes
    ----------
    how : str
        In words.
    difference, p : float
        Of the second sample against the first; p two-sided.
    verdict : Verdict
    explained : bool
        The comparison holds or turns as it stands, but not so at equal length, where less than
        half of the difference is left.
    """

    how: str
    difference: float
    p: float
    verdict: Verdict
    explained: bool


@dataclass(frozen=True)
class Comparison:
    """One group, two samples of scores.

    Attributes
    ----------
    question : Question
        The claim is that the second sample (tuned, followed) scores higher.
    group : str
    level : {"group", "category", "all"}
    first, second : Sample
    difference : float
        Mean of second minus mean of first.
    effect_name : str
    effect, effect_low, effect_high : float
        Effect size of the deciding test with its 95 % bootstrap interval.
    cohen_d : float
    tests : tuple of Test
    higher : int or None
        Prompts where the second score is higher, for pairs.
    verdict : Verdict
        Of the deciding test at 0.05: holds (second higher), turns (second lower), vanishes.
    length : LengthCheck
    """

    question: Question
    group: str
    level: Level
    first: Sample
    second: Sample
    difference: float
    effect_name: str
    effect: float
    effect_low: float
    effect_high: float
    cohen_d: float
    tests: tuple[Test, ...]
    higher: int | None
    verdict: Verdict
    length: LengthCheck

    def test(self, name: str) -> Test:
        """One of its tests by name."""
        return next(test for test in self.tests if test.name == name)


def compare(
    scores: Sequence[Score],
    at_equal_length: Sequence[Score],
    *,
    bootstrap: int = 2000,
    seed: int = 0,
) -> list[Comparison]:
    """Comparisons of both questions, for every group, category, and all prompts together.

    Parameters
    ----------
    scores : sequence of Score
        Base and tuned of each prompt after one another.
    at_equal_length : sequence of Score
        The same with both answers cut to the shorter one.
    """
    base, tuned = _sides(scores)
    base_cut, tuned_cut = _sides(at_equal_length)
    found: list[Comparison] = []
    for level, group, chosen in parts(tuned):
        found.append(
            _base_against_tuned(
                group,
                level,
                [base[i] for i in chosen],
                [tuned[i] for i in chosen],
                [base_cut[i] for i in chosen],
                [tuned_cut[i] for i in chosen],
                bootstrap,
                seed,
            )
        )
        judged = [tuned[i] for i in chosen if tuned[i].followed is not None]
        judged = [score for score in judged if score.answer_length >= MINIMUM_RATED_ANSWER]
        unfollowed = [score for score in judged if not score.followed]
        followed = [score for score in judged if score.followed]
        if unfollowed and followed:
            found.append(_followed(group, level, unfollowed, followed, bootstrap, seed))
    return _corrected(found)


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
    bootstrap: int,
    seed: int,
) -> Comparison:
    question: Question = "tuned against base"
    names: tuple[Side, Side] = SIDES
    first, second = _values(base), _values(tuned)
    cut_first, cut_second = _values(base_cut), _values(tuned_cut)
    tests = (*inference.welch(first, second, names), *inference.paired(first, second, names))
    low, high = inference.paired_interval(first, second, count=bootstrap, seed=seed)
    difference = float(second.mean() - first.mean())
    cut_difference = float(cut_second.mean() - cut_first.mean())
    cut_p = inference.paired_t(cut_first, cut_second)[2]
    decided = verdict(difference, _deciding(tests, question).p)
    cut_verdict = verdict(cut_difference, cut_p)
    return Comparison(
        question=question,
        group=group,
        level=level,
        first=_sample("base", base),
        second=_sample("tuned", tuned),
        difference=difference,
        effect_name="paired d",
        effect=inference.paired_d(first, second),
        effect_low=low,
        effect_high=high,
        cohen_d=inference.cohen_d(first, second),
        tests=tests,
        higher=int((second > first).sum()),
        verdict=decided,
        length=LengthCheck(
            how="both answers of a prompt cut to the shorter one; paired t",
            difference=cut_difference,
            p=cut_p,
            verdict=cut_verdict,
            explained=_explained(decided, difference, cut_verdict, cut_difference),
        ),
    )


def _followed(
    group: str,
    level: Level,
    unfollowed: list[Score],
    followed: list[Score],
    bootstrap: int,
    seed: int,
) -> Comparison:
    question: Question = "followed against unfollowed"
    first, second = _values(unfollowed), _values(followed)
    tests = tuple(inference.welch(first, second, ("unfollowed", "followed")))
    low, high = inference.cohen_interval(first, second, count=bootstrap, seed=seed)
    difference = float(second.mean() - first.mean())
    decided = verdict(difference, _deciding(tests, question).p)
    level_difference, level_p = inference.difference_at_equal_length(
        first, second, _lengths(unfollowed), _lengths(followed)
    )
    level_verdict = verdict(level_difference, level_p)
    effect = inference.cohen_d(first, second)
    return Comparison(
        question=question,
        group=group,
        level=level,
        first=_sample("unfollowed", unfollowed),
        second=_sample("followed", followed),
        difference=difference,
        effect_name="Cohen's d",
        effect=effect,
        effect_low=low,
        effect_high=high,
        cohen_d=effect,
        tests=tests,
        higher=None,
        verdict=decided,
        length=LengthCheck(
            how="linear regression on the logarithm of the answer length",
            difference=level_difference,
            p=level_p,
            verdict=level_verdict,
            explained=_explained(decided, difference, level_verdict, level_difference),
        ),
    )


def verdict(difference: float, p: float, alpha: float = SIGNIFICANCE) -> Verdict:
    """What a difference and its two-sided p say about the claim that it is positive."""
    if not (math.isfinite(difference) and math.isfinite(p)):
        return "unknown"
    if p >= alpha:
        return "vanishes"
    return "holds" if difference > 0 else "turns"


def _explained(decided: Verdict, difference: float, at_equal_length: Verdict, left: float) -> bool:
    lost = at_equal_length not in (decided, "unknown")
    return decided in ("holds", "turns") and lost and left / difference < 0.5


def _deciding(tests: Iterable[Test], question: Question) -> Test:
    return next(test for test in tests if test.name == DECIDING_TEST[question])


def _values(scores: Sequence[Score]) -> FloatArray:
    return np.array([score.score for score in scores], dtype=np.float64)


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


def _corrected(comparisons: list[Comparison]) -> list[Comparison]:
    """Fill in corrected p-values: one family per question, level and test."""
    families: dict[tuple[str, str, str], list[float]] = {}
    for item in comparisons:
        for test in item.tests:
            families.setdefault((item.question, item.level, test.name), []).append(test.p)
    corrected = {
        key: iter(
            list(
                zip(
                    inference.adjust(values, "holm"),
                    inference.adjust(values, "benjamini-hochberg"),
                    strict=True,
                )
            )
        )
        for key, values in families.items()
    }
    result = []
    for item in comparisons:
        tests = []
        for test in item.tests:
            holm, bh = next(corrected[item.question, item.level, test.name])
            tests.append(dataclasses.replace(test, p_holm=holm, p_bh=bh))
        result.append(dataclasses.replace(item, tests=tuple(tests)))
    return result


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
    record |= {
        name: getattr(comparison, name)
        for name in (
            "difference",
            "effect_name",
            "effect",
            "effect_low",
            "effect_high",
            "cohen_d",
            "higher",
            "verdict",
        )
    }
    return record | {
        f"equal_length_{key}": value for key, value in dataclasses.asdict(comparison.length).items()
    }
