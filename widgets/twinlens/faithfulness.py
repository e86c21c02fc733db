"""How far an estimate can be trusted: its agreement with exact occlusion, for one prompt and model.

Spearman and Pearson correlations are taken per answer token over the scored prompt tokens and
then averaged, so that a token with large effects does not speak for all.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from twinlens.contract.wire import Array

#: The method that stands for the truth.
EXACT = "occlusion"
#: Effects below are as small as the difference between two kinds of rounding, in nats.
NOISE_FLOOR = 0.1
#: An answer token depends on the prompt where some prompt token matters by so much, in nats.
MATTERS = 1.0


@dataclass(frozen=True)
class Faithfulness:
    """Agreement of a method with exact occlusion; None where too little is known.

    Attributes
    ----------
    spearman, pearson : float or None
        Mean correlation over answer tokens, -1 .. 1.
    top1 : float or None
        Share of the answer tokens that depend on the prompt (some scored token matters by 1 nat)
        where the estimate's largest scored token is the exact effect's too.
    above_noise : float or None
        Share of the exact cells whose effect is at least 0.1 nats either way.
    columns, columns_top1 : int
        Answer tokens behind the correlations, and behind `top1`.
    n : int
        Exact cells it is computed on.
    cells : int
        Cells there are: with all of them exact, `n` is as large.
    """

    spearman: float | None
    pearson: float | None
    top1: float | None
    above_noise: float | None
    columns: int
    columns_top1: int
    n: int
    cells: int

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values; ``Faithfulness(**value)`` is the inverse."""
        return dataclasses.asdict(self)


@dataclass(frozen=True)
class DeletionCurve:
    """Loss of the answer's log-probability as prompt tokens are hidden, one after the other.

    A faithful method has `most` far above `least`.

    Attributes
    ----------
    share : list of float [steps + 1]
        Share of the prompt tokens that is hidden, from 0 to 1.
    most, least : list of float [steps + 1]
        Drop in nats, summed over the answer, when those that matter most, or least, by the
        method's effect on the whole answer are hidden first.
    """

    share: list[float]
    most: list[float]
    least: list[float]

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values; ``DeletionCurve(**value)`` is the inverse."""
        return dataclasses.asdict(self)


def faithfulness(
    estimate: npt.ArrayLike, exact: npt.ArrayLike, scored: Sequence[int] | None = None
) -> Faithfulness:
    """Compare an estimate with the exact effects known so far.

    Parameters
    ----------
    estimate : array [N, M]
        In any unit: a column may be scaled by a positive factor.
    exact : array [N, M]
        Drop of log-probability in nats, NaN where it is not known.
    scored : sequence of int, optional
        Prompt tokens that count, all by default.

    Returns
    -------
    Faithfulness
        Columns count towards a correlation if at least three scored cells are exact and neither
        the estimate nor the effect is the same in all of them.
    """
    rows = slice(None) if scored is None else np.asarray(scored, dtype=np.int64)
    guess = np.asarray(estimate, dtype=np.float64)[rows]
    truth = np.asarray(exact, dtype=np.float64)[rows]
    known = np.isfinite(truth) & np.isfinite(guess)
    ranks, lines, hits = [], [], []
    for column in range(truth.shape[1]):
        there = known[:, column]
        a, b = guess[there, column], truth[there, column]
        if len(a) >= 3 and np.ptp(a) > 0 and np.ptp(b) > 0:
            ranks.append(_correlation(_ranks(a), _ranks(b)))
            lines.append(_correlation(a, b))
        if there.all() and len(a) > 1 and b.max() >= MATTERS:
            hits.append(float(np.argmax(a) == np.argmax(b)))
    n = int(known.sum())
    loud = np.abs(truth[known]) >= NOISE_FLOOR
    return Faithfulness(
        spearman=_mean(ranks),
        pearson=_mean(lines),
        top1=_mean(hits),
        above_noise=float(loud.mean()) if n else None,
        columns=len(ranks),
        columns_top1=len(hits),
        n=n,
        cells=int(truth.size),
    )


def _correlation(a: Array, b: Array) -> float:
    x, y = a - a.mean(), b - b.mean()
    scale = float(np.linalg.norm(x) * np.linalg.norm(y))
    return float(np.clip((x * y).sum() / scale, -1, 1)) if scale > 0 else 0.0


def _ranks(values: Array) -> Array:
    """Ranks from 1, the mean rank where values are equal."""
    _, place, counts = np.unique(values, return_inverse=True, return_counts=True)
    return np.asarray((counts.cumsum() - (counts - 1) / 2)[place])


def _mean(values: list[float]) -> float | None:
    return float(np.mean(values)) if values else None
