"""Estimates of occlusion from gradients and patterns, and a baseline.

Layer-wise relevance rules are left out: their use is restricted by a patent.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from typing import cast

import numpy as np
import torch
from torch import Tensor

from twinlens.compute.models import architectures
from twinlens.compute.passes.conditions import Conditions, hookable, observed
from twinlens.compute.passes.folding import Folded, embed, fold
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
_NUMBERS_AT_ONCE = 2**26
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
    """A column for every backward pass, some together."""
    columns = np.flatnonzero(wanted().any(axis=0)).tolist()
    folded, patterns = _fold_with_patterns(reading, columns)
    numbers = sum(pattern.numel() for pattern in patterns)
    size = max(1, min(_MOST_COLUMNS, _NUMBERS_AT_ONCE // numbers))
    while batch := [i for i, column in enumerate(columns) if wanted()[:, column].any()][:size]:
        seeds = torch.zeros_like(folded.hidden).repeat(len(batch), 1, 1)
        seeds[range(len(batch)), batch] = folded.weights[batch]
        drop = sum(
            knockout(pattern, gradient, reading.prompt_length).sum(dim=-2)
            for pattern, gradient in _pattern_gradients(folded, patterns, seeds)
        )
        yield slice(None), [columns[i] for i in batch], cast(Tensor, drop).T.cpu().numpy()


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
    a, g = precise(pattern)[0], precise(gradient)[..., 0, :, :, :]
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
    folded, patterns = _fold_with_patterns(reading, list(chosen))
    pairs = _pattern_gradients(folded, patterns, folded.weights[None])
    layers = [knockout(pattern, g, reading.prompt_length)[0] for pattern, g in pairs]
    return torch.stack(layers).cpu().numpy()


def _fold_with_patterns(reading: Reading, columns: list[int]) -> tuple[Folded, list[Tensor]]:
    model = reading.model
    patterns: list[Tensor] = []
    if hookable(model):
        point = embed(reading).detach().requires_grad_()
        folded = fold(reading, log_probability, columns, point, Conditions(patterns=patterns))
    if not patterns:
        raise UnsupportedArchitectureError(
            f"cannot be computed: attention patterns of {model.config.model_type!r} models cannot "
            "be reached; use gradient × input or occlusion by replacement instead"
        )
    return folded, patterns


def _pattern_gradients(
    folded: Folded, patterns: list[Tensor], seeds: Tensor
) -> Iterator[tuple[Tensor, Tensor]]:
    """Every layer's pattern with its gradients [seeds, 1, heads, S, S]."""
    gradients = torch.autograd.grad(
        folded.hidden, patterns, seeds, retain_graph=True, is_grads_batched=True
    )
    return zip((pattern.detach() for pattern in patterns), gradients, strict=True)


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
    """Everything at once."""
    model = reading.model
    patterns: list[Tensor] = []
    if hookable(model):
        with torch.no_grad(), observed(model, Conditions(patterns=patterns)):
            architectures.body(model)(reading.read, use_cache=False)
    if len(patterns) != len(architectures.layers(model)):
        raise UnsupportedArchitectureError(
            f"cannot be computed: attention patterns of {model.config.model_type!r} models cannot "
            "be reached"
        )
    flow = torch.eye(patterns[0].shape[-1], device=patterns[0].device)
    for pattern in patterns:
        mixed = precise(pattern)[0].mean(dim=0).to(flow.dtype)
        flow = (mixed @ flow + flow) / 2
    yield slice(None), slice(None), flow[reading.positions, : reading.prompt_length].T.cpu().numpy()
