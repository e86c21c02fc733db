"""Where in the prompt density lies, and how much of the answer rests on the instruction."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from twinlens.density import sparse
from twinlens.schema import SIDES, Side
from twinlens.studies.cases import Case

PARTS = 10


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


class Profiles:
    """Running means over cases; nothing of a case is kept.

    Position in the prompt: mean relative density in ten equal parts (token n of N is in part
    ``floor(10 n / N)``), over prompts of at least 10 (and of at least 60) tokens that have any
    density. Along the answer: share of answer tokens with an instruction token above the level
    threshold, by tenth of the answer, over answers of at least 10 tokens to prompts of which the
    instruction is only a part.
    """

    POSITION = "density by position in the prompt"
    LONG = "density by position, prompts of 60 tokens or more"
    ANSWER = "share of answer tokens driven by the instruction"
    MASS = "share of level mass on the instruction"

    def __init__(self) -> None:
        names = (self.POSITION, self.LONG, self.ANSWER, self.MASS)
        self._sums = {(name, side): _RunningMean() for name in names for side in SIDES}

    def add(
        self,
        case: Case,
        levels: npt.NDArray[np.int64],
        density: npt.NDArray[np.float64],
        threshold: int,
    ) -> None:
        """Take in one case: its levels [N, M] and its density per prompt token [N]."""
        scored = list(case.scored)
        shown = np.asarray(density[scored])
        if shown.size >= PARTS and shown.max() > 0:
            parts = _part_means(shown)
            self._sums[self.POSITION, case.side].add(parts)
            if shown.size >= 60:
                self._sums[self.LONG, case.side].add(parts)
        if not case.has_part_instruction or not levels.size:
            return
        kept = sparse(levels, threshold)
        driven = (kept[list(case.instruction)] > 0).any(axis=0)
        if driven.size >= PARTS:
            self._sums[self.ANSWER, case.side].add(
                _part_means(np.asarray(driven, dtype=np.float64))
            )
        mass = kept[scored].sum()
        if mass > 0:
            share = float(kept[list(case.instruction)].sum() / mass)
            self._sums[self.MASS, case.side].add(np.array([share]))

    def points(self) -> list[ProfilePoint]:
        """The profiles as tidy rows."""
        return [
            ProfilePoint(name, side, part, mean, error, running.n)
            for (name, side), running in self._sums.items()
            for part, mean, error in running.rows()
        ]


def _part_means(values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    part = np.arange(values.size) * PARTS // values.size
    counts = np.bincount(part, minlength=PARTS)
    return np.asarray(np.bincount(part, weights=values, minlength=PARTS) / counts)


class _RunningMean:
    """Mean and spread of vectors without keeping them (Welford)."""

    def __init__(self) -> None:
        self.n = 0
        self._mean: npt.NDArray[np.float64] = np.zeros(0)
        self._square: npt.NDArray[np.float64] = np.zeros(0)

    def add(self, values: npt.NDArray[np.float64]) -> None:
        if self.n == 0:
            self._mean, self._square = np.zeros_like(values), np.zeros_like(values)
        self.n += 1
        step = values - self._mean
        self._mean = self._mean + step / self.n
        self._square = self._square + step * (values - self._mean)

    def rows(self) -> list[tuple[int, float, float]]:
        if self.n == 0:
            return []
        spread = np.sqrt(self._square / (self.n - 1)) if self.n > 1 else self._square + math.nan
        errors = spread / math.sqrt(self.n)
        return [
            (part, float(mean), float(error))
            for part, (mean, error) in enumerate(zip(self._mean, errors, strict=True), start=1)
        ]
