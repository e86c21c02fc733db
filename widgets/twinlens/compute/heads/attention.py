"""What attention heads look at, and what they write."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from twinlens.compute.models import architectures
from twinlens.compute.passes.capture import Capture
from twinlens.contract.wire import Array
from twinlens.measures.differences import jensen_shannon

if TYPE_CHECKING:
    from collections.abc import Sequence

    from transformers import PreTrainedModel


def change(base: Capture, tuned: Capture, common: int) -> Array:
    """Jensen-Shannon divergence of the two models' patterns, bits, shape [common, layers, heads].

    Computed from patterns kept as float16: two equal models give exactly 0.
    """
    rows = [
        jensen_shannon(*(_rows(side.attention[layer], common) for side in (base, tuned)))
        for layer in range(len(base.attention))
    ]
    return np.asarray(np.stack(rows).transpose(2, 0, 1))


def to_positions(of: Capture, positions: Sequence[int]) -> Array:
    """Attention from every token to some positions together, shape [T, layers, heads]."""
    shares = [layer[..., list(positions)].float().sum(dim=-1) for layer in of.attention]
    return torch.stack(shares).permute(2, 0, 1).numpy()


def received(of: Capture, prompt_length: int) -> Array:
    """Mean attention of the answer's reading positions to prompt tokens, [N, layers, heads]."""
    rows = slice(prompt_length - 1, -1)
    means = [layer[:, rows, :prompt_length].float().mean(dim=1) for layer in of.attention]
    return torch.stack(means).permute(2, 0, 1).numpy()


def previous(of: Capture) -> Array:
    """Attention from every token to the one before, shape [T, layers, heads]; 0 for the first."""
    below = [layer.diagonal(offset=-1, dim1=-2, dim2=-1).float() for layer in of.attention]
    return torch.nn.functional.pad(torch.stack(below), (1, 0)).permute(2, 0, 1).numpy()


def entropy(of: Capture) -> Array:
    """Entropy of every row of attention, bits, shape [T, layers, heads].

    0 where a query looks at one token only, log2(t + 1) where query t looks at all alike.
    """
    entropies = []
    for layer in of.attention:
        rows = layer.float()
        rows = rows / rows.sum(dim=-1, keepdim=True)
        entropies.append(torch.xlogy(rows, rows).sum(dim=-1) / -math.log(2))
    return torch.stack(entropies).abs().permute(2, 0, 1).numpy()


def write(of: Capture, model: PreTrainedModel, direction: Tensor) -> Array:
    """Output of every head along a direction of the residual stream, shape [T, layers, heads].

    Parameters
    ----------
    direction : tensor, shape [hidden]
        Of length 1. Biases, and a norm behind the block where a family has one, are left out.
    """
    result = []
    for layer, outputs in enumerate(of.heads):
        weights = architectures.output_weights(model, layer)
        reads = torch.einsum("hdk,d->hk", weights, direction.to(weights)).float().cpu()
        result.append(torch.einsum("thk,hk->th", outputs.unflatten(-1, reads.shape), reads))
    return torch.stack(result, dim=1).numpy()


def _rows(patterns: Tensor, common: int) -> Array:
    """Patterns over the common positions, each row summing to 1 again after rounding."""
    rows = patterns[:, :common, :common].double()
    return (rows / rows.sum(dim=-1, keepdim=True)).numpy()
