"""Products of tokens with weights, written where there is room for them."""

from __future__ import annotations

import torch
from torch import Tensor


def mapped(states: Tensor, weight: Tensor, result: Tensor) -> Tensor:
    """States [P, in] times a weight [out, in], written to `result` [P, out]."""
    if len(states) == 1:
        # There is nothing to do but to fetch the weight, which libraries know best how to do.
        torch.mv(weight, states[0], out=result[0])
        return result
    return torch.mm(states, weight.t(), out=result)


def add_mapped(total: Tensor, states: Tensor, weight: Tensor) -> None:
    """Add states [P, in] times a weight [out, in] to `total` [P, out]."""
    if len(states) == 1:
        total[0].addmv_(weight, states[0])
    else:
        total.addmm_(states, weight.t())
