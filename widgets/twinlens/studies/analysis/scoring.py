"""Numbers of a case under any settings: of the instruction, of the rest, of equal spans."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import numpy as np

from twinlens.contract.words import Side
from twinlens.measures.density import (
    Aggregation,
    DensityParameters,
    FloatArray,
    density_of_levels,
    instruction_score,
)
from twinlens.studies.data.cases import Case, Pairing, paired

InstructionSpans: TypeAlias = Literal["widened", "marked"]
AnswerCut: TypeAlias = Literal["full", "shorter"]


@dataclass(frozen=True)
class Settings:
    """Everything that turns a stored attribution into a score; the defaults are the paper's.

    Attributes
    ----------
    parameters : DensityParameters
        L, b, p, normalisation, aggregation, a fixed answer cut.
    spans : {"widened", "marked"}
        Instruction widened to whole sentences, or as it was marked.
    cut : {"full", "shorter"}
        ``shorter`` cuts both answers of a prompt to the length of the shorter one.

    Examples
    --------
    >>> from twinlens.studies import DensityParameters, Settings
    >>> Settings(DensityParameters(norm=2.0), cut="shorter").record()["answer_cut"]
    'shorter answer'
    """

    parameters: DensityParameters = dataclasses.field(default_factory=DensityParameters)
    spans: InstructionSpans = "widened"
    cut: AnswerCut = "full"

    def record(self) -> dict[str, Any]:
        """Flat, plain values, to stand beside every number."""
        return {
            "levels": self.parameters.levels,
            "threshold": self.parameters.threshold,
            "norm": self.parameters.norm,
            "normalisation": self.parameters.normalisation,
            "aggregation": self.parameters.aggregation,
            "answer_cut": "shorter answer"
            if self.cut == "shorter"
            else str(self.parameters.answer_cut or "none"),
            "spans": self.spans,
        }

    def for_pair(self, base: Case, tuned: Case) -> DensityParameters:
        """Density parameters for one prompt, with the cut as a number of answer tokens.

        Parameters
        ----------
        base, tuned : Case
            Of the same prompt.
        """
        if self.cut == "full":
            return self.parameters
        shorter = min(base.answer_length, tuned.answer_length)
        fixed = self.parameters.answer_cut
        return dataclasses.replace(
            self.parameters, answer_cut=shorter if fixed is None else min(shorter, fixed)
        )

    def instruction(self, case: Case) -> tuple[int, ...]:
        """Tokens of the instruction under these settings.

        Parameters
        ----------
        case : Case
        """
        return case.instruction if self.spans == "widened" else case.fragments


@dataclass(frozen=True)
class Spans:
    """Scores of one case: of the instruction, and of what it is compared with.

    Attributes
    ----------
    score : float
        Of the instruction.
    rest : float
        Of all other scored prompt tokens, by the same formula.
    span : float
        Of a span as long as the instruction, the mean over all its places in the prompt: what a
        span drawn at random has on average.
    share : float
        Of the density of all scored prompt tokens, how much lies on the instruction.

    The last three are NaN where the instruction is not a proper part of the prompt.
    """

    score: float
    rest: float = math.nan
    span: float = math.nan
    share: float = math.nan


@dataclass(frozen=True)
class Score(Spans):
    """The scores of one case, and what a reader needs to judge them."""

    id: str = ""
    group: str = ""
    category: str = ""
    side: Side = "base"
    prompt_length: int = 0
    instruction_length: int = 0
    answer_length: int = 0
    rating: int | None = None
    followed: bool | None = None

    @property
    def is_part(self) -> bool:
        """Whether the instruction is a proper part of the prompt."""
        return math.isfinite(self.rest)


def repeated(scores: Sequence[Score]) -> tuple[str, ...]:
    """Prompts that were there before, with the same answers: all their numbers are the same.

    Tests take prompts for independent, and these are not.

    Parameters
    ----------
    scores : sequence of Score
        Base and tuned of each prompt after one another.
    """
    seen: set[tuple[object, ...]] = set()
    ids = []
    for base, tuned in zip(scores[::2], scores[1::2], strict=True):
        known = tuple(_fingerprint(score) for score in (base, tuned))
        # Scores of 0 say nothing about what they are of.
        if known in seen and min(abs(base.score), abs(tuned.score)) > 0:
            ids.append(base.id)
        seen.add(known)
    return tuple(ids)


def _fingerprint(score: Score) -> tuple[object, ...]:
    """What a prompt read again has in common: numbers but for what rounding moves."""
    numbers = (f"{number:.3f}" for number in (score.score, score.rest, score.span, score.share))
    lengths = score.prompt_length, score.instruction_length, score.answer_length
    return *numbers, *lengths, score.group


def span_scores(
    density: FloatArray, instruction: Sequence[int], scored: Sequence[int], how: Aggregation
) -> Spans:
    """Scores of the instruction, of the rest, and of spans of equal length.

    Parameters
    ----------
    density : array, shape [N]
    instruction, scored : sequences of int
        Tokens of the instruction, and all that count.
    how : {"sum / log2", "mean"}
    """
    score = instruction_score(density, list(instruction), how)
    chosen = set(instruction)
    rest = [place for place in scored if place not in chosen]
    length = len(chosen.intersection(scored))
    if not rest or not length:
        return Spans(score)
    counted = density[list(scored)]
    sums = np.convolve(counted, np.ones(length), mode="valid")
    total = float(counted.sum())
    return Spans(
        score,
        instruction_score(density, rest, how),
        float(sums.mean()) / (length if how == "mean" else math.log2(2 + length)),
        float(density[sorted(chosen)].sum()) / total if total > 0 else 0.0,
    )


def score_case(case: Case, parameters: DensityParameters, instruction: Sequence[int]) -> Spans:
    """Scores of one case; all 0 for an empty answer."""
    density = np.zeros(len(case.prompt_tokens))
    if case.answer_length and parameters.answer_cut != 0:
        density = density_of_levels(case.levels(parameters.levels), parameters, list(case.scored))
    return span_scores(density, instruction, case.scored, parameters.aggregation)


def as_score(case: Case, value: Spans, settings: Settings) -> Score:
    """Put scores beside what is known of their case."""
    return Score(
        value.score,
        value.rest,
        value.span,
        value.share,
        id=case.id,
        group=case.group,
        category=case.category,
        side=case.side,
        prompt_length=len(case.prompt_tokens),
        instruction_length=len(settings.instruction(case)),
        answer_length=case.answer_length,
        rating=case.rating,
        followed=case.followed,
    )


def score_pair(pairing: Pairing, settings: Settings) -> list[Score]:
    """Scores of the base and the tuned case of one prompt."""
    parameters = settings.for_pair(*pairing)
    return [
        as_score(case, score_case(case, parameters, settings.instruction(case)), settings)
        for case in pairing
    ]


def scores(cases: Iterable[Case], settings: Settings | None = None) -> list[Score]:
    """Scores of all cases, base and tuned of each prompt after one another.

    Parameters
    ----------
    cases : iterable of Case
        Read once; no case is kept.
    settings : Settings, optional
        The paper's by default.
    """
    chosen = settings or Settings()
    return [score for pairing in paired(cases) for score in score_pair(pairing, chosen)]
