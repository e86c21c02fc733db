"""Backward passes of many columns through layers of Llama's kind, written out.

Automatic differentiation carries a batch of gradients through every small step of a layer, and
reads and writes all of it each time: most of its time is not spent in matrix products. Here a layer
is a dozen steps on one text alone, without padding, and each piece fits the cache of a processor.
Whether it is right for a model is tried out once, against automatic differentiation.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, cast
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from twinlens.compute.models import architectures
from twinlens.compute.models.dense import is_plain
from twinlens.compute.models.families import Architecture
from twinlens.compute.passes.conditions import Conditions, Heads, hookable
from twinlens.compute.passes.folding import Folded, Texts, backward, fold_together
from twinlens.compute.passes.reading import Reading
from twinlens.compute.passes.targets import Target, logit

if TYPE_CHECKING:
    from transformers import PreTrainedModel

_MAPS = (
    *("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.o_proj"),
    *("mlp.gate_proj", "mlp.up_proj", "mlp.down_proj"),
)
_NORMS = ("input_layernorm", "post_attention_layernorm")
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

    def of(self, row: int, places: slice) -> _Norm:
        """Of one of several texts."""
        return _Norm(self.scaled[row, places], self.gain[row, places])

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
        pattern = seen.pattern[:, :size, :size]
        by_head = (gradients.flatten(0, 1) @ attention.o_proj.weight).view(
            size, count, len(pattern), -1
        )
        given = by_head.permute(2, 0, 1, 3).contiguous()  # [heads, S, K, head_dim]
        attended = (pattern @ seen.value[:, :size])[:, :, None]
        pattern = pattern[..., :reach]
        scores = (given.flatten(1, 2) @ seen.value[:, :reach].transpose(1, 2)).view(
            *given.shape[:3], reach
        )
        scores -= given @ attended.transpose(2, 3)
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
class WrittenOut:
    """A pass over some texts from which columns can be sent back.

    Attributes
    ----------
    texts : Texts
    folded : Folded
        Up to the last attention, without a graph.
    layers : list of lists of _Layer
        Of each text, first to last.
    """

    texts: Texts
    folded: Folded
    layers: list[list[_Layer]]

    @torch.no_grad()
    def backward(self, places: Sequence[int]) -> Tensor:
        """Gradients of some of the columns, by their places in `Folded.columns`.

        Returns
        -------
        tensor [places, B, N, hidden]
            By the embeddings of the prompts; zero in front of them and behind an answer's end.
        """
        texts, longest = self.texts, self.texts.prompt_length
        embedded = texts.embedded
        result = embedded.new_zeros(len(places), len(embedded), longest, embedded.shape[-1])
        for row, (reading, layers) in enumerate(zip(texts.readings, self.layers, strict=True)):
            length = reading.prompt_length
            own = [
                (k, place)
                for k, place in enumerate(places)
                if self.folded.columns[place] < reading.answer_length
            ]
            if not own:
                continue
            seeds = self.folded.weights[row, [place for _, place in own]]
            columns = [self.folded.columns[place] for _, place in own]
            at = torch.tensor(columns, device=seeds.device) + (length - 1)
            *before, last = layers
            heads = seeds.shape[-1] - embedded.shape[-1]
            gradients = last.from_heads(seeds[:, :heads], seeds[:, heads:], at)
            for layer in reversed(before):
                layer.through_feed_forward(gradients)
                reach = length if layer is layers[0] else len(gradients)
                gradients = layer.through_attention(gradients, reach)
            front = longest - length
            result[[k for k, _ in own], row, front:] = gradients[:length].transpose(0, 1)
        return result


def can_be_written_out(model: PreTrainedModel) -> bool:
    """Whether the layers are of this kind, on a processor, and the gradients come out right."""
    if not (_looks_like_it(model) and all(map(_layer_looks_like_it, architectures.layers(model)))):
        return False
    if model not in _known:
        _known[model] = _comes_out_right(model)
    return _known[model]


def _looks_like_it(model: PreTrainedModel) -> bool:
    return (
        model.device.type == "cpu"
        and model.dtype in (torch.float32, torch.float64)
        and architectures.architecture_of(model.config) == Architecture()
        and hookable(model)
    )


def _layer_looks_like_it(layer: nn.Module) -> bool:
    parts = dict(layer.named_modules())
    weighted = {
        name for name, part in parts.items() if next(part.parameters(False), None) is not None
    }
    return (
        weighted == {*_MAPS, *_NORMS}
        and all(type(parts[name]) is nn.Linear and is_plain(parts[name]) for name in _MAPS)
        and all(hasattr(parts[name], "variance_epsilon") for name in _NORMS)
        and not any(parameter.is_meta for parameter in layer.parameters())
    )


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
    model = texts.readings[0].model
    heads: list[Heads] = []
    conditions = Conditions(hidden=texts.padding, heads=heads)
    with _kept(model) as inner:
        folded = fold_together(texts, target, columns, texts.embedded, conditions, cut=True)
    by_layer = [
        _of_all_texts(*parts)
        for parts in zip(architectures.layers(model), heads, inner, strict=True)
    ]
    layers = [
        [_of_text(texts, row, layer) for layer in by_layer] for row in range(len(texts.readings))
    ]
    return WrittenOut(texts, replace(folded, hidden=folded.hidden.detach()), layers)


def _of_all_texts(module: Any, heads: Heads, inner: _Kept) -> _Layer:
    """What a layer did with all texts, each tensor with their dimension in front."""
    with torch.enable_grad():
        point = inner.gate.requires_grad_()
        active = module.mlp.act_fn(point)
        (slope,) = torch.autograd.grad(active.sum(), point)
    groups, count = module.self_attn.num_key_value_groups, len(inner.gate)
    cos, sin = (part.expand(count, -1, -1) for part in inner.rotary)
    with torch.no_grad():
        return _Layer(
            module,
            replace(
                heads,
                key=heads.key.repeat_interleave(groups, dim=1),
                value=heads.value.repeat_interleave(groups, dim=1),
            ),
            (cos, sin),
            (
                _Norm.at(module.input_layernorm, inner.before),
                _Norm.at(module.post_attention_layernorm, inner.between),
            ),
            gate=slope.mul_(inner.up),
            up=active.detach(),
        )


def _of_text(texts: Texts, row: int, layer: _Layer) -> _Layer:
    """What it did with one of them."""
    reading, (cos, sin), seen = texts.readings[row], layer.rotary, layer.heads
    front = texts.prompt_length - reading.prompt_length
    places = slice(front, front + len(reading.ids) - 1)
    return _Layer(
        layer.module,
        Heads(
            seen.query[row, :, places],
            seen.key[row, :, places],
            seen.value[row, :, places],
            seen.pattern[row, :, places, places],
        ),
        (cos[row, places], sin[row, places]),
        (layer.norms[0].of(row, places), layer.norms[1].of(row, places)),
        layer.gate[row, places],
        layer.up[row, places],
    )


@dataclass
class _Kept:
    """What a layer was given, and what its parts gave, of all texts."""

    before: Tensor = field(init=False)
    between: Tensor = field(init=False)
    gate: Tensor = field(init=False)
    up: Tensor = field(init=False)
    rotary: tuple[Tensor, Tensor] = field(init=False)


@contextmanager
def _kept(model: PreTrainedModel) -> Iterator[list[_Kept]]:
    """Keep them in the pass inside."""
    layers: list[_Kept] = []

    def into_layer(_: nn.Module, given: tuple[Tensor, ...], named: dict[str, Any]) -> None:
        layers.append(_Kept())
        layers[-1].before, layers[-1].rotary = given[0].detach(), named["position_embeddings"]

    def between(_: nn.Module, given: tuple[Tensor, ...]) -> None:
        layers[-1].between = given[0].detach()

    def gate(_: nn.Module, __: Any, output: Tensor) -> None:
        layers[-1].gate = output.detach()

    def up(_: nn.Module, __: Any, output: Tensor) -> None:
        layers[-1].up = output.detach()

    with ExitStack() as stack:
        for layer in cast("list[Any]", architectures.layers(model)):
            for handle in (
                layer.register_forward_pre_hook(into_layer, with_kwargs=True),
                layer.post_attention_layernorm.register_forward_pre_hook(between),
                layer.mlp.gate_proj.register_forward_hook(gate),
                layer.mlp.up_proj.register_forward_hook(up),
            ):
                stack.callback(handle.remove)
        yield layers
