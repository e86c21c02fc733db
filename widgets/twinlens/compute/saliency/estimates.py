"""Estimates of occlusion from gradients and patterns, and a baseline.

Layer-wise relevance rules are left out: their use is restricted by a patent.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, TypeAlias, cast

import numpy as np
import torch
from torch import Tensor

from twinlens.compute.models import architectures
from twinlens.compute.passes.by_layer import ByLayer, read_by_layer
from twinlens.compute.passes.conditions import (
    Conditions,
    current,
    hookable,
    patterns_heard,
    under,
)
from twinlens.compute.passes.entry import embeddings
from twinlens.compute.passes.folding import Texts, embed, fold_together, seeds_of
from twinlens.compute.passes.footprint import fits
from twinlens.compute.passes.integrals import points_on_the_way
from twinlens.compute.passes.reading import Reading, Target, log_probability, precise
from twinlens.compute.saliency.gradients import (
    TextsPiece,
    columns_together,
    gradient_columns,
    tables_of,
    text_slopes,
)
from twinlens.compute.saliency.registry import Piece, Wanted, saliency_method
from twinlens.contract.manifest import Method
from twinlens.contract.wire import Array

#: Told a layer, which of the seeds, its pattern and their gradients by it.
Take: TypeAlias = Callable[[int, slice, Tensor, Tensor], None]

#: Points of the path of integrated gradients: they are doubled until the shares add up to the
#: whole change, but for this part of it or so many nats.
PATH_POINTS, MOST_POINTS = 32, 1024
GAP, LEAST = 0.01, 0.001
#: Bounds the gradients of attention patterns in memory.
_NUMBERS_AT_ONCE = 2**24
_MOST_COLUMNS = 8
#: Where those of all layers are there together.
_NUMBERS_OF_ALL = 2**26


@saliency_method(
    Method(
        name="attention_knockout",
        title="Attention knock-out gradient",
        measures="First-order drop of the answer token's log-probability, in nats, when later "
        "tokens cannot attend to the prompt token.",
        source="Sum over layers, heads and queries of dy/ds / (1 - A): the linear part of "
        "occlusion by mask with the softmax renormalised",
        exact=False,
        cost="1 forward and M backward passes",
    )
)
def attention_knockout(reading: Reading, wanted: Wanted) -> Iterator[Piece]:
    """Columns together; of long texts layer by layer."""
    columns = np.flatnonzero(wanted().any(axis=0)).tolist()
    text = _read_with_patterns(reading, columns)
    while batch := [i for i, column in enumerate(columns) if wanted()[:, column].any()]:
        batch = batch[: text.most_seeds]
        drop = precise(text.weights).new_zeros(len(batch), reading.prompt_length, device="cpu")

        def take(_: int, seeds: slice, pattern: Tensor, gradient: Tensor, drop: Any = drop) -> None:
            lost = knockout(pattern, gradient, reading.prompt_length).sum(dim=-2)
            drop[seeds] += lost.to(drop.device)

        for _ in _sweep(text, seeds_of(text.weights, batch), take):
            yield [], slice(None), np.empty((0, reading.answer_length))
        yield slice(None), [columns[i] for i in batch], drop.T.numpy()


def knockout(pattern: Tensor, gradient: Tensor, rows: int) -> Tensor:
    """First-order drop when a key is hidden from all later queries.

    Parameters
    ----------
    pattern : tensor [1, heads, S, S]
        Attention weights A, rows are queries.
    gradient : tensor [..., 1, heads, S, S]
        Derivative g of a target with respect to them.
    rows : int
        Number of keys that are asked for, the first ones.

    Returns
    -------
    tensor [..., heads, rows]
        ``sum over q > i of A_qi (g_qi - sum_k A_qk g_qk) / (1 - A_qi)``. Hiding key i moves its
        weight to the other keys in proportion: to first order that changes the target by the
        negative of a summand.
    """
    some = max(1, _NUMBERS_AT_ONCE // gradient[..., 0, 0, :, :].numel())
    parts = torch.split(pattern[0], some), torch.split(gradient[..., 0, :, :, :], some, dim=-3)
    return torch.cat(
        [_knockout(precise(a), precise(g), rows) for a, g in zip(*parts, strict=True)], dim=-2
    )


def _knockout(a: Tensor, g: Tensor, rows: int) -> Tensor:
    # What a key leaves to the others is lost in rounding where it has nearly all, as sinks do: for
    # the heaviest key the others are added up.
    top = a.argmax(dim=-1, keepdim=True)
    heaviest, others = a.gather(-1, top), a.scatter(-1, top, 0.0)
    rest, by_others = others.sum(dim=-1, keepdim=True), (others * g).sum(dim=-1, keepdim=True)
    top = top.expand(*g.shape[:-1], 1)
    at_top = g.gather(-1, top)
    mean = by_others + heaviest * at_top
    drop = a * (g - mean) / (1 - others)
    # A query that sees one key only has no other keys to turn to: no first-order effect.
    turned = heaviest * (at_top - by_others / rest)
    drop.scatter_(-1, top, turned.where(rest > 0, 0.0))
    return drop[..., :rows].tril(diagonal=-1).sum(dim=-2)


@torch.inference_mode(False)
def knockout_by_head(reading: Reading, columns: Sequence[int] | None = None) -> Array:
    """Knock-out gradient of a sum of answer tokens, before it is summed over heads.

    Parameters
    ----------
    columns : sequence of int, optional
        Answer tokens whose log-probabilities are added up, all by default.

    Returns
    -------
    array [layers, heads, N]
        One backward pass. Summed over layers and heads it is the estimate for the tokens.
    """
    chosen = range(reading.answer_length) if columns is None else columns
    text = _read_with_patterns(reading, list(chosen))
    by_layer: dict[int, Tensor] = {}

    def take(layer: int, _: slice, pattern: Tensor, gradient: Tensor) -> None:
        by_layer[layer] = knockout(pattern, gradient, reading.prompt_length)[0].cpu()

    for _ in _sweep(text, text.weights[None], take):
        pass
    return torch.stack([by_layer[layer] for layer in sorted(by_layer)]).numpy()


@dataclass(frozen=True)
class _Whole:
    """A pass with the graph of all its layers; what it has is as in `ByLayer`."""

    weights: Tensor
    _hidden: Tensor
    _patterns: list[Tensor]

    @property
    def most_seeds(self) -> int:
        numbers = sum(pattern.numel() for pattern in self._patterns)
        return max(1, min(_MOST_COLUMNS, _NUMBERS_OF_ALL // numbers))

    def sweep(self, seeds: Tensor, take: Take) -> Iterator[None]:
        batched = len(seeds) > 1
        gradients = torch.autograd.grad(
            self._hidden,
            self._patterns,
            seeds if batched else seeds[0],
            retain_graph=True,
            is_grads_batched=batched,
        )
        for layer in reversed(range(len(gradients))):
            slopes = gradients[layer] if batched else gradients[layer][None]
            take(layer, slice(0, len(seeds)), self._patterns[layer].detach(), slopes)
        yield


def _read_with_patterns(reading: Reading, columns: list[int]) -> ByLayer | _Whole:
    model = reading.model
    texts = Texts([reading], embed(reading))
    if not fits(model, *texts.embedded.shape[:2]):
        return read_by_layer(texts, log_probability, columns, patterns=True)
    patterns: list[Tensor] = []
    point = texts.embedded.detach().requires_grad_()
    if hookable(model):
        conditions = Conditions(pattern=patterns.append)
        folded = fold_together(texts, log_probability, columns, point, conditions)
    else:
        with patterns_heard(model, patterns.append):
            folded = fold_together(texts, log_probability, columns, point)
    return _Whole(folded.weights, folded.hidden, patterns)


def _sweep(text: ByLayer | _Whole, seeds: Tensor, take: Take) -> Iterator[None]:
    """Tell gradients [seeds, 1, heads, S, S] by the pattern of every layer, the last one first."""
    if isinstance(text, _Whole):
        yield from text.sweep(seeds, take)
        return

    @contextmanager
    def pattern(_: int) -> Iterator[list[Tensor]]:
        patterns: list[Tensor] = []
        model = text.model
        observable = hookable(model)
        with (
            under(replace(current(), pattern=patterns.append))
            if observable
            else patterns_heard(model, patterns.append)
        ):
            yield patterns

    def told(
        layer: int, rows: slice, patterns: Sequence[Tensor], gradients: Sequence[Tensor]
    ) -> None:
        take(layer, rows, patterns[0].detach(), gradients[0])

    at_once = max(1, min(_MOST_COLUMNS, _NUMBERS_AT_ONCE // text.scores))
    for _ in text.backward(seeds, at_once, pattern, told):
        yield


@saliency_method(
    Method(
        name="gradient_norm",
        title="Gradient norm",
        measures="Length of the gradient of the answer token's log-probability with respect to "
        "the prompt token's embedding: how sensitive it is, without a sign.",
        source="Simonyan et al. 2014, Euclidean norm",
        exact=False,
        cost="1 forward and M backward passes",
    ),
    lambda readings: columns_together(readings, log_probability, _norm),
)
def gradient_norm(reading: Reading, wanted: Wanted) -> Iterator[Piece]:
    """A column for every backward pass."""
    return gradient_columns(reading, wanted, log_probability, _norm)


def _norm(gradients: Tensor) -> Tensor:
    return cast(Tensor, torch.linalg.vector_norm(gradients, dim=-1))


def mean_embedding(reading: Reading) -> Tensor:
    """Mean input embedding over the vocabulary, shape [hidden]."""
    model = reading.model
    ids = torch.arange(model.config.vocab_size, device=model.device)
    total = sum(precise(embeddings(model, part)).sum(dim=0) for part in torch.split(ids, 2**13))
    return (cast(Tensor, total) / len(ids)).to(model.dtype)


def integrate(reading: Reading, wanted: Wanted, target: Target) -> Iterator[Piece]:
    """Integrated gradients over the prompt's embeddings, from their mean over the vocabulary.

    (From zero, which is usual, most of the change happens within a millionth of the path in models
    whose blocks begin with a norm.) The points are doubled until the shares of a column add up.
    """
    texts = Texts([reading], embed(reading))
    columns = np.flatnonzero(wanted().any(axis=0)).tolist()
    for done, total in _adding_up(texts, columns, target):
        if done is None:
            yield [], slice(None), np.zeros((0, reading.answer_length))
        else:
            yield slice(None), done, total[0][:, done].cpu().numpy()


@torch.inference_mode(False)
def integrated_together(readings: Sequence[Reading]) -> list[Array]:
    """Tables of `integrate` of texts that are read together."""
    texts = Texts.together(readings)

    def compute(wanted: Wanted) -> Iterator[TextsPiece]:
        columns = np.flatnonzero(wanted().any(axis=0)).tolist()
        for done, total in _adding_up(texts, columns, log_probability):
            if done is not None:
                yield slice(None), done, total[:, :, done]

    return tables_of(texts, log_probability, compute)


def _adding_up(
    texts: Texts, columns: list[int], target: Target
) -> Iterator[tuple[list[int] | None, Tensor]]:
    """Columns whose shares add up, and the shares [B, N, M]; None between two pieces of work."""
    start = mean_embedding(texts.readings[0])
    before = torch.cat([start.expand_as(texts.prompts), texts.answers], dim=1)
    change = _target_values(texts, target, texts.embedded) - _target_values(texts, target, before)
    points = PATH_POINTS
    while columns:
        total = torch.zeros(0, dtype=torch.float32)
        for part in along_path(texts, columns, target, points, start):
            if part is None:
                yield None, total
            else:
                total = part
        gap = (total.sum(dim=1) - change).abs() / (GAP * change.abs()).clamp_min(LEAST)
        largest = gap[:, columns].amax(dim=0).tolist()
        rest = [m for m, excess in zip(columns, largest, strict=True) if excess >= 1]
        if rest and points >= MOST_POINTS:
            warnings.warn(
                f"integrated gradients of answer token {rest[0] + 1} miss the whole change by up "
                f"to {GAP * max(largest):.1%} with {points} points: compare them with occlusion",
                stacklevel=2,
            )
            rest = []
        if done := [m for m in columns if m not in rest]:
            yield done, total
        columns, points = rest, 2 * points


def along_path(
    texts: Texts, columns: list[int], target: Target, points: int, start: Tensor
) -> Iterator[Tensor | None]:
    """Integrated gradients [B, N, M] with a fixed number of Gauss-Legendre points.

    Parameters
    ----------
    start : tensor [hidden]
        Embedding of every prompt token where the path starts.

    Yields
    ------
    Tensor or None
        None between two pieces of work, the result at the end.
    """
    along = texts.prompts - start
    shape = (texts.prompt_length, max(reading.answer_length for reading in texts.readings))
    total = precise(along).new_zeros(len(texts.readings), *shape)
    for t, weight in points_on_the_way(points):
        point = torch.cat([start + t * along, texts.answers], dim=1)
        missing = np.zeros(shape, dtype=bool)
        missing[:, columns] = True
        pieces = text_slopes(
            replace(texts, embedded=point), partial(np.asarray, missing), target, along
        )
        for rows, places, piece in pieces:
            total[:, rows, places] += weight * piece
            missing[rows, places] = False
            yield None
            if not missing.any():
                break
    yield total


def _target_values(texts: Texts, target: Target, embedded: Tensor) -> Tensor:
    """The targets [B, M] of texts with other embeddings; 0 behind the end of an answer."""
    model, conditions = texts.readings[0].model, texts.conditions
    with torch.no_grad(), texts.around(conditions):
        states = texts.states(embedded, conditions)[:, texts.prompt_length - 1 :]
        values = precise(states).new_zeros(states.shape[:2])
        for row, reading, text_states in zip(values, texts.readings, states, strict=True):
            own = list(range(reading.answer_length))
            scores = precise(architectures.scores(model, text_states[: len(own)]))
            row[: len(own)] = target(scores, reading, own)
    return values


@saliency_method(
    Method(
        name="integrated_gradients",
        title="Integrated gradients",
        measures="Share of the prompt token in the change of the answer token's log-probability, "
        "in nats, on the straight way from a prompt of nothing but the mean embedding.",
        source="Sundararajan et al. 2017; the answer is kept; from "
        f"{PATH_POINTS} to {MOST_POINTS} Gauss-Legendre points, so many that the shares of an "
        f"answer token add up to the whole change but for {GAP:.0%}, or {LEAST:g} nats",
        exact=False,
        cost=f"{2 * PATH_POINTS} times those of gradient × input, or more",
    ),
    integrated_together,
)
def integrated_gradients(reading: Reading, wanted: Wanted) -> Iterator[Piece]:
    """Columns as soon as their shares add up: an interrupt loses what was added up so far."""
    return integrate(reading, wanted, log_probability)


def rollout_together(readings: Sequence[Reading]) -> list[Array]:
    """Tables [N, M] of `attention_rollout` of texts that are read together."""
    texts, model = Texts.together(readings), readings[0].model
    length = texts.embedded.shape[1]
    flow = torch.eye(length, device=model.device, dtype=torch.float32)

    def mix(pattern: Tensor) -> None:
        """One layer's at a time: those of all would not fit where texts are long."""
        nonlocal flow
        mixed = precise(pattern).mean(dim=1).to(flow.device)
        flow = (mixed @ flow.to(mixed.dtype) + flow) / 2

    conditions = texts.conditions and replace(texts.conditions, pattern=mix)
    heard = nullcontext() if conditions else patterns_heard(model, mix)
    with torch.no_grad(), texts.around(conditions), heard:
        texts.states(texts.embedded, conditions)
    n = texts.prompt_length
    return [
        table[n - 1 : n - 1 + reading.answer_length, n - reading.prompt_length : n].T.cpu().numpy()
        for table, reading in zip(flow, readings, strict=True)
    ]


@saliency_method(
    Method(
        name="attention_rollout",
        title="Attention rollout (baseline)",
        measures="Share of the prompt token in the attention of all layers multiplied: what is "
        "mixed, not what matters; a baseline.",
        source="Abnar and Zuidema 2020: heads averaged, half of the residual stream kept",
        exact=False,
        cost="1 forward pass",
    ),
    rollout_together,
)
def attention_rollout(reading: Reading, _: Wanted) -> Iterator[Piece]:
    """Everything at once."""
    yield slice(None), slice(None), rollout_together([reading])[0]
