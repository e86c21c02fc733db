"""Attention patterns of one text, kept without their empty upper half."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from twinlens.compute.passes.room import room


class Patterns:
    """Patterns of every head; ``patterns[layer]`` and ``patterns[layer, head]`` unpack them.

    Parameters
    ----------
    layers, heads, length : int
        L, H and T.
    dtype : torch.dtype
        float16 changes a weight by at most 1/2048 of itself (below 6e-5 by at most 3e-8).

    Attributes
    ----------
    packed : tensor, shape [L, H, T (T + 1) / 2]
        Lower triangles, row by row: rows are queries, and no query sees a later key.
    """

    def __init__(
        self, layers: int, heads: int, length: int, dtype: torch.dtype = torch.float16
    ) -> None:
        self.packed = room((layers, heads, length * (length + 1) // 2), dtype)
        self.length = length
        self._seen = torch.ones(length, length, dtype=torch.bool).tril()

    def __len__(self) -> int:
        return len(self.packed)

    def __iter__(self) -> Iterator[Tensor]:
        return (self[layer] for layer in range(len(self)))

    def __getitem__(self, place: int | tuple[int, int]) -> Tensor:
        """Patterns of a layer [H, T, T], or of one head [T, T], in the kept dtype."""
        rows = self.packed[place]
        dense = rows.new_zeros(*rows.shape[:-1], self.length, self.length)
        dense[..., self._seen] = rows
        return dense

    def put(self, layer: int, weights: Tensor) -> None:
        """Keep the patterns [H, T, T] of a layer, from any device."""
        self.packed[layer] = weights[:, self._seen.to(weights.device)].to(self.packed)

    @property
    def nbytes(self) -> int:
        """Bytes held."""
        return self.packed.nbytes + self._seen.nbytes
