"""One number per case: the instruction score under any settings."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

from twinlens.contract.words import Side
from twinlens.measures.density import DensityParameters, density_of_levels, instruction_score
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
        """Density parameters for one prompt, with the cut as a number of answer tokens."""
        if self.cut == "full":
            return self.parameters
        shorter = min(base.answer_length, tuned.answer_length)
        fixed = self.parameters.answer_cut
        return dataclasses.replace(
            self.parameters, answer_cut=shorter if fixed is None else min(shorter, fixed)
        )

    def instruction(self, case: Case) -> tuple[int, ...]:
        """Tokens of the instruction under these settings."""
        return case.instruction if self.spans == "widened" else case.fragments


@dataclass(frozen=True)
class Score:
    """The score of one case, and what a reader needs to judge it."""

    id: str
    group: str
    category: str
    side: Side
    score: float
    prompt_length: int
    instruction_length: int
    answer_length: int
    rating: int | None
    followed: bool | None


def score_case(case: Case, parameters: DensityParameters, instruction: Sequence[int]) -> float:
    """Instruction score of one case; 0 for an empty answer."""
    if case.answer_length == 0 or parameters.answer_cut == 0:
        return 0.0
    density = density_of_levels(case.levels(parameters.levels), parameters, list(case.scored))
    return instruction_score(density, list(instruction), parameters.aggregation)


def as_score(case: Case, value: float, settings: Settings) -> Score:
    """Put a number beside what is known of its case."""
    return Score(
        id=case.id,
        group=case.group,
        category=case.category,
        side=case.side,
        score=value,
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
