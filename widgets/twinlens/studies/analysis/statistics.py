"""Question 1 of the paper over many prompts: tables 1 and 2, and what they leave out.

`analyse` reads the cases once and returns an `Analysis`: scores per case, means per group,
comparisons (base against tuned; followed against unfollowed) with tests, effect sizes,
corrections and a check for answer length, and the profiles along prompt and answer.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from twinlens.errors import StudyError
from twinlens.measures.density import density_of_levels, instruction_score
from twinlens.studies.analysis.comparisons import Comparison, Question, Record, compare, flat
from twinlens.studies.analysis.profiles import Profile, Profiles
from twinlens.studies.analysis.scoring import Score, Settings, as_score, score_pair
from twinlens.studies.data.cases import Case, Pairing, paired

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Analysis:
    """Everything question 1 asks for, under one choice of settings."""

    settings: Settings
    scores: tuple[Score, ...] = field(repr=False)
    comparisons: tuple[Comparison, ...] = field(repr=False)
    profiles: tuple[Profile, ...] = field(repr=False)
    bootstrap: int
    seed: int

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
        """Tidy tables: scores, groups, tests, profiles; the settings stand in every row."""
        settings = self.settings.record()
        drawn = {"bootstrap_resamples": self.bootstrap, "bootstrap_seed": self.seed}
        return {
            "scores": [{**dataclasses.asdict(score), **settings} for score in self.scores],
            "groups": [
                {**flat(comparison), **drawn, **settings} for comparison in self.comparisons
            ],
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
        """One of the tables of `records`: scores, groups, tests or profiles.

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


def analyse(
    cases: Iterable[Case],
    settings: Settings | None = None,
    *,
    bootstrap: int = 2000,
    seed: int = 0,
) -> Analysis:
    """Scores, comparisons and profiles under one choice of settings.

    Parameters
    ----------
    cases : iterable of Case
        Base and tuned case of each prompt after one another; read once, only numbers are kept.
    settings : Settings, optional
        The paper's by default.
    bootstrap : int
        Resamples for the intervals of effect sizes.
    seed : int
        Of the resampling.
    """
    chosen = settings or Settings()
    profiles = Profiles()
    found: list[Score] = []
    at_equal_length: list[Score] = []
    for pairing in paired(cases):
        found += _score_and_profile(pairing, chosen, profiles)
        at_equal_length += score_pair(pairing, dataclasses.replace(chosen, cut="shorter"))
    return Analysis(
        settings=chosen,
        scores=tuple(found),
        comparisons=tuple(compare(found, at_equal_length, bootstrap=bootstrap, seed=seed)),
        profiles=tuple(profiles.profiles()),
        bootstrap=bootstrap,
        seed=seed,
    )


def _score_and_profile(pairing: Pairing, settings: Settings, profiles: Profiles) -> list[Score]:
    parameters = settings.for_pair(*pairing)
    found = []
    for case in pairing:
        levels = case.levels(parameters.levels)[:, : parameters.answer_cut]
        instruction = settings.instruction(case)
        value = 0.0
        if levels.shape[1]:
            density = density_of_levels(levels, parameters, list(case.scored))
            value = instruction_score(density, list(instruction), parameters.aggregation)
            profiles.add(case, levels, density, parameters.threshold)
        found.append(as_score(case, value, settings))
    return found
