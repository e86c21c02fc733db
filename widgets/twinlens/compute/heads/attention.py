"""What attention heads look at, and what they write."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
import torch
from torch import Tensor

from twinlens.compute.models import architectures
from twinlens.compute.passes.capture import Capture
from twinlens.contract.wire import Array
from twinlens.measures.differences import jensen_shannon

if TYPE_CHECKING:
    from transformers import PreTrainedModel


#: Bounds what is looked at together in memory.
_NUMBERS_AT_ONCE = 2**22
#: From the patterns [heads, T, T] of a layer to a number for each head and token, [heads, T].
Measure: TypeAlias = Callable[[Tensor], Tensor]


def change(base: Capture, tuned: Capture, common: int) -> Array:
    """Jensen-Shannon divergence of the two models' patterns, bits, shape [common, layers, heads].

    Computed from patterns kept as float16: two equal models give exactly 0.
    """
    rows = []
    for before, after in zip(base.attention, tuned.attention, strict=True):
        pairs = zip(_some_heads(before), _some_heads(after), strict=True)
        parts = [jensen_shannon(*(_rows(part, common) for part in pair)) for pair in pairs]
        rows.append(np.concatenate(parts))
    return np.asarray(np.stack(rows).transpose(2, 0, 1))


def measured(capture: Capture, measures: Sequence[Measure]) -> list[Array]:
    """Some measures of all patterns, each [T, layers, heads]; every layer is unpacked once."""
    layers = []
    for layer in capture.attention:
        parts = [[measure(part.float()) for measure in measures] for part in _some_heads(layer)]
        layers.append([torch.cat(heads) for heads in zip(*parts, strict=True)])
    return [torch.stack(rows).permute(2, 0, 1).numpy() for rows in zip(*layers, strict=True)]


def _some_heads(layer: Tensor) -> Sequence[Tensor]:
    """Patterns [H, T, T] of a layer, some heads at a time."""
    return torch.split(layer, max(1, _NUMBERS_AT_ONCE // layer[0].numel()))


def to_positions(positions: Sequence[int]) -> Measure:
    """Attention from every token to some positions together."""
    return lambda patterns: patterns[..., list(positions)].sum(dim=-1)


def received(prompt_length: int) -> Measure:
    """Mean attention to prompt tokens from where the answer is predicted; N of them, not T."""
    rows = slice(prompt_length - 1, -1)
    return lambda patterns: patterns[:, rows, :prompt_length].mean(dim=1)


def previous(patterns: Tensor) -> Tensor:
    """Attention from every token to the one before; 0 for the first."""
    below = patterns.diagonal(offset=-1, dim1=-2, dim2=-1)
    return torch.nn.functional.pad(below, (1, 0))


def entropy(patterns: Tensor) -> Tensor:
    """Entropy of every row of attention, bits.

    0 where a query looks at one token only, log2(t + 1) where query t looks at all alike.
    """
    rows = patterns / patterns.sum(dim=-1, keepdim=True)
    return (torch.xlogy(rows, rows).sum(dim=-1) / -math.log(2)).abs()


def write(capture: Capture, model: PreTrainedModel, direction: Tensor) -> Array:
    """Output of every head along a direction of the residual stream, shape [T, layers, heads].

    Parameters
    ----------
    direction : tensor, shape [hidden]
        Of length 1. Biases, and a norm behind the block where a family has one, are left out.
    """
    result = []
    for layer, outputs in enumerate(capture.heads):
        weights = architectures.output_weights(model, layer)
        reads = torch.einsum("hdk,d->hk", weights, direction.to(weights)).float().cpu()
        result.append(torch.einsum("thk,hk->th", outputs.unflatten(-1, reads.shape), reads))
    return torch.stack(result, dim=1).numpy()


def _rows(patterns: Tensor, common: int) -> Array:
    """Patterns over the common positions, each row summing to 1 again after rounding."""
    rows = patterns[:, :common, :common].double()
    return (rows / rows.sum(dim=-1, keepdim=True)).numpy()
