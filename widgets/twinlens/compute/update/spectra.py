"""How the energy of a difference is spread over its directions."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

#: Singular values above rounding count: noise stays below this times its expected largest one.
_ABOVE_NOISE = 2.0


def ranks(apart: Tensor, noise: float) -> dict[str, Any]:
    """Ranks of a difference in which each number has noise of some mean square.

    Returns
    -------
    dict
        ``rank``, ``effective_rank`` and ``top_share``, as `TensorDiff` has them.
    """
    energies = _energies(apart)
    share = energies / energies.sum().clamp(min=1e-300)
    positive = share[share > 0]
    # The largest singular value of white noise of this shape, of deviation one.
    white = math.sqrt(apart.shape[0]) + math.sqrt(apart.shape[1])
    floor = noise * (_ABOVE_NOISE * white) ** 2
    return {
        "rank": int((energies > max(floor, float(energies.max()) * 1e-10)).sum()),
        "effective_rank": float(torch.exp(-(positive * positive.log()).sum())),
        "top_share": float(share.max()),
    }


def _energies(matrix: Tensor) -> Tensor:
    """Squared singular values, float64."""
    matrix = matrix.double()
    matrix = matrix if matrix.shape[0] <= matrix.shape[1] else matrix.T
    energies: Tensor = torch.linalg.eigvalsh(matrix @ matrix.T)
    return energies.clamp(min=0)
