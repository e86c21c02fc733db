"""An update taken apart, matrix by matrix, as tables; directions as words, heads and neurons."""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel

from twinlens.compute.models import architectures
from twinlens.compute.models.dense import dense_weight
from twinlens.compute.models.models import Models
from twinlens.compute.models.running import methods_plainly
from twinlens.compute.update.directions import CERTAIN, DirectionStore, MatrixUpdate, Rest
from twinlens.compute.words.word_rows import WordRows, word_rows
from twinlens.errors import ArgumentError, UnsupportedArchitectureError
from twinlens.support.cached import cached_property
from twinlens.traces.frames import DataFrame, frame_of

_NEURONS = 8


@dataclass(frozen=True)
class Reader:
    """What directions are read with: words by input and by output embeddings of tuned."""

    pair: Models
    input: WordRows
    output: WordRows

    @classmethod
    def of(cls, pair: Models) -> Reader:
        """With tuned's embeddings."""
        with pair.weights("tuned") as weights, pair.held("tuned"):
            tokenizer = pair.tokenizers["tuned"]
            given = weights.input_embeddings()
            written = weights.output_embeddings()
            words = word_rows(tokenizer, written)
            same = given.data_ptr() == written.data_ptr()
            return cls(pair, words if same else word_rows(tokenizer, given), words)

    def describe(self, matrix: MatrixUpdate, k: int, count: int = 8) -> dict[str, Any]:
        """What one direction reads and writes.

        Returns
        -------
        dict
            ``reads``: ``[[word, cosine], ...]`` by input embeddings, where the matrix reads the
            residual stream. ``writes``: by output embeddings, where it writes to it. ``heads``:
            ``[[head, share], ...]`` of the direction's energy, key and value heads by their own
            numbers. ``neurons``: ``[[neuron, share], ...]``.
        """
        described: dict[str, Any] = {"reads": [], "writes": [], "heads": [], "neurons": []}
        with self.pair.model("base") as model:
            parts = architectures.architecture_of(model.config)
            inside = matrix.name.removesuffix(".weight")
            inside = inside.removeprefix(f"{parts.layers}.{matrix.layer}.")
            sizes = architectures.sizes(model.config)
            left, right = (side[:, k].cpu() for side in matrix.directions())
            writes = inside in (parts.attention_out, parts.feed_forward_out)
            if writes and len(left) == sizes.hidden:
                described["writes"] = self.output.nearest(left[None], count)[0]
            elif len(right) == sizes.hidden:
                read = right * _gain(model, matrix.layer, inside in parts.query_key_value)
                described["reads"] = self.input.nearest(read[None], count)[0]
            if inside == parts.attention_out:
                described["heads"] = _shares(right, sizes.heads)
            elif inside in parts.query_key_value and parts.fused == "no":
                first = inside == parts.query_key_value[0]
                if first:
                    described["heads"] = _shares(left, sizes.heads)
                # Elsewhere key heads have other numbers than in most layers.
                elif len(architectures.head_weights(model, matrix.layer)[1]) == sizes.kv_heads:
                    described["heads"] = _shares(left, sizes.kv_heads)
            elif architectures.has_neurons(model.config):
                neurons = right if inside == parts.feed_forward_out else left
                if len(neurons) == sizes.intermediate:
                    described["neurons"] = _shares(neurons, len(neurons))
        return described


def _shares(direction: Tensor, groups: int) -> list[list[Any]]:
    """Share of a direction's energy in equal parts of it, largest first."""
    energy = direction.double().square().reshape(groups, -1).sum(dim=1)
    top = torch.topk(energy / energy.sum(), min(groups, _NEURONS))
    return [
        [i, round(v, 6)] for i, v in zip(top.indices.tolist(), top.values.tolist(), strict=True)
    ]


def _gain(model: PreTrainedModel, layer: int, attention: bool) -> Tensor | float:
    """What the norm in front of a block multiplies the residual stream by."""
    with suppress(AttributeError, UnsupportedArchitectureError):
        if attention:
            norm = architectures.attention_norm(model, layer)
        else:
            norm = architectures.layers(model)[layer].get_submodule("post_attention_layernorm")
        if norm is not None:
            offset = architectures.architecture_of(model.config).norm_offset
            return dense_weight(norm).float().cpu() + offset
    return 1.0


@methods_plainly
class Taken:
    """An update taken apart: what `Update` knows without a prompt.

    Attributes
    ----------
    matrices : list of MatrixUpdate
        Singular directions of every matrix of the layers that changed.
    rest : list of Rest
        Other tensors that changed: embeddings, norms, biases.
    """

    def __init__(
        self, pair: Models, matrices: Sequence[MatrixUpdate], rest: Sequence[Rest]
    ) -> None:
        self.pair, self.matrices, self.rest = pair, list(matrices), list(rest)

    @property
    def count(self) -> int:
        """Directions of all matrices."""
        return sum(matrix.rank for matrix in self.matrices)

    def __repr__(self) -> str:
        names = self.pair.names
        kind = "adapter" if any(m.by_factors for m in self.matrices) else "weights"
        return (
            f"<{type(self).__name__} from {names['base']!r} to {names['tuned']!r} ({kind}): "
            f"{self.count:,} directions in {len(self.matrices)} matrices, {len(self.rest)} other "
            "tensors>"
        )

    def rows(self) -> list[dict[str, Any]]:
        """One row per matrix."""
        energy = sum(matrix.energy for matrix in self.matrices) or 1.0
        return [
            {
                "layer": m.layer,
                "kind": m.kind,
                "name": m.name,
                "rank": m.rank,
                "effective_rank": m.effective_rank,
                "norm": math.sqrt(m.energy),
                "relative": math.sqrt(m.energy) / m.base_norm,
                "share": m.energy / energy,
                "reuse": _share(m, "reuse"),
                "intruder": _share(m, "intruder"),
                "reuse_of_random": 1 - CERTAIN**2,
            }
            for m in self.matrices
        ]

    def to_frame(self) -> DataFrame:
        """`rows` as a table.

        ``reuse`` and ``intruder`` are shares of the update's energy in directions of that kind, see
        `MatrixUpdate.novelty`; ``reuse_of_random`` is what of a random update of equal norm would
        be called reuse.
        """
        return frame_of(self.rows())

    def directions(self) -> list[dict[str, Any]]:
        """One row per direction."""
        energy = sum(matrix.energy for matrix in self.matrices) or 1.0
        return [
            {
                "layer": m.layer,
                "kind": m.kind,
                "direction": k,
                "size": size,
                "share": size**2 / energy,
                "overlap_left": float(m.overlap[0, k]),
                "overlap_right": float(m.overlap[1, k]),
                "random_left": m.null[0],
                "random_right": m.null[1],
                "novelty": m.novelty(k),
            }
            for m in self.matrices
            for k, size in enumerate(m.sizes.tolist())
        ]

    def directions_frame(self) -> DataFrame:
        """`directions` as a table."""
        return frame_of(self.directions())

    def random(self, seed: int = 0) -> Taken:
        """An update of equal size in random directions: what it does tuning need not have done."""
        made = torch.Generator().manual_seed(seed)

        def other(like: torch.Tensor) -> torch.Tensor:
            noise = torch.randn(like.shape, generator=made, dtype=torch.float32)
            turned: torch.Tensor = torch.linalg.qr(noise).Q
            return turned.to(like)

        store = DirectionStore()
        matrices = []
        for matrix in self.matrices:
            left, right = matrix.directions()
            made_up = store.keep(other(left), other(right), small=matrix.by_factors)
            matrices.append(replace(matrix, directions=made_up))
        rest = [_shuffled(tensor, made) for tensor in self.rest]
        return Taken(self.pair, matrices, rest)

    @cached_property
    def _reader(self) -> Reader:
        return Reader.of(self.pair)

    def place(self, direction: int) -> tuple[MatrixUpdate, int]:
        """Matrix of a direction, and its number there.

        Raises
        ------
        ArgumentError
            If there is no such direction.
        """
        left = direction
        for matrix in self.matrices:
            if 0 <= left < matrix.rank:
                return matrix, left
            left -= matrix.rank
        raise ArgumentError(
            f"there is no direction {direction!r}: the update has {self.count:,}, counted from 0"
        )

    def describe(self, direction: int, count: int = 8) -> dict[str, Any]:
        """Words, heads and neurons of a direction, see `Reader.describe`."""
        matrix, k = self.place(direction)
        about = {"layer": matrix.layer, "kind": matrix.kind, "direction": k}
        return {**about, **self._reader.describe(matrix, k, count)}


def _share(matrix: MatrixUpdate, kind: str) -> float:
    squared = matrix.sizes.double().square()
    picked = [matrix.novelty(k) == kind for k in range(matrix.rank)]
    return float(squared[torch.tensor(picked)].sum() / squared.sum())


def _shuffled(tensor: Rest, made: torch.Generator) -> Rest:
    """A tensor whose change has the same numbers at other places."""
    rows = min(len(tensor.base), len(tensor.tuned)) if tensor.base.ndim else 0
    if not rows:
        return tensor
    change = (tensor.tuned[:rows].to(tensor.base) - tensor.base[:rows]).flatten()
    change = change[torch.randperm(len(change), generator=made)]
    tuned = tensor.tuned.to(tensor.base).clone()
    tuned[:rows] = tensor.base[:rows] + change.reshape(tensor.base[:rows].shape)
    return replace(tensor, tuned=tuned)
