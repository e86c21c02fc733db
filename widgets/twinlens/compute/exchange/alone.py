"""Parts of one model exchanged one by one for the other's: at one position, or at all of them.

Nothing else is replaced with a part, so that what its exchange changes is what goes through it.
Each pass begins at the layer of its part.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from twinlens.compute.exchange.passes import Exchange, compared, rows_of
from twinlens.contract.wire import Array
from twinlens.support.progress import Report


@dataclass(frozen=True)
class Left:
    """What is left of a difference once something is exchanged.

    Attributes
    ----------
    nats : float64 array [..., M]
        Log-probability of the answer tokens.
    kl : float64 array [..., M]
        KL to what the donor predicts, nats.
    """

    nats: Array
    kl: Array


def as_it_is(exchange: Exchange) -> Left:
    """Of the model with nothing exchanged."""
    with torch.no_grad():
        return left_of(exchange, exchange.logits(rows_of(exchange.layout, [[]])), 0)


def of_layers(exchange: Exchange, whole: Left, report: Report | None = None) -> Left:
    """Of every layer's output, attention and feed-forward block, arrays [layers + 1, 3, M].

    Row 0 is the embedding, which is an output only: the other two leave it as it is, `whole`.
    """
    layout, captured = exchange.layout, exchange.captured
    shape = (layout.layers + 1, 3, 1)
    nats, kl = np.tile(whole.nats, shape), np.tile(whole.kl, shape)
    each = range(layout.layers + 1)
    for layer in each:
        # In front of a layer stands the output of the one before it.
        sets: list[Sequence[int]] = [[]]
        if layer < layout.layers:
            heads = layout.head(layer)
            sets += [range(heads, heads + layout.heads), [layout.feed_forward(layer)]]
        entering = exchange.residual(layer).repeat(len(sets), 1, 1)
        entering[0] = exchange.put(entering[:1], captured.residual[layer, exchange.read])[0]
        with torch.no_grad():
            left = left_of(exchange, exchange.later_logits(rows_of(layout, sets), layer, entering))
        # What is predicted earlier stays as it is.
        nats[layer, 0, exchange.earlier :], kl[layer, 0, exchange.earlier :] = (
            left.nats[0],
            left.kl[0],
        )
        if layer < layout.layers:
            nats[layer + 1, 1:, exchange.earlier :] = left.nats[1:]
            kl[layer + 1, 1:, exchange.earlier :] = left.kl[1:]
        if report:
            report(layer + 1, len(each), "each layer exchanged")
    return Left(nats, kl)


def of_heads(exchange: Exchange, layer: int) -> Left:
    """Of every head of a layer, arrays [heads, M]."""
    layout = exchange.layout
    rows = rows_of(layout, [[layout.head(layer, head)] for head in range(layout.heads)])
    with torch.no_grad():
        parts = [left_of(exchange, exchange.logits(some), 0) for some in exchange.batches(rows)]
    return joined(parts)


def joined(parts: Sequence[Left]) -> Left:
    """Of parts one behind the other."""
    return Left(
        *(np.concatenate(rows) for rows in zip(*((p.nats, p.kl) for p in parts), strict=True))
    )


def left_of(exchange: Exchange, logits: Tensor, first: int | None = None) -> Left:
    """Of the answer tokens from one on, by default from those behind the `earlier` ones."""
    first = exchange.earlier if first is None else first
    targets, donor = exchange.reading.targets[first:], exchange.donor_logprobs[first:]
    return Left(*compared(logits, targets, donor))
