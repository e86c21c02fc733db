"""Rotary positions whose frequencies depend on how long the text is.

Families with such positions ("longrope", "dynamic") choose them in each pass by its last position.
A text that is read in pieces must be read with those of the whole.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

#: Modules of a model that place tokens: asked for in every pass, and found among all once.
_known: WeakKeyDictionary[nn.Module, list[nn.Module]] = WeakKeyDictionary()


def rotary_by_length(model: PreTrainedModel) -> list[nn.Module]:
    """Modules whose frequencies depend on the length of the text."""
    if model not in _known:
        _known[model] = [module for module in model.modules() if hasattr(module, "rope_type")]
    return [
        module
        for module in _known[model]
        if any(kind == "longrope" or "dynamic" in kind for kind in _types(module).values())
    ]


def changes_within(model: PreTrainedModel, first: int, last: int) -> bool:
    """Whether a text that grows from `first` to `last` tokens gets other frequencies meanwhile."""
    return any(
        not torch.equal(*(_at(module, length, kind)[:, 0] for length in (first, last)))
        for module in rotary_by_length(model)
        for kind in _types(module)
    )


def forget_texts(model: PreTrainedModel) -> None:
    """Dynamic positions stay at those of the longest text that was read: go back to none."""
    for module in rotary_by_length(model):
        for kind in _types(module):
            _at(module, 1, kind)


@contextmanager
def rotary_of(model: PreTrainedModel, length: int) -> Iterator[None]:
    """Read pieces of a text, inside, with the frequencies that a text of that length has."""
    with ExitStack() as stack:
        for module in rotary_by_length(model):
            before: Any = module.rope_type
            for kind in _types(module):
                # Chosen here, where no transform of torch.func forbids it.
                _at(module, length, kind)
            fixed = "fixed" if isinstance(before, str) else dict.fromkeys(before, "fixed")
            module.rope_type = fixed  # type: ignore[assignment]
            stack.callback(setattr, module, "rope_type", before)
        yield


def _at(module: nn.Module, length: int, kind: str) -> Tensor:
    """Cosines at the places 1 and `length` - 1 of a text of that length."""
    device = next(module.buffers()).device
    places = torch.tensor([[1, length - 1]], device=device)
    layer_type = {"layer_type": kind} if kind else {}
    nothing = torch.zeros((), device=device, dtype=torch.float32)
    # A short text first: dynamic ones would stay at those of the longest text that was read.
    module(nothing, torch.zeros_like(places), **layer_type)
    cosines: Tensor = module(nothing, places, **layer_type)[0]
    return cosines


def _types(module: nn.Module) -> dict[str, str]:
    """Kind of rotary position by kind of layer, "" where there is one for all."""
    kinds = getattr(module, "rope_type", "")
    return kinds if isinstance(kinds, dict) else {"": str(kinds)}
