"""Question 1 of the paper over many prompts: tables 1 and 2, and what they leave out.

`analyse` reads the cases once and returns an `Analysis`: scores per case, means per group,
comparisons (base against tuned; followed against unfollowed) with tests, effect sizes,
corrections, the same at equal answer length and beyond the rest of the prompt, and the profiles
along prompt and answer.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator

import numpy as np

from twinlens.measures.density import density_of_levels
from twinlens.studies.analysis.analysis import Analysis
from twinlens.studies.analysis.comparisons import compare
from twinlens.studies.analysis.exact import Effect, compare_exact, effects_of
from twinlens.studies.analysis.profiles import Profiles
from twinlens.studies.analysis.scoring import (
    Score,
    Settings,
    as_score,
    repeated,
    score_pair,
    span_scores,
)
from twinlens.studies.analysis.sentences import findings
from twinlens.studies.data.cases import Case, Pairing, paired


def analyse(cases: Iterable[Case], settings: Settings | None = None) -> Analysis:
    """Scores, comparisons and profiles under one choice of settings.

    Parameters
    ----------
    cases : iterable of Case
        Base and tuned case of each prompt after one another; read once, only numbers are kept.
    settings : Settings, optional
        The paper's by default.

    Returns
    -------
    Analysis
        Differences are tuned less base; exact effects in nats.

    Raises
    ------
    StudyError
        If a file of a stored study is damaged.

    Examples
    --------
    >>> import twinlens as tl
    >>> prompts = [{"prompt": "Make this sentence negative: The cat swims."}]
    >>> store = tl.study(tl.demo_pair(), prompts, "opposites", template=True, max_new_tokens=12)
    >>> from twinlens.studies import analyse
    >>> [(score.side, score.instruction_length) for score in analyse(store).scores]
    [('base', 9), ('tuned', 9)]
    """
    chosen = settings or Settings()
    profiles = Profiles()
    scores: list[Score] = []
    at_equal_length: list[Score] = []
    effects: list[Effect] = []
    seen: dict[str, None] = {}
    for pairing in paired(_noted(cases, seen)):
        scores += _score_and_profile(pairing, chosen, profiles)
        at_equal_length += score_pair(pairing, dataclasses.replace(chosen, cut="shorter"))
        effects += effects_of(pairing)
    complete = {score.id for score in scores}
    again = repeated(scores)
    left_out = frozenset(again)
    once = [score for score in scores if score.id not in left_out]
    once_cut = [score for score in at_equal_length if score.id not in left_out]
    analysis = Analysis(
        settings=chosen,
        scores=tuple(scores),
        comparisons=tuple(compare(once, once_cut)),
        profiles=tuple(profiles.profiles()),
        effects=tuple(effects),
        exact=tuple(compare_exact([effect for effect in effects if effect.id not in left_out])),
        repeated=again,
        unpaired=tuple(case_id for case_id in seen if case_id not in complete),
    )
    return dataclasses.replace(analysis, found=tuple(findings(analysis, ())))


def _noted(cases: Iterable[Case], seen: dict[str, None]) -> Iterator[Case]:
    for case in cases:
        seen[case.id] = None
        yield case


def _score_and_profile(pairing: Pairing, settings: Settings, profiles: Profiles) -> list[Score]:
    parameters = settings.for_pair(*pairing)
    scores = []
    for case in pairing:
        levels = case.levels(parameters.levels)[:, : parameters.answer_cut]
        density = np.zeros(len(case.prompt_tokens))
        if levels.shape[1]:
            density = density_of_levels(levels, parameters, list(case.scored))
            profiles.add(case, levels, density, parameters.threshold)
        instruction = settings.instruction(case)
        value = span_scores(density, instruction, case.scored, parameters.aggregation)
        scores.append(as_score(case, value, settings))
    return scores
