"""How far the circuits of attention heads moved in weight space, without running the models.

The query-key circuit ``W_QK = W_Q^T W_K`` says what a head looks for, the value-output circuit
``W_OV = W_O W_V`` what it moves (Elhage et al. 2021). Both are hidden x hidden but of rank
head_dim, and everything here follows from head_dim x head_dim products: with factors
``A = P^T R``, ``<A, A'> = tr(A^T A') = sum((P P'^T) * (R R'^T))``. Rotary position (this is the
circuit at equal positions), biases, norms of queries, keys and values, and gates of what heads
give are left out.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from twinlens.compute.models.weights import HeldWeights, LayerWeights, WeightSource, weights_of
from twinlens.contract.wire import Array
from twinlens.errors import PairMismatchError
from twinlens.support.progress import Report
from twinlens.traces.frames import DataFrame, frame_of


@dataclass(frozen=True)
class CircuitChange:
    """Change of every head's circuits from base to tuned, float64 arrays of shape [layers, heads].

    Not a number where a circuit of the base model is zero, and in layers that have no heads.

    Attributes
    ----------
    qk_difference, ov_difference : array
        Frobenius norm of the difference divided by that of the base circuit; 0 is no change.
    qk_cosine, ov_cosine : array
        Cosine similarity of the two circuits, taken as vectors; 1 is no change of direction.
    norm_folded : bool
        Whether the weight of the norm in front of the attention block is part of the circuits.
    """

    qk_difference: Array = field(repr=False)
    qk_cosine: Array = field(repr=False)
    ov_difference: Array = field(repr=False)
    ov_cosine: Array = field(repr=False)
    norm_folded: bool

    def to_frame(self) -> DataFrame:
        """Tidy table with one row per head."""
        layers, heads = np.indices(self.qk_difference.shape)
        return frame_of(
            {
                "layer": layers.ravel(),
                "head": heads.ravel(),
                "qk_difference": self.qk_difference.ravel(),
                "qk_cosine": self.qk_cosine.ravel(),
                "ov_difference": self.ov_difference.ravel(),
                "ov_cosine": self.ov_cosine.ravel(),
            }
        )


def circuit_change(
    base: WeightSource | HeldWeights,
    tuned: WeightSource | HeldWeights,
    *,
    fold_norm: bool = True,
    report: Report | None = None,
) -> CircuitChange:
    """Compare the circuits of every head of two models, layer by layer.

    Parameters
    ----------
    base, tuned : loaded model, folder, safetensors file, Weights or HeldWeights
    fold_norm : bool
        Multiply query, key and value weights by the weight of the norm in front of them, which
        belongs to what a head reads.
    report : callable, optional
        Told the layers done.

    Raises
    ------
    PairMismatchError
        If layers, heads or sizes differ.
    ModelLoadError, UnsupportedArchitectureError
        If a layer cannot be read.
    """
    sides = [side if isinstance(side, HeldWeights) else weights_of(side) for side in (base, tuned)]
    layers = sides[0].sizes.layers
    if layers != sides[1].sizes.layers:
        raise PairMismatchError(
            f"the heads cannot be compared because {sides[0].name!r} has {layers} layers and "
            f"{sides[1].name!r} has {sides[1].sizes.layers}"
        )
    columns = np.full((4, layers, sides[0].sizes.heads), np.nan)
    for layer in sides[0].attending:
        if report is not None:
            report(layer, layers, f"weights of the heads, layer {layer}")
        read = [weights.layer(layer) for weights in sides]
        if read[0].query.shape != read[1].query.shape or read[0].key.shape != read[1].key.shape:
            raise PairMismatchError(
                f"the heads of layer {layer} cannot be compared because their shapes differ: "
                f"{tuple(read[0].query.shape)} and {tuple(read[1].query.shape)}"
            )
        factors = [_circuits(weights, fold_norm) for weights in read]
        columns[:, layer] = [
            measure
            for first, second in zip(*factors, strict=True)
            for measure in _compare(*first, *second)
        ]
    return CircuitChange(columns[0], columns[1], columns[2], columns[3], fold_norm)


def _circuits(weights: LayerWeights, fold_norm: bool) -> list[tuple[Tensor, Tensor]]:
    """Both circuits as factors P, R of ``P^T R``, each float64 [heads, head_dim, hidden]."""
    norm = weights.norm.double().cpu() if fold_norm else 1.0
    query, key, value = (
        part.double().cpu() * norm for part in (weights.query, weights.key, weights.value)
    )
    shared = len(query) // len(key)
    key, value = key.repeat_interleave(shared, 0), value.repeat_interleave(shared, 0)
    return [(query, key), (weights.output.double().cpu().transpose(1, 2), value)]


def _compare(left: Tensor, right: Tensor, new_left: Tensor, new_right: Tensor) -> list[Array]:
    """Relative norm of the difference and cosine of ``left^T right`` and ``new_left^T new_right``.

    The difference is written as one product of stacked factors, ``[new_left; new_left - left]^T
    [new_right - right; right]``, so that a small change is not lost between two large norms.
    """
    before, after = (
        _inner(left, right, left, right),
        _inner(new_left, new_right, new_left, new_right),
    )
    outer = torch.cat([new_left, new_left - left], dim=1)
    inner = torch.cat([new_right - right, right], dim=1)
    moved = _inner(outer, inner, outer, inner).clamp(min=0)
    together = _inner(left, right, new_left, new_right)
    difference = (moved / before).sqrt()
    cosine = together / (before * after).sqrt()
    return [difference.numpy(), cosine.clamp(-1, 1).numpy()]


def _inner(left: Tensor, right: Tensor, new_left: Tensor, new_right: Tensor) -> Tensor:
    """``<left^T right, new_left^T new_right>`` per head."""
    return ((left @ new_left.mT) * (right @ new_right.mT)).sum(dim=(1, 2))
