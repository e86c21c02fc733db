"""What attention heads look at, and what they write."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import TypeAlias

import numpy as np
import torch
from torch import Tensor
from transformers import PreTrainedModel

from twinlens.compute.models import architectures
from twinlens.compute.passes.capture import Capture
from twinlens.contract.wire import Array
from twinlens.measures.differences import jensen_shannon

#: Bounds what is looked at together in memory.
_NUMBERS_AT_ONCE = 2**22
#: From the patterns [heads, T, T] of a layer to a number for each head and token, [heads, T].
Measure: TypeAlias = Callable[[Tensor], Tensor]


def change(base: Capture, tuned: Capture, common: int) -> Array:
    """Jensen-Shannon divergence of the two models' patterns, bits, shape [common, layers, heads].

    Computed from patterns kept as float16: two equal models give exactly 0. NaN in layers that
    have no heads.
    """
    rows = {}
    for layer in base.attending:
        sides = (_some_heads(of.attention[layer]) for of in (base, tuned))
        pairs = zip(*sides, strict=True)
        parts = [jensen_shannon(*(_rows(part, common) for part in pair)) for pair in pairs]
        rows[layer] = np.concatenate(parts).T
    return in_layers(rows, base)


def measured(capture: Capture, measures: Sequence[Measure]) -> list[Array]:
    """Some measures of all patterns, each [T, layers, heads]; every layer is unpacked once.

    NaN in layers that have no heads.
    """
    layers: list[dict[int, Array]] = [{} for _ in measures]
    for layer in capture.attending:
        heads = _some_heads(capture.attention[layer])
        parts = [[measure(part.float()) for measure in measures] for part in heads]
        for rows, values in zip(layers, zip(*parts, strict=True), strict=True):
            rows[layer] = torch.cat(values).T.numpy()
    return [in_layers(rows, capture) for rows in layers]


def in_layers(rows: Mapping[int, Array], capture: Capture) -> Array:
    """Arrays [T, heads] of some layers as one, [T, layers, heads]; NaN in the others."""
    first = next(iter(rows.values()))
    table = np.full((len(first), len(capture.attention_out), first.shape[1]), np.nan, first.dtype)
    for layer, values in rows.items():
        table[:, layer] = values
    return table


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

    NaN in layers that have no heads.

    Parameters
    ----------
    direction : tensor, shape [hidden]
        Of length 1. Biases, and a norm behind the block where a family has one, are left out.
    """
    rows = {}
    for layer in capture.attending:
        weights = architectures.output_weights(model, layer)
        reads = torch.einsum("hdk,d->hk", weights, direction.to(weights)).float().cpu()
        outputs = capture.heads[layer].reshape(-1, *reads.shape)
        rows[layer] = torch.einsum("thk,hk->th", outputs, reads).numpy()
    return in_layers(rows, capture)


def _rows(patterns: Tensor, common: int) -> Array:
    """Patterns over the common positions, each row summing to 1 again after rounding."""
    rows = patterns[:, :common, :common].double()
    return (rows / rows.sum(dim=-1, keepdim=True)).numpy()
