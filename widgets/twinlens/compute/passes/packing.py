"""Variants of one text in one row, end to end: of each only the positions that differ.

What acts on a token by itself, which is nearly all the work, sees one long row without padding.
Attention sees each variant whole: what is not in the row are keys and values of the text itself.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeAlias

import numpy as np
import torch
from torch import Tensor, nn

from twinlens.contract.wire import Array

#: Gives the output [B, S, heads, head_dim] and, where it is kept, the pattern.
Attend: TypeAlias = Callable[..., tuple[Tensor, Any]]

#: Queries that attend at once: keys behind the last of them are left out. A device would rather
#: have few calls.
_QUERIES_AT_ONCE, _ELSEWHERE = 128, 1024
#: Numbers after which a row of a mask begins.
_ROUND = 16


@dataclass(frozen=True)
class Branches:
    """A text that goes on in several ways, which lie behind one another and do not see each other.

    Attributes
    ----------
    trunk : int
        Tokens that all have in common.
    lengths : sequence of int
        Tokens of each way to go on; T are all of them and the trunk's.
    """

    trunk: int
    lengths: Sequence[int]

    @property
    def longest(self) -> int:
        """Tokens of the trunk and of the longest way to go on."""
        return self.trunk + max(self.lengths)

    def begin(self, branch: int) -> int:
        """Place at which one of them begins."""
        return self.trunk + sum(self.lengths[:branch])

    def places(self) -> list[slice]:
        """The places of each way to go on."""
        begins = map(self.begin, range(len(self.lengths)))
        return [slice(b, b + size) for b, size in zip(begins, self.lengths, strict=True)]

    @cached_property
    def positions(self) -> Array:
        """Where each place stands in its own text, [T]."""
        return np.concatenate(
            [np.arange(self.trunk), *(self.trunk + np.arange(size) for size in self.lengths)]
        )

    def mask(self, whole: Tensor) -> Tensor:
        """Mask of all places [T, T], from that of one text as long as the longest."""
        positions = torch.from_numpy(self.positions).to(whole.device)
        mask = whole[positions[:, None], positions]
        apart = torch.ones_like(mask, dtype=torch.bool)
        apart[:, : self.trunk] = False
        for branch, size in enumerate(self.lengths):
            own = slice(self.begin(branch), self.begin(branch) + size)
            apart[own, own] = False
        # The trunk sees none of them: they stand behind it.
        return mask.masked_fill(apart, torch.finfo(mask.dtype).min)


@dataclass(frozen=True)
class Packed:
    """A row of P tokens out of K variants of one text of T tokens.

    Attributes
    ----------
    stored : dict of module to (keys, values)
        Of the text itself, each [1, kv_heads, T, head_dim], rotary position applied. Where they are
        not there yet the first variant is the text itself, and leaves them.
    places : sequence of sequences of int
        Positions of each variant that are in the row, rising; P in all. Those between the first
        and the last that are left out are attended to by no other.
    hidden : bool tensor [K, T]
        Positions of each variant that no other position may attend to.
    branches : Branches, optional
        Where the text goes on in several ways, `places` and `hidden` count over all of them.
    """

    stored: dict[nn.Module, tuple[Tensor, Tensor]]
    places: Sequence[Sequence[int]]
    hidden: Tensor
    branches: Branches | None = None

    @cached_property
    def _sizes(self) -> Array:
        """Tokens of each variant in the row, [K]."""
        return np.array([len(places) for places in self.places])

    @cached_property
    def _flat(self) -> Array:
        """`place`, where lists are made of it: a device is not waited for."""
        return np.concatenate([np.asarray(places, dtype=np.int64) for places in self.places])

    @cached_property
    def _slots(self) -> Array:
        """Tokens of the row by variant, [K, S]; shorter ones are filled up with their last."""
        steps = np.minimum(np.arange(self._sizes.max()), self._sizes[:, None] - 1)
        slots: Array = steps + (np.cumsum(self._sizes) - self._sizes)[:, None]
        return slots

    @cached_property
    def place(self) -> Tensor:
        """Where each token of the row stands in its variant, [P]."""
        return self._on_device(self._flat)

    @property
    def position(self) -> Tensor:
        """Where each token of the row stands in its text, [P]."""
        if self.branches is None:
            return self.place
        return self._on_device(self.branches.positions[self._flat])

    @cached_property
    def _row(self) -> Tensor:
        """Where each token of the row goes in keys of all variants laid end to end, [P]."""
        text = np.repeat(np.arange(len(self._sizes)), self._sizes)
        return self._on_device(text * self.hidden.shape[1] + self._flat)

    @cached_property
    def _grid(self) -> Tensor:
        """`_slots`, where the row is."""
        return self._on_device(self._slots)

    @cached_property
    def _cell(self) -> Tensor:
        """Where each token of the row stands in the grid laid flat, [P]."""
        longest = self._slots.shape[1]
        return self._on_device(np.flatnonzero(np.arange(longest) < self._sizes[:, None]))

    @cached_property
    def _pieces(self) -> list[tuple[int, slice, int]]:
        """Of the grid: how many variants still have tokens, which steps, and keys they reach."""
        longest = self._slots.shape[1]
        reach = self._flat[self._slots].max(axis=0)
        at_once = _QUERIES_AT_ONCE if self.hidden.device.type == "cpu" else _ELSEWHERE
        pieces = []
        for first in range(0, longest, at_once):
            steps = slice(first, min(first + at_once, longest))
            # Those after the last that is as long are left out.
            count = int(np.flatnonzero(self._sizes > first)[-1]) + 1
            pieces.append((count, steps, int(reach[steps].max()) + 1))
        return pieces

    def _on_device(self, numbers: Array) -> Tensor:
        return torch.from_numpy(numbers).to(self.hidden.device)

    def mask(self, whole: Tensor) -> Tensor:
        """Mask of the variants, [K, 1, S, T], from that of one text, [T, T]."""
        if self.branches is not None:
            whole = self.branches.mask(whole)
        places = self.place[self._grid]
        length = whole.shape[1]
        # Rows that begin at a round address, or each layer would copy the mask to such ones.
        whole = nn.functional.pad(whole, (0, -length % _ROUND))
        hidden = nn.functional.pad(self.hidden, (0, -length % _ROUND))
        mask = whole[places].masked_fill(hidden[:, None], torch.finfo(whole.dtype).min)
        # A token that is hidden from the others still attends to itself: no row is empty.
        return mask.scatter_(2, places[..., None], 0.0)[:, None, :, :length]

    def attend(
        self,
        attend: Attend,
        module: nn.Module,
        states: tuple[Tensor, Tensor, Tensor],
        mask: Tensor,
        **kwargs: Any,
    ) -> Tensor:
        """Output [1, P, heads, head_dim] for queries, keys and values [1, heads, P, head_dim]."""
        query, key, value = states
        old_key, old_value = self._of_text(module, key, value)
        count, longest = self._grid.shape
        # Layers may stand on several devices.
        cells = query[0].index_select(1, self._grid.flatten().to(query.device))
        queries = cells.reshape(len(cells), count, longest, -1).transpose(0, 1)
        keys, values = (
            self._whole(old, new).transpose(0, 1)
            for old, new in ((old_key, key), (old_value, value))
        )
        output = value.new_empty(count, longest, query.shape[1], value.shape[-1])
        for some, steps, reach in self._pieces:
            output[:some, steps] = attend(
                module,
                queries[:some, :, steps],
                keys[:some, :, :reach],
                values[:some, :, :reach],
                mask[:some, :, steps, :reach],
                **kwargs,
            )[0]
        return self._back(output)

    def attend_fused(
        self,
        module: nn.Module,
        states: tuple[Tensor, Tensor, Tensor],
        mask: Tensor,
        scaling: float | None = None,
    ) -> Tensor:
        """`attend` by the attention that torch has in one piece, for a processor.

        Keys that several heads share are not copied for each of them.
        """
        query, key, value = states
        old_key, old_value = self._of_text(module, key, value)
        keys, values = self._whole(old_key, key), self._whole(old_value, value)
        shared = query.shape[1] // key.shape[1]
        _, heads, row, size = query.shape
        by_token = query.reshape(heads // shared, shared, row, size).transpose(1, 2)
        cells = by_token.index_select(1, self._grid.flatten())
        cells = cells.reshape(len(cells), *self._grid.shape, shared, size)
        output = value.new_empty(*self._grid.shape, heads, value.shape[-1])
        for head, queries in enumerate(cells.transpose(2, 3)):
            place = slice(head * shared, (head + 1) * shared)
            for some, steps, reach in self._pieces:
                output[:some, steps, place] = nn.functional.scaled_dot_product_attention(
                    queries[:some, :, steps],
                    keys[head, :some, None, :reach].expand(-1, shared, -1, -1),
                    values[head, :some, None, :reach].expand(-1, shared, -1, -1),
                    attn_mask=mask[:some, :, steps, :reach],
                    scale=scaling,
                ).transpose(1, 2)
        return self._back(output)

    def _of_text(self, module: nn.Module, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
        if module not in self.stored:
            length = self.hidden.shape[1]
            self.stored[module] = key[:, :, :length].clone(), value[:, :, :length].clone()
        return self.stored[module]

    def _back(self, output: Tensor) -> Tensor:
        """From the grid to the row."""
        return output.flatten(0, 1).index_select(0, self._cell.to(output.device))[None]

    def _whole(self, old: Tensor, new: Tensor) -> Tensor:
        """Keys or values of every variant, [kv_heads, K, T, head_dim]."""
        count, length = self.hidden.shape
        whole = old[0].repeat(1, count, 1)
        whole.index_copy_(1, self._row.to(new.device), new[0])
        return whole.reshape(len(whole), count, length, -1)
