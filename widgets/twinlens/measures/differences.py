"""Base against tuned: divergences, differences and correlations of arrays.

How far an estimate can be trusted is its agreement with exact occlusion, for one prompt and model:
correlations are taken per answer token over the scored prompt tokens and then averaged, so that a
token with large effects does not speak for all. They are written out, because a first import of
scipy.stats takes longer than a chart may.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from twinlens.contract.forms import Faithfulness
from twinlens.contract.wire import Array

#: Effects below are as small as the difference between two kinds of rounding, in nats.
NOISE_FLOOR = 0.1
#: An answer token depends on the prompt where some prompt token matters by so much, in nats.
MATTERS = 1.0


def jensen_shannon(p: npt.ArrayLike, q: npt.ArrayLike) -> Array:
    """Jensen-Shannon divergence in bits along the last axis: 0 the same, 1 nothing in common.

    Parameters
    ----------
    p, q : arrays of one shape [..., n]
        Non-negative rows that sum to 1.

    Returns
    -------
    float array, shape [...]
    """
    first, second = np.asarray(p), np.asarray(q)
    middle = (first + second) / 2

    def relative_entropy(row: Array) -> Array:
        ratio = np.divide(row, middle, out=np.ones_like(middle), where=row > 0)
        return np.asarray((row * np.log2(ratio)).sum(axis=-1))

    divergence = (relative_entropy(first) + relative_entropy(second)) / 2
    return np.asarray(np.clip(divergence, 0.0, 1.0))


def relative_difference(base: npt.ArrayLike, tuned: npt.ArrayLike) -> Array:
    """``||tuned - base|| / mean(||tuned||, ||base||)`` along the last axis, 0 where both vanish."""
    first, second = np.asarray(base), np.asarray(tuned)
    scale = (np.linalg.norm(first, axis=-1) + np.linalg.norm(second, axis=-1)) / 2
    distance = np.linalg.norm(second - first, axis=-1)
    return np.asarray(np.divide(distance, scale, out=np.zeros_like(distance), where=scale > 0))


def pearson(first: Array, second: Array) -> float:
    """Pearson's correlation; 0 where one of them does not vary."""
    x, y = first - first.mean(), second - second.mean()
    scale = float(np.linalg.norm(x) * np.linalg.norm(y))
    return float(np.clip((x * y).sum() / scale, -1, 1)) if scale > 0 else 0.0


def spearman(first: Array, second: Array) -> float:
    """Spearman's rank correlation; 0 where one of them does not vary."""
    return pearson(ranks(first), ranks(second))


def ranks(values: Array) -> Array:
    """Ranks from 1, the mean rank where values are equal."""
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    return np.asarray((counts.cumsum() - (counts - 1) / 2)[inverse])


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
        known_rows = known[:, column]
        a, b = guess[known_rows, column], truth[known_rows, column]
        if len(a) >= 3 and np.ptp(a) > 0 and np.ptp(b) > 0:
            ranks.append(spearman(a, b))
            lines.append(pearson(a, b))
        if known_rows.all() and len(a) > 1 and b.max() >= MATTERS:
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


def _mean(values: list[float]) -> float | None:
    return float(np.mean(values)) if values else None
