"""Memory that is written over again and again: fetching fresh memory takes a processor's time."""

from __future__ import annotations

import torch
from torch import Tensor


class Workspace:
    """Tensors by name: each layer of a pass writes where the one before it wrote."""

    def __init__(self) -> None:
        self._tensors: dict[tuple[object, ...], Tensor] = {}

    def empty(self, name: str, like: Tensor, *shape: int) -> Tensor:
        """Room of a shape for what has a name, with whatever stood there last."""
        key = name, shape, like.dtype, like.device
        if key not in self._tensors:
            self._tensors[key] = torch.empty(shape, dtype=like.dtype, device=like.device)
        return self._tensors[key]
