"""Rotary positions whose frequencies depend on how long the text is.

Families with such positions ("longrope", "dynamic") choose them in each pass by its last position.
A text that is read in pieces must be read with those of the whole.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

if TYPE_CHECKING:
    from transformers import PreTrainedModel


def rotary_by_length(model: PreTrainedModel) -> list[nn.Module]:
    """Modules whose frequencies depend on the length of the text."""
    return [module for module in model.modules() if any(map(_changes, _types(module).values()))]


@contextmanager
def rotary_of(model: PreTrainedModel, length: int) -> Iterator[None]:
    """Read pieces of a text, inside, with the frequencies that a text of that length has."""
    with ExitStack() as stack:
        for module in rotary_by_length(model):
            before: Any = module.rope_type
            last = torch.tensor([[length - 1]], device=model.device)
            nothing = torch.zeros((), device=model.device)
            for kind in _types(module):
                # Chosen here, where no transform of torch.func forbids it.
                module(nothing, last, **({"layer_type": kind} if kind else {}))
            fixed = "fixed" if isinstance(before, str) else dict.fromkeys(before, "fixed")
            module.rope_type = fixed  # type: ignore[assignment]
            stack.callback(setattr, module, "rope_type", before)
        yield


def _types(module: nn.Module) -> dict[str, str]:
    """Kind of rotary position by kind of layer, "" where there is one for all."""
    kinds = getattr(module, "rope_type", "")
    return kinds if isinstance(kinds, dict) else {"": str(kinds)}


def _changes(kind: str) -> bool:
    return kind == "longrope" or "dynamic" in kind
