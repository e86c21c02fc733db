"""Question 1 of the paper over many prompts: tables 1 and 2, and what they leave out.

`analyse` reads the cases once and returns an `Analysis`: scores per case, means per group,
comparisons (base against tuned; followed against unfollowed) with tests, effect sizes,
corrections, the same at equal answer length and beyond the rest of the prompt, and the profiles
along prompt and answer.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from twinlens.errors import StudyError
from twinlens.measures.density import density_of_levels
from twinlens.studies.analysis.comparisons import (
    MINIMUM_RATED_ANSWER,
    Comparison,
    Question,
    Record,
    compare,
    flat,
)
from twinlens.studies.analysis.profiles import Profile, Profiles
from twinlens.studies.analysis.scoring import Score, Settings, as_score, score_pair, span_scores
from twinlens.studies.data.cases import Case, Pairing, paired

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, repr=False)
class Analysis:
    """Everything question 1 asks for, under one choice of settings."""

    settings: Settings
    scores: tuple[Score, ...] = field(repr=False)
    comparisons: tuple[Comparison, ...] = field(repr=False)
    profiles: tuple[Profile, ...] = field(repr=False)
    unpaired: tuple[str, ...] = field(default=(), repr=False)

    def __repr__(self) -> str:
        return f"<Analysis of {self.counts['prompts']} prompts>"

    def _repr_html_(self) -> str:
        """What was found, and the numbers behind it, in a notebook."""
        from twinlens.studies.analysis.findings import analysis_html

        return analysis_html(self)

    @property
    def has_parts(self) -> bool:
        """Whether the instruction is a proper part of any prompt."""
        return any(score.is_part for score in self.scores)

    @cached_property
    def counts(self) -> dict[str, int]:
        """How many prompts there are, and how many of them lack what a comparison needs."""
        tuned = [score for score in self.scores if score.side == "tuned"]
        base = [score for score in self.scores if score.side == "base"]
        judged = [score for score in tuned if score.followed is not None]
        return {
            "prompts": len(tuned),
            "of one model only": len(self.unpaired),
            "without an instruction token": sum(not s.instruction_length for s in tuned),
            "whole prompt is the instruction": sum(
                bool(s.instruction_length) and not s.is_part for s in tuned
            ),
            "instruction is a part": sum(s.is_part for s in tuned),
            "empty answer": sum(
                not min(a.answer_length, b.answer_length) for a, b in zip(base, tuned, strict=True)
            ),
            "judged": len(judged),
            "judged, answer too short": sum(s.answer_length < MINIMUM_RATED_ANSWER for s in judged),
        }

    def comparison(self, question: Question, group: str) -> Comparison:
        """The comparison of one group.

        Raises
        ------
        KeyError
            If the data has no such group, or no such judgement.
        """
        for item in self.comparisons:
            if (item.question, item.group) == (question, group):
                return item
        raise KeyError(f"there is no comparison {question!r} of group {group!r}")

    def records(self) -> dict[str, list[Record]]:
        """Tidy tables: scores, comparisons, tests, profiles; the settings stand in every row."""
        settings = self.settings.record()
        return {
            "scores": [{**dataclasses.asdict(score), **settings} for score in self.scores],
            "comparisons": [{**flat(comparison), **settings} for comparison in self.comparisons],
            "tests": [
                {
                    "question": comparison.question,
                    "group": comparison.group,
                    "level": comparison.level,
                    **dataclasses.asdict(test),
                    **settings,
                }
                for comparison in self.comparisons
                for test in comparison.tests
            ],
            "profiles": [
                {**dataclasses.asdict(point), **settings}
                for profile in self.profiles
                for point in profile.points
            ],
        }

    def to_frame(self, table: str = "scores") -> pd.DataFrame:
        """One of the tables of `records`: scores, comparisons, tests or profiles.

        Raises
        ------
        StudyError
            If there is no such table.
        """
        import pandas as pd

        records = self.records()
        if table not in records:
            raise StudyError(f"there is no table {table!r}: one of {', '.join(records)}")
        return pd.DataFrame(records[table])


def analyse(cases: Iterable[Case], settings: Settings | None = None) -> Analysis:
    """Scores, comparisons and profiles under one choice of settings.

    Parameters
    ----------
    cases : iterable of Case
        Base and tuned case of each prompt after one another; read once, only numbers are kept.
    settings : Settings, optional
        The paper's by default.
    """
    chosen = settings or Settings()
    profiles = Profiles()
    found: list[Score] = []
    at_equal_length: list[Score] = []
    seen: dict[str, None] = {}
    for pairing in paired(_noted(cases, seen)):
        found += _score_and_profile(pairing, chosen, profiles)
        at_equal_length += score_pair(pairing, dataclasses.replace(chosen, cut="shorter"))
    complete = {score.id for score in found}
    return Analysis(
        settings=chosen,
        scores=tuple(found),
        comparisons=tuple(compare(found, at_equal_length)),
        profiles=tuple(profiles.profiles()),
        unpaired=tuple(case_id for case_id in seen if case_id not in complete),
    )


def _noted(cases: Iterable[Case], seen: dict[str, None]) -> Iterator[Case]:
    for case in cases:
        seen[case.id] = None
        yield case


def _score_and_profile(pairing: Pairing, settings: Settings, profiles: Profiles) -> list[Score]:
    parameters = settings.for_pair(*pairing)
    found = []
    for case in pairing:
        levels = case.levels(parameters.levels)[:, : parameters.answer_cut]
        density = np.zeros(len(case.prompt_tokens))
        if levels.shape[1]:
            density = density_of_levels(levels, parameters, list(case.scored))
            profiles.add(case, levels, density, parameters.threshold)
        instruction = settings.instruction(case)
        value = span_scores(density, instruction, case.scored, parameters.aggregation)
        found.append(as_score(case, value, settings))
    return found
