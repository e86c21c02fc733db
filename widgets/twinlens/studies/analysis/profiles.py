"""Where in the prompt density lies, and how much of the answer rests on the instruction."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from twinlens.contract.words import SIDES, Side
from twinlens.measures.density import FloatArray, sparse
from twinlens.studies.data.cases import Case

PARTS = 10

#: Names of the profiles.
POSITION = "density by position in the prompt"
LONG = "density by position, prompts of 60 tokens or more"
ANSWER = "share of answer tokens driven by the instruction"
MASS = "share of level mass on the instruction"


@dataclass(frozen=True)
class ProfilePoint:
    """One part of a profile.

    Attributes
    ----------
    profile : str
        ``density by position in the prompt`` and so on.
    side : Side
    part : int
        1 .. 10.
    mean : float
    standard_error : float
        sd / sqrt(n) over prompts.
    n : int
        Number of prompts.
    """

    profile: str
    side: Side
    part: int
    mean: float
    standard_error: float
    n: int


@dataclass(frozen=True, eq=False)
class Profile:
    """What one profile of one model is in each prompt.

    Attributes
    ----------
    name : str
    side : Side
    ids : tuple of str
        The prompts that it is about, n of them.
    values : float64 [n, parts]
    """

    name: str
    side: Side
    ids: tuple[str, ...]
    values: FloatArray

    @property
    def points(self) -> list[ProfilePoint]:
        """Mean and spread over the prompts, a tidy row for each part."""
        n = len(self.ids)
        means = self.values.mean(axis=0)
        errors = np.full_like(means, math.nan)
        if n > 1:
            errors = self.values.std(axis=0, ddof=1) / math.sqrt(n)
        return [
            ProfilePoint(self.name, self.side, part, float(mean), float(error), n)
            for part, (mean, error) in enumerate(zip(means, errors, strict=True), start=1)
        ]


class Profiles:
    """Gathers the profiles of cases: of each, ten numbers a profile.

    Position in the prompt: mean relative density in ten equal parts (token n of N is in part
    ``floor(10 n / N)``), over prompts of at least 10 (and of at least 60) tokens that have any
    density. Along the answer: share of answer tokens with an instruction token above the level
    threshold, by tenth of the answer, over answers of at least 10 tokens to prompts of which the
    instruction is only a part.
    """

    def __init__(self) -> None:
        names = (POSITION, LONG, ANSWER, MASS)
        self._by_profile: dict[tuple[str, Side], tuple[list[str], list[FloatArray]]] = {
            (name, side): ([], []) for name in names for side in SIDES
        }

    def add(
        self, case: Case, levels: npt.NDArray[np.int64], density: FloatArray, threshold: int
    ) -> None:
        """Take in one case: its levels [N, M] and its density per prompt token [N]."""
        scored = list(case.scored)
        shown = np.asarray(density[scored])
        if shown.size >= PARTS and shown.max() > 0:
            parts = _part_means(shown)
            self._put(POSITION, case, parts)
            if shown.size >= 60:
                self._put(LONG, case, parts)
        if not case.has_part_instruction or not levels.size:
            return
        sparse_levels = sparse(levels, threshold)
        driven = (sparse_levels[list(case.instruction)] > 0).any(axis=0)
        if driven.size >= PARTS:
            self._put(ANSWER, case, _part_means(np.asarray(driven, dtype=np.float64)))
        mass = sparse_levels[scored].sum()
        if mass > 0:
            share = float(sparse_levels[list(case.instruction)].sum() / mass)
            self._put(MASS, case, np.array([share]))

    def _put(self, name: str, case: Case, values: FloatArray) -> None:
        ids, rows = self._by_profile[name, case.side]
        ids.append(case.id)
        rows.append(values)

    def profiles(self) -> list[Profile]:
        """The profiles that there are cases for."""
        return [
            Profile(name, side, tuple(ids), np.stack(rows))
            for (name, side), (ids, rows) in self._by_profile.items()
            if ids
        ]


def _part_means(values: FloatArray) -> FloatArray:
    part = np.arange(values.size) * PARTS // values.size
    counts = np.bincount(part, minlength=PARTS)
    return np.asarray(np.bincount(part, weights=values, minlength=PARTS) / counts)
