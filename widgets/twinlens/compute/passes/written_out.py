"""Backward passes of many columns through layers of Llama's kind, written out.

Automatic differentiation carries a batch of gradients through every small step of a layer, and
reads and writes all of it each time: most of its time is not spent in matrix products. Here a layer
is a dozen steps on one text alone, without padding, and each piece fits the cache of a processor.
Whether it is right for a model is tried out once, against automatic differentiation.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from twinlens.compute.models import architectures
from twinlens.compute.passes.conditions import Conditions, Heads
from twinlens.compute.passes.entry import entering
from twinlens.compute.passes.folding import Texts, backward, fold_together, head_gradient
from twinlens.compute.passes.layer_back import Columns, LayerBack, NormBack, in_pairs
from twinlens.compute.passes.reading import Reading, Target, logit
from twinlens.compute.passes.row import (
    LayerStates,
    Masks,
    Row,
    attend_alone,
    can_be_read_as_row,
    causal_mask,
)

if TYPE_CHECKING:
    from transformers import PreTrainedModel

#: Share of the largest gradient by which one of a model may differ from automatic differentiation.
_TOLERANCE = 1e-3
_known: WeakKeyDictionary[nn.Module, bool] = WeakKeyDictionary()


@dataclass(frozen=True)
class _Layers:
    """What one layer did with several texts, one behind the other; as `LayerBack`, [P, ...]."""

    module: Any
    heads: list[Heads]
    rotary: Tensor
    norms: tuple[NormBack, NormBack]
    gate: Tensor
    up: Tensor

    def of(self, number: int, places: slice) -> LayerBack:
        """With one of them. Nothing goes back through the feed-forward block of the last layer."""
        return LayerBack(
            self.module,
            self.heads[number],
            self.rotary[places],
            (self.norms[0].of(places), self.norms[1].of(places)),
            self.gate[places],
            self.up[places],
        )

    def alone(self) -> LayerBack:
        """With tokens for themselves."""
        return LayerBack(self.module, self.heads[0], self.rotary, self.norms, self.gate, self.up)


@dataclass(frozen=True)
class WrittenOut:
    """A pass over some texts from which columns can be sent back.

    Attributes
    ----------
    texts : Texts
    columns : list of int
        Answer tokens, in rising order.
    seeds : list of tensors [m, heads * head_dim + hidden]
        Of each text, for those of the columns that it has: the target's gradient by what the last
        layer's heads made where it is predicted, and by the residual stream beside them.
    layers : list of lists of LayerBack
        Of each text, first to last.
    """

    texts: Texts
    columns: list[int]
    seeds: list[Tensor]
    layers: list[list[LayerBack]]

    @torch.no_grad()
    def backward(self, places: Sequence[int]) -> Tensor:
        """Gradients of some of the columns, by their places in `columns`.

        Returns
        -------
        tensor [places, B, N, hidden]
            By the embeddings of the prompts; zero in front of them and behind an answer's end.
        """
        embedded = self.texts.embedded
        result = embedded.new_zeros(len(places), *self.texts.prompts.shape)
        for row, own, columns, gradients in self._behind_first_attention(places):
            if len(self.layers[row]) > 1:
                self.layers[row][0].through_attention(gradients, columns)
            front = self.texts.prompt_length - self.texts.readings[row].prompt_length
            _, (in_prompt,) = next(columns.parts(gradients))
            result[own, row, front:] = in_prompt.transpose(0, 1)
        return result

    @torch.no_grad()
    def slopes(self, places: Sequence[int], directions: Tensor) -> Tensor:
        """`backward` along one direction [B, N, hidden] for each prompt token: [places, B, N]."""
        result = directions.new_zeros(len(places), *directions.shape[:2])
        for row, own, columns, gradients in self._behind_first_attention(places):
            front = self.texts.prompt_length - self.texts.readings[row].prompt_length
            mine = directions[row, front:]
            if len(self.layers[row]) > 1:
                slopes = self.layers[row][0].slopes(gradients, columns, mine)
            else:
                _, (in_prompt,) = next(columns.parts(gradients))
                slopes = (in_prompt * mine[:, None]).sum(dim=-1).t()
            result[own, row, front:] = slopes
        return result

    def _behind_first_attention(
        self, places: Sequence[int]
    ) -> Iterator[tuple[int, list[int], Columns, Tensor]]:
        """Of each text that has some of the columns: which of `places`, and rows of gradients.

        Those behind the attention of the first layer; in front of it where that is the last, too.
        """
        chosen = [self.columns[place] for place in places]
        for row, (reading, layers) in enumerate(zip(self.texts.readings, self.layers, strict=True)):
            own = [k for k, column in enumerate(chosen) if column < reading.answer_length]
            if not own:
                continue
            seeds = self.seeds[row][[places[k] for k in own]]
            ends = torch.tensor([chosen[k] for k in own]) + (reading.prompt_length - 1)
            columns = Columns(len(own), reading.prompt_length, ends)
            *before, last = layers
            heads = seeds.shape[-1] - self.texts.embedded.shape[-1]
            gradients = last.from_heads(seeds[:, :heads], seeds[:, heads:], columns)
            for layer in reversed(before):
                layer.through_feed_forward(gradients, columns)
                if layer is not layers[0]:
                    layer.through_attention(gradients, columns)
            yield row, own, columns, gradients


def can_be_written_out(model: PreTrainedModel) -> bool:
    """Whether the layers are of this kind, on a processor, and the gradients come out right."""
    if not can_be_read_as_row(model):
        return False
    if model not in _known:
        _known[model] = _comes_out_right(model)
    return _known[model]


def _comes_out_right(model: PreTrainedModel) -> bool:
    """Compare with automatic differentiation, on a short text."""
    size = min(architectures.sizes(model.config).vocabulary, 64)
    text = Reading(model, [(7 * place + 3) % size for place in range(9)], 5)
    texts, columns = Texts.together([text]), [1, 3]
    try:
        computed = written_out(texts, logit, columns).backward([0, 1])
    except (AttributeError, IndexError, KeyError, RuntimeError, TypeError, ValueError):
        return False  # it only looks like one
    prompts = texts.prompts.clone().requires_grad_()
    point = torch.cat([prompts, texts.answers], dim=1)
    expected = backward(
        fold_together(texts, logit, columns, point, Conditions(), cut=True), prompts, [0, 1]
    )
    return bool((computed - expected).abs().max() <= _TOLERANCE * expected.abs().max())


def written_out(texts: Texts, target: Target, columns: Sequence[int]) -> WrittenOut:
    """Read some texts, and keep what backward passes of some columns need.

    Parameters
    ----------
    columns : sequence of int
        Answer tokens, in rising order.
    """
    readings, model = texts.readings, texts.readings[0].model
    lengths = [len(reading.ids) - 1 for reading in readings]
    parts = [slice(*ends) for ends in pairwise(accumulate(lengths, initial=0))]
    fronts = [texts.prompt_length - reading.prompt_length for reading in readings]
    whole = torch.cat(
        [texts.embedded[row, fronts[row] :][:length] for row, length in enumerate(lengths)]
    )
    positions = torch.cat([torch.arange(length) for length in lengths])
    own = [[c for c in columns if c < reading.answer_length] for reading in readings]
    places = [
        part.start + reading.prompt_length - 1 + column
        for part, reading, mine in zip(parts, readings, own, strict=True)
        for column in mine
    ]
    masks = Masks(model, lambda window: causal_mask(max(lengths), window, whole))
    heads: list[list[Heads]] = []

    def attend(block: Any, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        made, mask = torch.empty_like(query), masks[block]
        heads.append([])
        for part, size in zip(parts, lengths, strict=True):
            mine = query[part], key[part], value[part]
            made[part], pattern = attend_alone(block, *mine, mask[:size, :size])
            heads[-1].append(_heads(block, *mine, pattern))
        return made

    states: list[LayerStates] = []
    with torch.no_grad(), entering(model, max(lengths)):
        row = Row(model, whole, positions, attend)
        final = row.states(torch.tensor(places), states)
    cos, sin = (part[:, : part.shape[1] // 2].contiguous() for part in row.rotary)
    by_layer = [
        _of_all_texts(*given, torch.complex(cos, sin))
        for given in zip(architectures.layers(model), heads, states, strict=True)
    ]
    seeds = _seeds(texts, target, own, final, by_layer[-1])
    sizes = [len(mine) for mine in own]
    layers = [[layer.of(number, part) for layer in by_layer] for number, part in enumerate(parts)]
    return WrittenOut(texts, list(columns), list(torch.split(seeds, sizes)), layers)


def _heads(block: Any, query: Tensor, key: Tensor, value: Tensor, pattern: Tensor) -> Heads:
    """Copies of what one text's heads had, [heads, S, head_dim] each."""
    groups = block.num_key_value_groups
    return Heads(
        in_pairs(query.transpose(0, 1)),
        in_pairs(key.transpose(0, 1)).repeat_interleave(groups, dim=0),
        value.transpose(0, 1).repeat_interleave(groups, dim=0),
        pattern,
    )


def _of_all_texts(module: Any, heads: list[Heads], states: LayerStates, rotary: Tensor) -> _Layers:
    """What a layer did with all texts."""
    with torch.enable_grad():
        point = states.gate.requires_grad_()
        active = module.mlp.act_fn(point)
        (gate,) = torch.autograd.grad(active, point, states.up)
    with torch.no_grad():
        norms = (
            NormBack.at(module.input_layernorm, states.before),
            NormBack.at(module.post_attention_layernorm, states.between),
        )
        return _Layers(module, heads, rotary, norms, gate, active.detach())


def _seeds(
    texts: Texts, target: Target, own: list[list[int]], final: Tensor, last: _Layers
) -> Tensor:
    """`WrittenOut.seeds` of all texts, one behind the other."""
    model, columns = texts.readings[0].model, max(own, key=len)
    has = torch.tensor([[place < len(mine) for place in range(len(columns))] for mine in own])
    norm = architectures.final_norm(model)
    with torch.no_grad():
        padded = final.new_zeros(*has.shape, final.shape[-1])
        padded[has] = norm(final)
    by_normed = head_gradient(texts, target, columns, padded)[has]
    with torch.no_grad():
        gradients = torch.zeros_like(final)
        NormBack.at(norm, final).back(gradients[:, None], by_normed[:, None])
        # Each place for itself, as if it were one text's with one column.
        layer, places = last.alone(), Columns(1, len(final), torch.tensor([len(final) - 1]))
        layer.through_feed_forward(gradients, places)
        return torch.cat([gradients @ layer.module.self_attn.o_proj.weight, gradients], dim=-1)
