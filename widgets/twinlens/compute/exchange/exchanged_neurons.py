"""Neurons of one model exchanged for the other's: each alone, its activation and its value vector.

Which of a layer's neurons are worth a pass is estimated for all at once: gradients of what is left
of the difference, integrated while the layer's feed-forward block becomes the other model's.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from twinlens.compute.exchange.alone import Left, joined, left_of
from twinlens.compute.exchange.passes import Exchange, divergence, rows_of
from twinlens.compute.exchange.path import points_on_the_way
from twinlens.compute.models import architectures
from twinlens.compute.models.derivatives import check_differentiable

#: Neurons of a layer that are measured, those of largest estimate.
MEASURED = 12


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

        with torch.no_grad(), _behind_block(exchange, layer, written):
            parts.append(left_of(exchange, exchange.logits(rows, layer), 0))
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

    total = torch.zeros(())
    for point, weight in points_on_the_way():
        with torch.enable_grad(), _behind_block(exchange, layer, followed):
            logprobs = exchange.logits(gates * point, layer).double().log_softmax(dim=-1)
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

    with exchange.guard:
        handle = architectures.feed_forward_out(exchange.model, layer).register_forward_hook(hook)
        try:
            yield
        finally:
            handle.remove()
