"""Parts of one model exchanged one by one for the other's: at one position, or at all of them.

Nothing else is replaced with a part, so that what its exchange changes is what goes through it.
Each pass begins at the layer of its part. Of a neuron its activation and its value vector are
exchanged; which of a layer's neurons are worth a pass is estimated for all at once: gradients of
what is left of the difference, integrated while the layer's feed-forward block becomes the other
model's.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from twinlens.compute.exchange.passes import STEPS, Exchange, compared, divergence, rows_of
from twinlens.compute.models import architectures
from twinlens.compute.models.derivatives import check_differentiable
from twinlens.compute.passes.integrals import points_on_the_way
from twinlens.contract.wire import Array
from twinlens.support.progress import Report

#: Neurons of a layer that are measured, those of largest estimate.
MEASURED = 12


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
            logits = exchange.later_logits(rows_of(layout, sets), {layer: entering})
            left = left_of(exchange, logits)
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


def of_neurons(exchange: Exchange, layer: int, neurons: Sequence[int]) -> Left:
    """Of some neurons of a layer, each alone, arrays [neurons, M].

    Raises
    ------
    UnsupportedArchitectureError
        If the feed-forward layers are mixtures of experts.
    """
    chosen = torch.tensor(neurons)
    vectors, their_vectors = (part[chosen] for part in _value_vectors(exchange, layer))
    theirs = exchange.captured.neurons[layer][exchange.read][:, chosen]  # [S, neurons]
    parts, first = [], 0
    for rows in exchange.batches(rows_of(exchange.layout, [[]] * len(chosen))):
        some = slice(first, first := first + len(rows))
        ids = chosen[some]

        def written(given: Tensor, output: Tensor, ids: Tensor = ids, some: slice = some) -> Tensor:
            own = output.reshape(len(ids), -1, output.shape[-1])
            active = given.reshape(*own.shape[:2], -1)
            mine = active[torch.arange(len(ids)), :, ids, None] * vectors[some, None].to(own)
            added = theirs[:, some].t()[..., None].to(own) * their_vectors[some, None].to(own)
            return exchange.put(own, own + added - mine).reshape(output.shape)

        begins = {layer: exchange.residual(layer).expand(len(rows), -1, -1)}
        with torch.no_grad(), _behind_block(exchange, layer, written):
            parts.append(left_of(exchange, exchange.logits(rows, begins), 0))
    return joined(parts)


def likely_neurons(exchange: Exchange, layer: int, answer_token: int | None) -> list[int]:
    """Neurons whose exchange should change the KL most, at most `MEASURED`, most first.

    Parameters
    ----------
    answer_token : int or None
        By default the sum over the answer.

    Raises
    ------
    NotDifferentiableError
        If gradients do not pass through weights as they are stored.
    UnsupportedArchitectureError
        If the feed-forward layers are mixtures of experts.
    """
    if exchange.own is None:
        raise ValueError("what the model itself computed is not known")
    vectors, their_vectors = _value_vectors(exchange, layer)
    slope = _integrated_gradient(exchange, layer, answer_token)
    taken = torch.zeros(len(vectors))
    for sign, captured, written in (
        (1, exchange.own, vectors),
        (-1, exchange.captured, their_vectors),
    ):
        active = captured.neurons[layer][exchange.read].float()
        taken += sign * (active * (slope.to(written) @ written.t()).float().cpu()).sum(dim=0)
    return taken.abs().topk(min(MEASURED, len(taken))).indices.tolist()


@torch.inference_mode(False)
def _integrated_gradient(exchange: Exchange, layer: int, answer_token: int | None) -> Tensor:
    """Of KL(exchanged || donor's) by the block's output, mean over the way, float32 [S, hidden]."""
    check_differentiable(exchange.model)
    gates = rows_of(exchange.layout, [[exchange.layout.feed_forward(layer)]])
    outputs: list[Tensor] = []

    def followed(_: Tensor, output: Tensor) -> Tensor:
        outputs.append(output.detach().requires_grad_())
        return outputs[-1]

    begins = {layer: exchange.residual(layer)}
    total = torch.zeros(())
    for point, weight in points_on_the_way(STEPS):
        with torch.enable_grad(), _behind_block(exchange, layer, followed):
            logprobs = exchange.logits(gates * point, begins).double().log_softmax(dim=-1)
            apart = divergence(logprobs, exchange.donor_logprobs)[0]
            target = apart.sum() if answer_token is None else apart[answer_token]
        (slope,) = torch.autograd.grad(target, outputs[-1])
        # By the model's own output, of which so much is there.
        total = total + slope.reshape(-1, slope.shape[-1]).float().cpu() * (weight / (1 - point))
    return exchange.put(torch.zeros_like(total)[None], total)[0]


def _value_vectors(exchange: Exchange, layer: int) -> tuple[Tensor, Tensor]:
    """Of the model and of the donor, [intermediate, hidden]."""
    for model in (exchange.model, exchange.donor):
        architectures.check_neurons(model.config)
    with torch.no_grad():
        with exchange.donor_guard:
            theirs = architectures.value_vectors(exchange.donor, layer)
        with exchange.guard:
            return architectures.value_vectors(exchange.model, layer), theirs


@contextmanager
def _behind_block(
    exchange: Exchange, layer: int, change: Callable[[Tensor, Tensor], Tensor]
) -> Iterator[None]:
    """What a feed-forward block was given and gives, changed; in no other thread's passes."""

    def hook(_: Any, given: tuple[Tensor, ...], output: Tensor) -> Tensor:
        return change(given[0], output)

    out = architectures.feed_forward_out(exchange.model, layer)
    with exchange.guard, out.register_forward_hook(hook):
        yield
