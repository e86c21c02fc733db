"""Conditions of one pass through a model: a prefix that is not computed again, hidden tokens.

They act inside an attention function and a mask of our own, so that they hold for every family,
with sliding windows, under `torch.func` transforms and in gradients.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from transformers import AttentionInterface, PreTrainedModel
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import AttentionMaskInterface, eager_mask

from twinlens.compute.models.architectures import architecture_of, attention, layers
from twinlens.compute.passes.packing import Packed
from twinlens.errors import UnsupportedArchitectureError


@dataclass(frozen=True)
class Prefix:
    """Keys and values of the first positions of a text, by attention module.

    By causality they stay as they are whatever happens to later tokens.

    Attributes
    ----------
    stored : dict of module to (keys, values)
        Each [texts, kv_heads, at least `length`, head_dim], rotary position applied.
    length : int
        Positions that are not computed again.
    texts : tensor [batch], optional
        Which of the stored texts each text of the batch goes on from; by default they are the
        same, or all go on from one.
    """

    stored: dict[nn.Module, tuple[Tensor, Tensor]]
    length: int
    texts: Tensor | None = None

    def before(self, module: nn.Module, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
        """Keys and values [batch, kv_heads, length + S, head_dim] with the prefix in front."""

        def join(old: Tensor, new: Tensor) -> Tensor:
            past = old[:, :, : self.length]
            past = past.expand(len(new), -1, -1, -1) if self.texts is None else past[self.texts]
            return torch.cat([past, new], dim=2)

        old_key, old_value = self.stored[module]
        return join(old_key, key), join(old_value, value)


@dataclass(frozen=True)
class Heads:
    """What the heads of one layer made of some texts, rotary position applied.

    Attributes
    ----------
    query, key, value : tensors [texts, heads, S, head_dim]
        Keys and values of as many heads as the model has of them.
    pattern : tensor [texts, heads, S, S]
    """

    query: Tensor
    key: Tensor
    value: Tensor
    pattern: Tensor


@dataclass(frozen=True)
class Conditions:
    """What is different in a pass, and what it leaves behind.

    Attributes
    ----------
    prefix : Prefix, optional
        The model is given only the positions after it.
    hidden : bool tensor [batch, T], optional
        Tokens no other token may attend to; each still attends to itself, so no row is empty.
    stored : dict, optional
        Filled with the keys and values of every attention module.
    pattern : callable, optional
        Told the attention pattern of every layer, in its gradient graph.
    heads : list of Heads, optional
        Filled with those of every layer, without their graph.
    packed : Packed, optional
        The model is given a row of variants of one text, and no pattern is kept.
    fused : bool
        Whether `packed` may use the attention that torch has in one piece.
    """

    prefix: Prefix | None = None
    hidden: Tensor | None = None
    stored: dict[nn.Module, tuple[Tensor, Tensor]] | None = None
    pattern: Callable[[Tensor], None] | None = None
    heads: list[Heads] | None = None
    packed: Packed | None = None
    fused: bool = False

    @property
    def start(self) -> int:
        """Position of the first token the model is given."""
        return self.prefix.length if self.prefix else 0


_NAME = "twinlens"
_NONE = Conditions()
_current: ContextVar[Conditions] = ContextVar("conditions", default=_NONE)


def current() -> Conditions:
    """Conditions of the pass that runs in this thread."""
    return _current.get()


@contextmanager
def under(conditions: Conditions) -> Iterator[None]:
    """Set the conditions of the passes inside; of this thread only."""
    token = _current.set(conditions)
    try:
        yield
    finally:
        _current.reset(token)


def hookable(model: PreTrainedModel) -> bool:
    """Whether every layer of the family has the attention function that conditions act in."""
    entry = architecture_of(model.config)
    if entry.mixer:
        return False
    projection = entry.query_key_value[0]
    block = layers(model)[0].get_submodule(projection.rpartition(".")[0])
    return hasattr(sys.modules[type(block).__module__], "eager_attention_forward")


_one_kernel = threading.Lock()


@contextmanager
def planned_once(device: torch.device) -> Iterator[None]:
    """Inside, attention of torch does not go through cuDNN, which plans anew for every shape.

    Packed passes have each a shape of their own. Which kernels are allowed is set for the whole
    process, so one thread at a time may change it.
    """
    if device.type != "cuda":
        yield
        return
    with _one_kernel, sdpa_kernel([SDPBackend.EFFICIENT_ATTENTION, SDPBackend.MATH]):
        yield


@contextmanager
def patterns_heard(model: PreTrainedModel, put: Callable[[Tensor], None]) -> Iterator[None]:
    """Tell the attention pattern of each layer that runs, in its gradient graph.

    Of families that have an attention function of their own: what their blocks give beside their
    output are the weights that they have multiplied by.

    Raises
    ------
    UnsupportedArchitectureError
        If not every layer has attention.
    """
    if architecture_of(model.config).mixer:
        raise UnsupportedArchitectureError(
            f"cannot be computed: some layers of {model.config.model_type!r} models carry a state "
            "along the text in place of attention; use gradient × input or occlusion instead"
        )

    def hear(_: nn.Module, __: object, output: tuple[Tensor, ...]) -> None:
        put(output[1])

    with ExitStack() as stack:
        for layer in range(len(layers(model))):
            stack.enter_context(attention(model, layer).register_forward_hook(hear))
        yield


def fusible(model: PreTrainedModel) -> bool:
    """Whether the family's attention is the one that torch has in one piece."""
    return bool(getattr(model, "_supports_sdpa", False))


def _attention(
    module: nn.Module, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, **kwargs: Any
) -> tuple[Tensor, Tensor | None]:
    # The family's own eager function knows its soft caps, groups and scales: nothing to imitate.
    eager = sys.modules[type(module).__module__].eager_attention_forward
    conditions = current()
    if conditions.packed is not None and mask is not None:
        packed, states = conditions.packed, (query, key, value)
        if conditions.fused and query.device.type == "cpu" and "position_bias" not in kwargs:
            return packed.attend_in_cache(module, states, mask, kwargs.get("scaling")), None
        attend = sdpa_attention_forward if conditions.fused else eager
        return packed.attend(attend, module, states, mask, **kwargs), None
    if conditions.prefix is not None:
        key, value = conditions.prefix.before(module, key, value)
    if conditions.stored is not None:
        conditions.stored[module] = key, value
    output, weights = eager(module, query, key, value, mask, **kwargs)
    if conditions.pattern is not None:
        conditions.pattern(weights)
    if conditions.heads is not None:
        query, key, value = query.detach(), key.detach(), value.detach()
        conditions.heads.append(Heads(query, key, value, weights.detach()))
    return output, weights


def _mask(*, q_length: int, kv_length: int, **kwargs: Any) -> Tensor:
    conditions = current()
    start = conditions.start
    if conditions.packed is not None:
        kwargs["attention_mask"] = None
        return conditions.packed.mask(
            eager_mask(q_length=kv_length, kv_length=kv_length, **kwargs)[0, 0]
        )
    if start:
        kv_length, kwargs["q_offset"] = start + q_length, start
    mask: Tensor = eager_mask(q_length=q_length, kv_length=kv_length, **kwargs)
    if conditions.hidden is not None:
        mask = mask.masked_fill(conditions.hidden[:, None, None], torch.finfo(mask.dtype).min)
    # A token that occlusion hides is hidden from later tokens, never from itself: no row is empty.
    mask.diagonal(offset=start, dim1=-2, dim2=-1).zero_()
    return mask


AttentionInterface.register(_NAME, _attention)
# Without a mask function of the same name transformers passes no mask at all, silently.
AttentionMaskInterface.register(_NAME, _mask)


@contextmanager
def observed(model: PreTrainedModel, conditions: Conditions | None = None) -> Iterator[None]:
    """Run the model's attention through twinlens, under conditions; never with a cache."""
    before = model.config._attn_implementation
    model.set_attn_implementation(_NAME)
    try:
        with under(conditions or Conditions()):
            yield
    finally:
        model.set_attn_implementation(before)
