"""Integrals along a way from 0 to 1, by points of Gauss and Legendre."""

from __future__ import annotations

import numpy as np


def points_on_the_way(count: int) -> list[tuple[float, float]]:
    """Places between 0 and 1 in rising order, and their weights, which add up to 1."""
    nodes, weights = np.polynomial.legendre.leggauss(count)
    return list(zip(((nodes + 1) / 2).tolist(), (weights / 2).tolist(), strict=True))
