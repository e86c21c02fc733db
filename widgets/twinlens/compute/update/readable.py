"""Directions as words, heads and neurons: what one reads and what it writes."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel

from twinlens.compute.models import architectures
from twinlens.compute.models.dense import dense_weight
from twinlens.compute.models.models import Models
from twinlens.compute.update.directions import MatrixUpdate
from twinlens.compute.words.word_rows import WordRows, word_rows
from twinlens.errors import UnsupportedArchitectureError

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
