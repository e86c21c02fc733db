"""Correlation of two lists of numbers, by value and by rank.

Written out, because a first import of scipy.stats takes longer than a chart may.
"""

from __future__ import annotations

import numpy as np

from twinlens.contract.wire import Array


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
