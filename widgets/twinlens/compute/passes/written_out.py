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
from twinlens.compute.passes.reading import Reading
from twinlens.compute.passes.row import (
    LayerStates,
    Masks,
    Row,
    attend_alone,
    can_be_read_as_row,
    causal_mask,
)
from twinlens.compute.passes.targets import Target, logit

if TYPE_CHECKING:
    from transformers import PreTrainedModel

#: Share of the largest gradient by which one of a model may differ from automatic differentiation.
_TOLERANCE = 1e-3
_known: WeakKeyDictionary[nn.Module, bool] = WeakKeyDictionary()


@dataclass
class _Norm:
    """Where a norm stands: gradients of what it gave become those of what it was given.

    Attributes
    ----------
    scaled : tensor [S, hidden]
        What it was given over its size.
    gain : tensor [S, hidden]
        Its weights over that size.
    """

    scaled: Tensor
    gain: Tensor

    @classmethod
    def at(cls, module: Any, given: Tensor) -> _Norm:
        root = (given.square().mean(dim=-1, keepdim=True) + module.variance_epsilon).rsqrt()
        return cls(given * root, module.weight * root)

    def of(self, places: slice) -> _Norm:
        """In some places."""
        return _Norm(self.scaled[places], self.gain[places])

    def forward(self, directions: Tensor) -> Tensor:
        """What it gives moves by so much where what it was given [N, hidden] moves."""
        scaled, gain = self.scaled[: len(directions)], self.gain[: len(directions)]
        along = (directions * scaled).mean(dim=-1, keepdim=True)
        return gain * torch.addcmul(directions, scaled, along, value=-1)

    def back(self, gradients: Tensor, given: Tensor) -> None:
        """Add to `gradients` [S, K, hidden] what comes through the norm from `given`."""
        size = len(gradients)
        scaled, gain = self.scaled[:size, None], self.gain[:size, None]
        along = given @ (scaled * gain).transpose(1, 2)
        gradients.addcmul_(given, gain)
        gradients.addcmul_(scaled, along, value=-1 / scaled.shape[-1])


@dataclass
class _Layer:
    """What one layer did with one text of S tokens.

    Attributes
    ----------
    heads : Heads
        Without the texts' dimension.
    rotary : (tensor [S, head_dim], tensor [S, head_dim])
        Cosines and sines.
    norms : (_Norm, _Norm)
        In front of attention, and of the feed-forward block.
    gate, up : tensors [S, intermediate]
        Derivative of a neuron by its gate, and by what the gate is multiplied with.
    """

    module: Any
    heads: Heads
    rotary: tuple[Tensor, Tensor]
    norms: tuple[_Norm, _Norm]
    gate: Tensor
    up: Tensor

    def through_feed_forward(self, gradients: Tensor) -> None:
        """From behind the feed-forward block [S, K, hidden] to before it, in place."""
        mlp, size = self.module.mlp, len(gradients)
        neurons = gradients.flatten(0, 1) @ mlp.down_proj.weight
        by_neuron = neurons.view(*gradients.shape[:2], -1)
        up = (by_neuron * self.up[:size, None]).flatten(0, 1) @ mlp.up_proj.weight
        by_neuron *= self.gate[:size, None]
        up.addmm_(neurons, mlp.gate_proj.weight)
        self.norms[1].back(gradients, up.view_as(gradients))

    def through_attention(self, gradients: Tensor, reach: int) -> Tensor:
        """From behind the attention block [S, K, hidden] to before it, in the first places.

        Parameters
        ----------
        gradients : tensor [S, K, hidden]
            Written over.
        reach : int
            How many places those are; nothing in them depends on later ones in front of the block.

        Returns
        -------
        tensor [reach, K, hidden]
        """
        attention, seen = self.module.self_attn, self.heads
        size, count, _ = gradients.shape
        given, scores = self._by_scores(gradients, reach)
        pattern = seen.pattern[:, :size, :reach]
        scores *= (pattern * attention.scaling)[:, :, None]
        query = scores[:, :reach].flatten(1, 2) @ seen.key[:, :reach]
        # Heads that share keys and values lie behind one another: products add them up.
        groups = attention.num_key_value_groups

        def shared(states: Tensor) -> Tensor:
            return states.reshape(-1, groups * size, states[0, 0].numel()).transpose(1, 2)

        key = shared(scores) @ shared(seen.query[:, :size]).transpose(1, 2)
        value = shared(pattern) @ shared(given).transpose(1, 2)
        into = self._rotated_back(query.view(-1, reach, *given.shape[2:])) @ attention.q_proj.weight
        self._into_keys_and_values(
            into,
            key.view(len(key), count, reach, -1).transpose(1, 2),
            value.view(len(value), reach, count, -1),
        )
        gradients = gradients[:reach]
        self.norms[0].back(gradients, into.view_as(gradients))
        return gradients

    def slopes(self, gradients: Tensor, directions: Tensor) -> Tensor:
        """Slopes [K, N] in front of the attention block along one direction for each place.

        Every place is moved alone. What its query, its key and its value become by that is the
        same for all columns: these meet it at the heads.

        Parameters
        ----------
        gradients : tensor [S, K, hidden]
            Behind the block.
        directions : tensor [N, hidden]
            Of the first places.
        """
        attention, seen, count = self.module.self_attn, self.heads, len(directions)
        size, groups = len(gradients), attention.num_key_value_groups
        given, scores = self._by_scores(gradients, count)
        moved = self.norms[0].forward(directions)
        query, key, value = (
            (moved @ part.weight.t()).view(count, -1, given.shape[-1]).transpose(0, 1)
            for part in (attention.q_proj, attention.k_proj, attention.v_proj)
        )
        query, key = self._rotated(query), self._rotated(key)
        key, value = (part.repeat_interleave(groups, dim=0) for part in (key, value))
        pattern = seen.pattern[:, :size, :count]
        by_key = pattern * (seen.query[:, :size] @ key.transpose(1, 2))  # [heads, S, N]
        by_query = pattern[:, :count] * (query @ seen.key[:, :count].transpose(1, 2))
        slopes = (scores * (by_key * attention.scaling)[:, :, None]).sum(dim=(0, 1))
        # What a place's own query does is seen in that place only.
        own = scores[:, :count] * (by_query * attention.scaling)[:, :, None]
        slopes += own.sum(dim=(0, 3)).t()
        along = (given.flatten(1, 2) @ value.transpose(1, 2)).view_as(scores)
        slopes += along.mul_(pattern[:, :, None]).sum(dim=(0, 1))
        return slopes.add_((gradients[:count] * directions[:, None]).sum(dim=-1).t())

    def _by_scores(self, gradients: Tensor, reach: int) -> tuple[Tensor, Tensor]:
        """From behind the attention block to its heads, and to their scores over the pattern.

        Returns
        -------
        given : tensor [heads, S, K, head_dim]
        scores : tensor [heads, S, K, reach]
        """
        seen, (size, count, _) = self.heads, gradients.shape
        pattern = seen.pattern[:, :size, :size]
        by_head = (gradients.flatten(0, 1) @ self.module.self_attn.o_proj.weight).view(
            size, count, len(pattern), -1
        )
        given = by_head.permute(2, 0, 1, 3).contiguous()
        attended = (pattern @ seen.value[:, :size])[:, :, None]
        scores = (given.flatten(1, 2) @ seen.value[:, :reach].transpose(1, 2)).view(
            *given.shape[:3], reach
        )
        scores -= given @ attended.transpose(2, 3)
        return given, scores

    def from_heads(self, seeds: Tensor, residual: Tensor, places: Tensor) -> Tensor:
        """Gradients [S, K, hidden] before the layer, of seeds behind its heads, each in one place.

        Parameters
        ----------
        seeds : tensor [K, heads * head_dim]
        residual : tensor [K, hidden]
            By what the layer was given, there.
        places : tensor [K]
        """
        attention, seen, count = self.module.self_attn, self.heads, len(seeds)
        size = int(places.max()) + 1
        pattern = seen.pattern[:, places, :size]  # [heads, K, S]
        given = seeds.view(count, len(pattern), -1).transpose(0, 1)
        scores = given @ seen.value[:, :size].transpose(1, 2)
        scores -= (scores * pattern).sum(dim=-1, keepdim=True)
        scores *= pattern * attention.scaling
        query = scores @ seen.key[:, :size]
        key = self._of_shared(scores, seen.query[:, places])
        value = self._of_shared(pattern, given)
        into = seeds.new_zeros(size * count, residual.shape[-1])
        self._into_keys_and_values(into, key, value)
        columns = torch.arange(count, device=places.device)
        turned = self._rotated_back(query[:, None], places)
        into = into.view(size, count, -1)
        into[places, columns] += turned @ attention.q_proj.weight
        gradients = torch.zeros_like(into)
        gradients[places, columns] = residual
        self.norms[0].back(gradients, into)
        return gradients

    def _of_shared(self, weights: Tensor, states: Tensor) -> Tensor:
        """[kv_heads, S, K, head_dim] of [heads, K, S] times [heads, K, head_dim].

        Heads that share keys and values are added up.
        """
        groups = self.module.self_attn.num_key_value_groups
        by_place, by_text = weights.transpose(1, 2)[..., None], states[:, None]
        total = by_place[::groups] * by_text[::groups]
        for head in range(1, groups):
            total.addcmul_(by_place[head::groups], by_text[head::groups])
        return total

    def _into_keys_and_values(self, into: Tensor, key: Tensor, value: Tensor) -> None:
        """Add what comes through keys and values [kv_heads, S, K, head_dim] to [S * K, hidden]."""
        attention = self.module.self_attn
        into.addmm_(self._rotated_back(key), attention.k_proj.weight)
        flat = value.permute(1, 2, 0, 3).reshape(len(into), -1)
        into.addmm_(flat, attention.v_proj.weight)

    def _rotated(self, states: Tensor) -> Tensor:
        """What is in the first places [heads, N, head_dim], turned to where it stands."""
        cos, sin = (part[: states.shape[1]] for part in self.rotary)
        first, second = states.chunk(2, dim=-1)
        return states * cos + torch.cat([-second, first], dim=-1) * sin

    def _rotated_back(self, states: Tensor, places: Tensor | None = None) -> Tensor:
        """Rows [S * K, heads * head_dim] of gradients [heads, S, K, head_dim] before the rotation.

        `places` says where each of K stands, if it is only there.
        """
        size, half = states.shape[1], states.shape[3] // 2
        cos, sin = (
            part[:size, None, None] if places is None else part[places, None]
            for part in self.rotary
        )
        given = states.permute(1, 2, 0, 3)
        turned = torch.empty(given.shape, dtype=given.dtype, device=given.device)
        first, second = turned[..., :half], turned[..., half:]
        torch.mul(given[..., :half], cos[..., :half], out=first)
        first.addcmul_(given[..., half:], sin[..., half:])
        torch.mul(given[..., half:], cos[..., half:], out=second)
        second.addcmul_(given[..., :half], sin[..., :half], value=-1)
        return turned.flatten(2).flatten(0, 1)


@dataclass(frozen=True)
class _Layers:
    """What one layer did with several texts, one behind the other; as `_Layer`, [P, ...]."""

    module: Any
    heads: list[Heads]
    rotary: tuple[Tensor, Tensor]
    norms: tuple[_Norm, _Norm]
    gate: Tensor
    up: Tensor

    def of(self, number: int, places: slice) -> _Layer:
        """With one of them. Nothing goes back through the feed-forward block of the last layer."""
        cos, sin = self.rotary
        return _Layer(
            self.module,
            self.heads[number],
            (cos[places], sin[places]),
            (self.norms[0].of(places), self.norms[1].of(places)),
            self.gate[places],
            self.up[places],
        )

    def alone(self) -> _Layer:
        """With tokens for themselves."""
        return _Layer(self.module, self.heads[0], self.rotary, self.norms, self.gate, self.up)


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
    layers : list of lists of _Layer
        Of each text, first to last.
    """

    texts: Texts
    columns: list[int]
    seeds: list[Tensor]
    layers: list[list[_Layer]]

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
        for row, own, gradients in self._behind_first_attention(places):
            length, first = self.texts.readings[row].prompt_length, self.layers[row][0]
            if len(self.layers[row]) > 1:
                gradients = first.through_attention(gradients, length)
            front = self.texts.prompt_length - length
            result[own, row, front:] = gradients[:length].transpose(0, 1)
        return result

    @torch.no_grad()
    def slopes(self, places: Sequence[int], directions: Tensor) -> Tensor:
        """`backward` along one direction [B, N, hidden] for each prompt token: [places, B, N]."""
        result = directions.new_zeros(len(places), *directions.shape[:2])
        for row, own, gradients in self._behind_first_attention(places):
            length, first = self.texts.readings[row].prompt_length, self.layers[row][0]
            front = self.texts.prompt_length - length
            mine = directions[row, front:]
            if len(self.layers[row]) > 1:
                result[own, row, front:] = first.slopes(gradients, mine)
            else:
                result[own, row, front:] = (gradients[:length] * mine[:, None]).sum(dim=-1).t()
        return result

    def _behind_first_attention(
        self, places: Sequence[int]
    ) -> Iterator[tuple[int, list[int], Tensor]]:
        """Of each text that has some of the columns: which of `places`, and gradients.

        Those [S, K, hidden] behind the attention of the first layer; in front of it where that is
        the last, too.
        """
        for row, (reading, layers) in enumerate(zip(self.texts.readings, self.layers, strict=True)):
            columns = [self.columns[place] for place in places]
            own = [k for k, column in enumerate(columns) if column < reading.answer_length]
            if not own:
                continue
            seeds = self.seeds[row][[places[k] for k in own]]
            at = torch.tensor([columns[k] for k in own]) + (reading.prompt_length - 1)
            *before, last = layers
            heads = seeds.shape[-1] - self.texts.embedded.shape[-1]
            gradients = last.from_heads(seeds[:, :heads], seeds[:, heads:], at)
            for layer in reversed(before):
                layer.through_feed_forward(gradients)
                if layer is not layers[0]:
                    gradients = layer.through_attention(gradients, len(gradients))
            yield row, own, gradients


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

    kept: list[LayerStates] = []
    with torch.no_grad(), entering(model, max(lengths)):
        row = Row(model, whole, positions, attend)
        final = row.states(torch.tensor(places), kept)
    by_layer = [
        _of_all_texts(*given, row.rotary)
        for given in zip(architectures.layers(model), heads, kept, strict=True)
    ]
    seeds = _seeds(texts, target, own, final, by_layer[-1])
    sizes = [len(mine) for mine in own]
    layers = [[layer.of(number, part) for layer in by_layer] for number, part in enumerate(parts)]
    return WrittenOut(texts, list(columns), list(torch.split(seeds, sizes)), layers)


def _heads(block: Any, query: Tensor, key: Tensor, value: Tensor, pattern: Tensor) -> Heads:
    """Copies of what one text's heads had, [heads, S, head_dim] each."""
    groups = block.num_key_value_groups
    return Heads(
        query.transpose(0, 1).contiguous(),
        key.transpose(0, 1).repeat_interleave(groups, dim=0),
        value.transpose(0, 1).repeat_interleave(groups, dim=0),
        pattern,
    )


def _of_all_texts(
    module: Any, heads: list[Heads], states: LayerStates, rotary: tuple[Tensor, Tensor]
) -> _Layers:
    """What a layer did with all texts."""
    with torch.enable_grad():
        point = states.gate.requires_grad_()
        active = module.mlp.act_fn(point)
        (gate,) = torch.autograd.grad(active, point, states.up)
    with torch.no_grad():
        norms = (
            _Norm.at(module.input_layernorm, states.before),
            _Norm.at(module.post_attention_layernorm, states.between),
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
        gradients = torch.zeros_like(final)[:, None]
        _Norm.at(norm, final).back(gradients, by_normed[:, None])
        layer = last.alone()
        layer.through_feed_forward(gradients)
        residual = gradients[:, 0]
        return torch.cat([residual @ layer.module.self_attn.o_proj.weight, residual], dim=-1)
