"""Products of tokens with weights, written where there is room for them."""

from __future__ import annotations

import torch
from torch import Tensor


def mapped(states: Tensor, weight: Tensor, result: Tensor) -> Tensor:
    """States [P, in] times a weight [out, in], written to `result` [P, out]."""
    if _are_few(states):
        return result.copy_(_of_few(states, weight))
    return torch.mm(states, weight.t(), out=result)


def add_mapped(total: Tensor, states: Tensor, weight: Tensor) -> None:
    """Add states [P, in] times a weight [out, in] to `total` [P, out]."""
    if _are_few(states):
        total += _of_few(states, weight)
    else:
        total.addmm_(states, weight.t())


def _are_few(states: Tensor) -> bool:
    """Whether a processor does nothing but fetch the weight."""
    return len(states) <= 2 and states.device.type == "cpu" and states.dtype == torch.float32


def _of_few(states: Tensor, weight: Tensor) -> Tensor:
    # With two columns MKL fetches it as fast as memory gives it; with one it is two thirds of that,
    # and with two rows a third.
    pair = states if len(states) == 2 else torch.cat([states, states])
    return torch.mm(weight, pair.t()).t()[: len(states)]
