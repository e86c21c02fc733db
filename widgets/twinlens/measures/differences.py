"""Base against tuned: divergences, differences and correlations of arrays.

Correlations are written out, because a first import of scipy.stats takes longer than a chart may.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from twinlens.contract.wire import Array


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
