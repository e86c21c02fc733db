"""Forward passes through layers of Llama's kind, written out: a row of tokens, end to end.

Beside its matrix products a pass mostly fetches fresh memory: here each layer writes where the one
before it wrote. Whoever reads a row says how its tokens attend to one another.

Layers of that kind have seven plain linear maps and two norms, and nothing else that has weights.
That a pass comes out right is tried out once for each model besides: multipliers have no weights.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias, cast
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from twinlens.compute.models import architectures
from twinlens.compute.models.dense import is_plain
from twinlens.compute.models.families import Architecture
from twinlens.compute.passes.conditions import Conditions, fusible, hookable, observed, planned_once
from twinlens.compute.passes.entry import embeddings, entering
from twinlens.compute.passes.linear_maps import add_mapped, mapped
from twinlens.compute.passes.packing import Packed, Workspace

if TYPE_CHECKING:
    from transformers import PreTrainedModel

#: Gives what the heads make, [P, heads, head_dim], of an attention block's queries, keys and
#: values [P, heads, head_dim], rotary position applied. They are written over afterwards.
AttendRow: TypeAlias = Callable[[Any, Tensor, Tensor, Tensor], Tensor]

#: Numbers of a feed-forward block that are computed at once: they stay in a processor's cache.
_NEURONS_AT_ONCE = 2**20
#: Share of the largest state by which a pass may differ from the model's own.
_TOLERANCE = 1e-3
#: What models are made of that look like it, or do not, and whether they do as well.
_kinds: WeakKeyDictionary[nn.Module, tuple[tuple[object, ...], bool]] = WeakKeyDictionary()
_known: WeakKeyDictionary[nn.Module, bool] = WeakKeyDictionary()
#: Weights of a layer of Llama's kind.
_MAPS = (
    *("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.o_proj"),
    *("mlp.gate_proj", "mlp.up_proj", "mlp.down_proj"),
)
_NORMS = ("input_layernorm", "post_attention_layernorm")


@dataclass(frozen=True)
class LayerStates:
    """What a layer was given, what came behind its attention, and its neurons before their gate.

    Attributes
    ----------
    before : tensor [P, hidden]
    between : tensor [P, hidden]
        Of the last layer, and of its neurons, only in the places that are followed.
    gate, up : tensors [P, intermediate]
        Before the activation function, and what it is multiplied with.
    """

    before: Tensor
    between: Tensor
    gate: Tensor
    up: Tensor


def can_be_read_as_row(model: PreTrainedModel) -> bool:
    """Whether the layers are of this kind, nothing listens to them, and states come out right."""
    # A model in memory may have changed since it was read last.
    parts = made_of(model)
    if model not in _kinds or _kinds[model][0] != parts:
        _kinds[model] = parts, of_llama_kind(model)
        _known.pop(model, None)
    # Tried out only while nothing is in the way, or it would be left out for good.
    if not (_kinds[model][1] and is_untouched(model)):
        return False
    if model not in _known:
        _known[model] = _comes_out_right(model)
    return _known[model]


class Masks:
    """What tokens of one text see of one another, by attention block.

    Parameters
    ----------
    of_window : callable
        The mask of a block that reaches so many tokens back, None where it reaches all.
    """

    def __init__(self, model: PreTrainedModel, of_window: Callable[[int | None], Tensor]) -> None:
        config = model.config
        window: int | None = getattr(config, "sliding_window", None)
        kinds: list[str] | None = getattr(config, "layer_types", None)
        self._masks: dict[int | None, Tensor] = {}
        self._of_window = of_window
        self._windows = {
            cast(Any, layer).self_attn: (
                window if kinds is None or kinds[number] == "sliding_attention" else None
            )
            for number, layer in enumerate(architectures.layers(model))
        }

    def __getitem__(self, block: nn.Module) -> Tensor:
        window = self._windows[block]
        if window not in self._masks:
            self._masks[window] = self._of_window(window)
        return self._masks[window]


def causal_mask(length: int, window: int | None, like: Tensor) -> Tensor:
    """What is added to the scores of a text, [length, length]."""
    ahead = torch.ones(length, length, dtype=torch.bool).triu_(1)
    if window is not None and window < length:
        ahead |= torch.ones_like(ahead).tril_(-window)
    lowest = torch.finfo(like.dtype).min
    return torch.zeros(length, length, dtype=like.dtype).masked_fill_(ahead, lowest)


class Row:
    """A row of P tokens that goes through a model.

    Parameters
    ----------
    embedded : tensor [P, hidden]
        Written over, unless there are `tokens`.
    positions : tensor [P]
        Where each stands in its text.
    tokens : tensor [P], optional
        Which row of `embedded` each is, where there are fewer: what comes in front of the first
        attention is computed once for all that are the same.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        embedded: Tensor,
        positions: Tensor,
        attend: AttendRow,
        tokens: Tensor | None = None,
    ) -> None:
        self._model, self._attend = model, attend
        self._states = embedded if tokens is None else embedded[tokens]
        self._same = None if tokens is None else (embedded, tokens)
        body = cast(Any, architectures.body(model))
        self.rotary: tuple[Tensor, Tensor] = tuple(
            part[0] for part in body.rotary_emb(embedded, positions[None])
        )
        sizes = architectures.sizes(model.config)
        self._at_once = max(1, _NEURONS_AT_ONCE // sizes.intermediate)
        self._room = Workspace()

    def states(self, places: Tensor, keep: list[LayerStates] | None = None) -> Tensor:
        """The residual stream behind the last layer in some places of the row, [places, hidden].

        Parameters
        ----------
        keep : list, optional
            Filled with what each layer did.
        """
        layers = cast("list[Any]", architectures.layers(self._model))
        for layer in layers:
            given = self._states.clone() if keep is not None else self._states
            self._through_attention(layer, places if layer is layers[-1] else None)
            if keep is None:
                self._through_feed_forward(layer)
            else:
                keep.append(self._kept(layer, given))
        return self._states

    def normed_states(self, places: Tensor) -> Tensor:
        """`states` behind the final norm: what is unembedded."""
        normed: Tensor = architectures.final_norm(self._model)(self.states(places))
        return normed

    def _through_attention(self, layer: Any, places: Tensor | None = None) -> None:
        """Behind the last attention only some places are followed."""
        block = layer.self_attn
        query, key, value = self._projected(layer)
        query, key = self._turned("turned query", query), self._turned("turned key", key)
        made = self._attend(block, query, key, value).flatten(1)
        if places is not None:
            made, self._states = made[places], self._states[places]
        _add_linear(self._states, block.o_proj, made)

    def _projected(self, layer: Any) -> list[Tensor]:
        """Queries, keys and values [P, heads, head_dim], as they are without their positions."""
        block, same = layer.self_attn, self._same
        self._same = None
        normed = self._norm(layer.input_layernorm, self._states if same is None else same[0])
        projected = []
        for name in ("q_proj", "k_proj", "v_proj"):
            module = getattr(block, name)
            room = self._room.empty(name, normed, len(normed), module.out_features)
            projected.append(_linear(module, normed, room))
        if same is not None:
            projected = [part[same[1]] for part in projected]
        return [part.view(len(part), -1, block.head_dim) for part in projected]

    def _through_feed_forward(self, layer: Any) -> None:
        states, block = self._states, layer.mlp
        normed = self._norm(layer.post_attention_layernorm, states)
        at_once = max(1, min(len(states), self._at_once))
        neurons = self._room.empty("neurons", states, 2, at_once, block.gate_proj.out_features)
        for first in range(0, len(states), at_once):
            part = slice(first, first + at_once)
            gate, up = neurons[:, : len(normed[part])]
            _linear(block.gate_proj, normed[part], gate)
            _linear(block.up_proj, normed[part], up)
            _add_linear(states[part], block.down_proj, _activated(block.act_fn, gate).mul_(up))

    def _kept(self, layer: Any, before: Tensor) -> LayerStates:
        """`_through_feed_forward`, and what came on the way."""
        between = self._states.clone()
        normed = self._norm(layer.post_attention_layernorm, between)
        gate, up = layer.mlp.gate_proj(normed), layer.mlp.up_proj(normed)
        _add_linear(self._states, layer.mlp.down_proj, layer.mlp.act_fn(gate).mul_(up))
        return LayerStates(before, between, gate, up)

    def _norm(self, module: Any, states: Tensor) -> Tensor:
        size = torch.linalg.vector_norm(states, dim=-1, keepdim=True)
        root = size.square_().div_(states.shape[-1]).add_(module.variance_epsilon).rsqrt_()
        normed = self._room.empty("normed", states, *states.shape)
        return torch.mul(states, root, out=normed).mul_(module.weight)

    def _turned(self, name: str, states: Tensor) -> Tensor:
        """Queries or keys [P, heads, head_dim] turned to where they stand."""
        cos, sin = (part[:, None] for part in self.rotary)
        half = states.shape[-1] // 2
        turned = torch.mul(states, cos, out=self._room.empty(name, states, *states.shape))
        turned[..., :half].addcmul_(states[..., half:], sin[..., :half], value=-1)
        turned[..., half:].addcmul_(states[..., :half], sin[..., half:])
        return turned


def _linear(module: nn.Linear, given: Tensor, result: Tensor) -> Tensor:
    mapped(given, module.weight, result)
    return result if module.bias is None else result.add_(module.bias)


def _add_linear(states: Tensor, module: nn.Linear, given: Tensor) -> None:
    add_mapped(states, given, module.weight)
    if module.bias is not None:
        states += module.bias


def _activated(function: nn.Module, gate: Tensor) -> Tensor:
    """In place, where that is known how."""
    if isinstance(function, nn.SiLU) or type(function).__name__ == "SiLUActivation":
        return nn.functional.silu(gate, inplace=True)
    activated: Tensor = function(gate)
    return activated


def attend_alone(
    block: Any, query: Tensor, key: Tensor, value: Tensor, mask: Tensor
) -> tuple[Tensor, Tensor]:
    """Output [S, heads, head_dim] and pattern [heads, S, S] of one text.

    Parameters
    ----------
    query, key, value : tensors [S, heads, head_dim]
    mask : tensor [S, S]
    """
    size, heads, width = query.shape
    shared = key.shape[1]
    queries = query.transpose(0, 1).reshape(shared, -1, width)
    scores = torch.bmm(queries, key.permute(1, 2, 0)).view(heads, size, size)
    pattern = scores.mul_(block.scaling).add_(mask).softmax(dim=-1)
    made = torch.bmm(pattern.view(shared, -1, size), value.transpose(0, 1))
    return made.view(heads, size, width).transpose(0, 1), pattern


def states_of_variants(
    model: PreTrainedModel,
    embedded: Tensor,
    tokens: Tensor,
    packed: Packed,
    length: int,
    places: Tensor,
) -> Tensor:
    """What is unembedded in some places of a row of variants, [places, hidden].

    Parameters
    ----------
    embedded : tensor [tokens, hidden]
        Of all that differ.
    tokens : tensor [P]
        Which of them each token of the row is.
    length : int
        Of the longest text.
    """
    with torch.no_grad(), entering(model, length):
        if can_be_read_as_row(model):
            return _read_packed(model, embedded, tokens, packed, length, places)
        conditions = Conditions(packed=packed, fused=fusible(model))
        with observed(model, conditions), planned_once(model.device):
            states: Tensor = architectures.body(model)(
                inputs_embeds=embedded[tokens][None],
                position_ids=packed.position[None],
                # With positions that do not rise, and no mask, transformers takes it for several.
                attention_mask=torch.ones(1, length, device=model.device),
                use_cache=False,
            ).last_hidden_state[0]
    return states[places]


def _read_packed(
    model: PreTrainedModel,
    embedded: Tensor,
    tokens: Tensor,
    packed: Packed,
    length: int,
    places: Tensor,
) -> Tensor:
    masks = Masks(model, lambda window: packed.mask(causal_mask(length, window, embedded)))

    def attend(block: Any, *states: Tensor) -> Tensor:
        query, key, value = (part.transpose(0, 1)[None] for part in states)
        return packed.attend_in_cache(block, (query, key, value), masks[block], block.scaling)[0]

    used, tokens = torch.unique(tokens, return_inverse=True)
    row = Row(model, embedded[used], packed.position, attend, tokens)
    return row.normed_states(places)


@torch.no_grad()
def _comes_out_right(model: PreTrainedModel) -> bool:
    """Compare with the model's own pass, of a short text."""
    vocabulary = min(architectures.sizes(model.config).vocabulary, 64)
    ids = torch.tensor([(7 * place + 3) % vocabulary for place in range(9)])
    embedded, places = embeddings(model, ids), torch.arange(len(ids))
    masks = Masks(model, lambda window: causal_mask(len(ids), window, embedded))

    def attend(block: Any, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        return attend_alone(block, query, key, value, masks[block])[0]

    try:
        computed = Row(model, embedded.clone(), places, attend).normed_states(places)
        expected = architectures.body(model)(
            inputs_embeds=embedded[None], use_cache=False
        ).last_hidden_state[0]
    except (AttributeError, IndexError, KeyError, RuntimeError, TypeError, ValueError):
        return False  # it only looks like one
    return bool((computed - expected).abs().max() <= _TOLERANCE * expected.abs().max())


def of_llama_kind(model: PreTrainedModel) -> bool:
    """Whether all layers look like it, in full precision on a processor."""
    return (
        model.device.type == "cpu"
        and model.dtype in (torch.float32, torch.float64)
        and architectures.architecture_of(model.config) == Architecture()
        and hookable(model)
        and hasattr(architectures.final_norm(model), "variance_epsilon")
        and all(map(_layer_looks_like_it, architectures.layers(model)))
    )


def made_of(model: PreTrainedModel) -> tuple[object, ...]:
    """What being of this kind rests on, and what adapters, quantisation and patches change."""
    return (
        model.device.type,
        model.dtype,
        *(
            (type(part), type(part._parameters.get("weight")))
            for layer in architectures.layers(model)
            for part in layer.modules()
        ),
    )


def is_untouched(model: PreTrainedModel) -> bool:
    """Whether nothing listens to the parts of its layers, or changes what they give."""
    return not any(
        part._forward_pre_hooks
        or not all(map(_sleeps, part._forward_hooks.values()))
        or "forward" in vars(part)
        for layer in architectures.layers(model)
        for part in _parts(layer)
    )


def _sleeps(hook: object) -> bool:
    """Whether transformers left it, for all outputs that may be asked for: nobody asks here."""
    return getattr(hook, "__module__", "") == "transformers.utils.output_capturing"


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
        and not any(hasattr(part, "_hf_hook") for part in parts.values())
    )


def _parts(layer: nn.Module) -> list[nn.Module]:
    whole = cast(Any, layer)
    blocks = [layer, *layer.children()]
    return [*blocks, *whole.self_attn.children(), *whole.mlp.children()]
