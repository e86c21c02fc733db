"""Whether it is the instruction or all of the prompt: the rest, equal spans, and the share."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

from twinlens.measures.density import FloatArray
from twinlens.studies.analysis import inference
from twinlens.studies.analysis.inference import SMALLEST_PAIRED, Estimate
from twinlens.studies.analysis.scoring import Score

#: The estimate of one number of all scores of a comparison.
Measured: TypeAlias = Callable[[Callable[[Score], float]], Estimate]


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


def score_of(score: Score) -> float:
    """Score of the instruction."""
    return score.score


def values(scores: Sequence[Score], number: Callable[[Score], float] = score_of) -> FloatArray:
    """One number of every score."""
    return np.array([number(score) for score in scores], dtype=np.float64)


def paired_controls(base: Sequence[Score], tuned: Sequence[Score]) -> Controls | None:
    """Controls of the two models over the same prompts; None where no prompt has a rest."""
    both = [(a, b) for a, b in zip(base, tuned, strict=True) if a.is_part and b.is_part]
    first, second = [a for a, _ in both], [b for _, b in both]
    return controls_of(
        first,
        second,
        lambda number: inference.paired_estimate(values(first, number), values(second, number)),
    )


def controls_of(
    first: Sequence[Score], second: Sequence[Score], measured: Measured
) -> Controls | None:
    """Controls of two samples; `measured` estimates the difference of one of their numbers."""
    if not first or not second:
        return None

    def means(number: Callable[[Score], float]) -> tuple[float, float]:
        return float(values(first, number).mean()), float(values(second, number).mean())

    three = (
        measured(lambda score: score.score - score.rest),
        measured(lambda score: score.score - score.span),
        measured(lambda score: score.share),
    )
    agree = len({control.difference > 0 for control in three}) == 1
    return Controls(
        means(score_of),
        means(lambda score: score.rest),
        means(lambda score: score.span),
        *three,
        p=float(np.max([control.p for control in three])) if agree else 1.0,
    )


def with_holm(controls: Controls | None, p_holm: float) -> Controls | None:
    """The same controls with the corrected p-value of their table."""
    return None if controls is None else dataclasses.replace(controls, p_holm=p_holm)
