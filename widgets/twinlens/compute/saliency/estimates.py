"""Estimates of occlusion from gradients and patterns, and a baseline.

Layer-wise relevance rules are left out: their use is restricted by a patent.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor

from twinlens.compute.models import architectures
from twinlens.compute.passes.by_layer import ByLayer, read_by_layer
from twinlens.compute.passes.conditions import current, each_pattern, hookable, observed, under
from twinlens.compute.passes.folding import Texts, embed
from twinlens.compute.passes.reading import Reading, precise
from twinlens.compute.passes.targets import Target, log_probability
from twinlens.compute.saliency.gradients import gradient_columns, slopes
from twinlens.compute.saliency.registry import Piece, Wanted, saliency_method
from twinlens.contract.manifest import Method
from twinlens.contract.wire import Array
from twinlens.errors import UnsupportedArchitectureError

#: Points of the path of integrated gradients.
PATH_POINTS = 16
#: Bounds the gradients of attention patterns in memory.
_NUMBERS_AT_ONCE = 2**24
_MOST_COLUMNS = 8


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
    """Columns together, layer by layer."""
    text, columns = _read_with_patterns(reading, np.flatnonzero(wanted().any(axis=0)).tolist())
    while batch := [i for i, column in enumerate(columns) if wanted()[:, column].any()]:
        batch = batch[: text.most_seeds]
        drop = precise(text.weights).new_zeros(len(batch), reading.prompt_length, device="cpu")

        def take(_: int, seeds: slice, pattern: Tensor, gradient: Tensor, drop: Any = drop) -> None:
            found = knockout(pattern, gradient, reading.prompt_length).sum(dim=-2)
            drop[seeds] += found.to(drop.device)

        for _ in _sweep(text, text.seeds(batch), take):
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
    mean = (a * g).sum(dim=-1, keepdim=True)
    # A query that sees one key only has no other keys to turn to: no first-order effect.
    rest = (1 - a[..., :rows]).clamp_min(1e-6)
    drop = a[..., :rows] * (g[..., :rows] - mean) / rest
    return drop.tril(diagonal=-1).sum(dim=-2)


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
    text, _ = _read_with_patterns(reading, list(chosen))
    by_layer: dict[int, Tensor] = {}

    def take(layer: int, _: slice, pattern: Tensor, gradient: Tensor) -> None:
        by_layer[layer] = knockout(pattern, gradient, reading.prompt_length)[0].cpu()

    for _ in _sweep(text, text.weights[None], take):
        pass
    return torch.stack([by_layer[layer] for layer in sorted(by_layer)]).numpy()


def _read_with_patterns(reading: Reading, columns: list[int]) -> tuple[ByLayer, list[int]]:
    model = reading.model
    if not hookable(model):
        raise UnsupportedArchitectureError(
            f"cannot be computed: attention patterns of {model.config.model_type!r} models cannot "
            "be reached; use gradient × input or occlusion by replacement instead"
        )
    texts = Texts([reading], embed(reading))
    return read_by_layer(texts, log_probability, columns, patterns=True), columns


def _sweep(
    text: ByLayer, seeds: Tensor, take: Callable[[int, slice, Tensor, Tensor], None]
) -> Iterator[None]:
    """Tell gradients [seeds, 1, heads, S, S] by the pattern of every layer, the last one first."""

    @contextmanager
    def pattern(_: int) -> Iterator[list[Tensor]]:
        patterns: list[Tensor] = []
        with under(replace(current(), patterns=patterns)):
            yield patterns

    def told(layer: int, rows: slice, patterns: Sequence[Tensor], found: Sequence[Tensor]) -> None:
        take(layer, rows, patterns[0].detach(), found[0])

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
    )
)
def gradient_norm(reading: Reading, wanted: Wanted) -> Iterator[Piece]:
    """A column for every backward pass."""
    return gradient_columns(reading, wanted, log_probability, lambda g: g.norm(dim=-1))


@saliency_method(
    Method(
        name="integrated_gradients",
        title="Integrated gradients",
        measures="Share of the prompt token in the change of the answer token's log-probability, "
        "in nats, on the straight way from a prompt of nothing but the mean embedding.",
        source="Sundararajan et al. 2017; the answer is kept, so the shares add up to the whole "
        f"change; {PATH_POINTS} Gauss-Legendre points",
        exact=False,
        cost=f"{PATH_POINTS} times those of gradient × input",
    )
)
def integrated_gradients(reading: Reading, wanted: Wanted) -> Iterator[Piece]:
    """All wanted columns at the end: an interrupt loses what was added up so far."""
    return integrate(reading, wanted, log_probability)


def mean_embedding(reading: Reading) -> Tensor:
    """Mean input embedding over the vocabulary, shape [hidden]."""
    module = reading.model.get_input_embeddings()
    ids = torch.arange(reading.model.config.vocab_size, device=reading.model.device)
    with torch.no_grad():
        total = sum(precise(module(part)).sum(dim=0) for part in torch.split(ids, 2**13))
    return (cast(Tensor, total) / len(ids)).to(reading.model.dtype)


def integrate(
    reading: Reading,
    wanted: Wanted,
    target: Target,
    points: int = PATH_POINTS,
    baseline: Tensor | None = None,
) -> Iterator[Piece]:
    """Integrated gradients over the prompt's embeddings.

    Parameters
    ----------
    points : int
        Gauss-Legendre points on the path.
    baseline : tensor [hidden], optional
        Embedding of every prompt token where the path starts: by default the mean over the
        vocabulary. (Zero, which is usual, is nearly a singular point of models whose blocks begin
        with a norm: most of the change happens within a millionth of the path.)
    """
    text, n = embed(reading), reading.prompt_length
    start = mean_embedding(reading) if baseline is None else baseline
    along = text[0, :n] - start
    columns = np.flatnonzero(wanted().any(axis=0)).tolist()
    total = np.zeros((n, reading.answer_length), dtype=np.float64)
    nodes, weights = np.polynomial.legendre.leggauss(points)
    nodes, weights = (nodes + 1) / 2, weights / 2
    for t, weight in zip(nodes.tolist(), weights.tolist(), strict=True):
        point = text.clone()
        point[:, :n] = start + t * along
        missing = np.zeros(total.shape, dtype=bool)
        missing[:, columns] = True
        for rows, places, piece in slopes(
            reading, partial(np.asarray, missing), target, at=point, along=along
        ):
            total[rows, places] += weight * piece
            missing[rows, places] = False
            yield [], slice(None), total[:0]
            if not missing.any():
                break
    yield slice(None), columns, total[:, columns]


@saliency_method(
    Method(
        name="attention_rollout",
        title="Attention rollout (baseline)",
        measures="Share of the prompt token in the attention of all layers multiplied: what is "
        "mixed, not what matters; a baseline.",
        source="Abnar and Zuidema 2020: heads averaged, half of the residual stream kept",
        exact=False,
        cost="1 forward pass",
    )
)
def attention_rollout(reading: Reading, _: Wanted) -> Iterator[Piece]:
    """Everything at once; of the patterns one layer's at a time."""
    model, layers = reading.model, 0
    length = len(reading.ids) - 1
    flow = torch.eye(length, device=model.device, dtype=torch.float32)

    def mix(weights: Tensor) -> None:
        nonlocal flow, layers
        mixed = precise(weights)[0].mean(dim=0).to(flow)
        flow, layers = (mixed @ flow + flow) / 2, layers + 1

    if hookable(model):
        token = each_pattern.set(mix)
        try:
            with torch.no_grad(), observed(model):
                architectures.body(model)(reading.read, use_cache=False)
        finally:
            each_pattern.reset(token)
    if layers != len(architectures.layers(model)):
        raise UnsupportedArchitectureError(
            f"cannot be computed: attention patterns of {model.config.model_type!r} models cannot "
            "be reached"
        )
    yield slice(None), slice(None), flow[reading.positions, : reading.prompt_length].T.cpu().numpy()
