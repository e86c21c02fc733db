"""Conditions of one pass through a model: a prefix that is not computed again, hidden tokens.

They act inside the attention function and the mask of `twinlens.compute.capture`, so that they
hold for every family, with sliding windows, under `torch.func` transforms and in gradients.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from transformers import PreTrainedModel


@dataclass(frozen=True)
class Prefix:
    """Keys and values of the first positions of a text, by attention module.

    By causality they stay as they are whatever happens to later tokens.

    Attributes
    ----------
    stored : dict of module to (keys, values)
        Each [1, kv_heads, at least `length`, head_dim], rotary position applied.
    length : int
        Positions that are not computed again.
    """

    stored: dict[nn.Module, tuple[Tensor, Tensor]]
    length: int

    def before(self, module: nn.Module, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
        """Keys and values [batch, kv_heads, length + S, head_dim] with the prefix in front."""

        def join(old: Tensor, new: Tensor) -> Tensor:
            return torch.cat([old[:, :, : self.length].expand(len(new), -1, -1, -1), new], dim=2)

        old_key, old_value = self.stored[module]
        return join(old_key, key), join(old_value, value)


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
    patterns : list, optional
        Filled with the attention pattern of every layer, in its gradient graph.
    """

    prefix: Prefix | None = None
    hidden: Tensor | None = None
    stored: dict[nn.Module, tuple[Tensor, Tensor]] | None = None
    patterns: list[Tensor] | None = field(default=None)

    @property
    def start(self) -> int:
        """Position of the first token the model is given."""
        return self.prefix.length if self.prefix else 0


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
    """Whether the family has the attention function that conditions act in."""
    return hasattr(sys.modules[type(model).__module__], "eager_attention_forward")
