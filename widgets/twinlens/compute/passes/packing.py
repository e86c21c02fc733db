"""Variants of texts in one row, end to end: of each only the positions that differ.

What acts on a token by itself, which is nearly all the work, sees one long row without padding.
Attention sees each variant whole: what is not in the row are keys and values of the text itself.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise
from typing import Any, TypeAlias

import numpy as np
import torch
from torch import Tensor, nn

from twinlens.contract.wire import Array
from twinlens.support.cached import cached_property

#: Gives the output [B, S, heads, head_dim] and, where it is kept, the pattern.
Attend: TypeAlias = Callable[..., tuple[Tensor, Any]]

#: Steps of the variants that attend at once: keys behind the last of them are left out. On a
#: processor fewest, and queries of all variants; a device would rather have few calls.
_FEWEST_STEPS, _QUERIES, _ELSEWHERE = 32, 128, 1024
#: Keys of a variant are filled up to a multiple of this: products of aligned rows are faster.
_ROUND = 16


class Workspace:
    """Tensors by name: each layer of a pass writes where the one before it wrote.

    Fetching fresh memory takes a processor's time.
    """

    def __init__(self) -> None:
        self._tensors: dict[tuple[object, ...], Tensor] = {}

    def empty(self, name: str, like: Tensor, *shape: int) -> Tensor:
        """Room of a shape for what has a name, with whatever stood there last."""
        key = name, shape, like.dtype, like.device
        if key not in self._tensors:
            self._tensors[key] = torch.empty(shape, dtype=like.dtype, device=like.device)
        return self._tensors[key]


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
class Variants:
    """K variants of one text of T tokens.

    Attributes
    ----------
    stored : dict of module to (keys, values)
        Of the text itself, each [1, kv_heads, T, head_dim], rotary position applied. Where they are
        not there yet the first variant is the text itself, and leaves them.
    places : sequence of sequences of int
        Positions of each variant that are read, rising. Those between the first and the last that
        are left out are attended to by no other.
    hidden : bool tensor [K, T]
        Positions of each variant that no other position may attend to.
    branches : Branches, optional
        Where the text goes on in several ways, `places` and `hidden` count over all of them.
    """

    stored: dict[nn.Module, tuple[Tensor, Tensor]]
    places: Sequence[Sequence[int]]
    hidden: Tensor
    branches: Branches | None = None

    @property
    def length(self) -> int:
        """T."""
        return self.hidden.shape[1]

    @cached_property
    def flat(self) -> Array:
        """Places of all variants, end to end."""
        return np.concatenate([np.asarray(places, dtype=np.int64) for places in self.places])

    def mask(self, whole: Tensor) -> Tensor:
        """Mask of the text, [T, T], from that of one as long as the longest."""
        if self.branches is None:
            return whole[: self.length, : self.length]
        return self.branches.mask(whole)

    def positions(self) -> Array:
        """Where what is read stands in its text."""
        return self.flat if self.branches is None else self.branches.positions[self.flat]


@dataclass(frozen=True)
class Packed:
    """A row of P tokens out of variants of some texts, K in all.

    Attributes
    ----------
    texts : sequence of Variants
    """

    texts: Sequence[Variants]

    @property
    def device(self) -> torch.device:
        return self.texts[0].hidden.device

    @cached_property
    def _sizes(self) -> Array:
        """Tokens of each variant in the row, [K]."""
        return np.array([len(places) for text in self.texts for places in text.places])

    @cached_property
    def _flat(self) -> Array:
        """`place`, where lists are made of it: a device is not waited for."""
        return np.concatenate([text.flat for text in self.texts])

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
        return self._on_device(np.concatenate([text.positions() for text in self.texts]))

    @cached_property
    def _row(self) -> Tensor:
        """Where each token of the row goes in keys of all variants laid end to end, [P]."""
        text = np.repeat(np.arange(len(self._sizes)), self._sizes)
        return self._on_device(text * self._length + self._flat)

    @property
    def _length(self) -> int:
        """Keys of each variant, with those that it is filled up with, which nobody sees."""
        length = max(text.length for text in self.texts)
        return length + -length % _ROUND

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
        at_once = _ELSEWHERE
        if self.device.type == "cpu":
            at_once = max(_FEWEST_STEPS, _QUERIES // len(self._slots))
        pieces = []
        for first in range(0, longest, at_once):
            steps = slice(first, min(first + at_once, longest))
            # Those after the last that is as long are left out.
            count = int(np.flatnonzero(self._sizes > first)[-1]) + 1
            pieces.append((count, steps, int(reach[steps].max()) + 1))
        return pieces

    def _on_device(self, numbers: Array) -> Tensor:
        return torch.from_numpy(numbers).to(self.device)

    def _parts(self) -> Iterator[tuple[Variants, slice]]:
        """Each text, and which of the variants are its own."""
        ends = accumulate((len(text.places) for text in self.texts), initial=0)
        return zip(self.texts, (slice(*part) for part in pairwise(ends)), strict=True)

    def mask(self, whole: Tensor) -> Tensor:
        """Mask of the variants, [K, 1, S, T filled up], from that of the longest text, [T, T]."""
        lowest = torch.finfo(whole.dtype).min
        places = self.place[self._grid]
        mask = whole.new_full((*places.shape, self._length), lowest)
        for text, part in self._parts():
            seen = text.mask(whole)[places[part]]
            mask[part, :, : text.length] = seen.masked_fill_(text.hidden[:, None], lowest)
        # A token that is hidden from the others still attends to itself: no row is empty.
        return mask.scatter_(2, places[..., None], 0.0)[:, None]

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
        whole = self._whole(module, key, value)
        count, longest = self._grid.shape
        # Layers may stand on several devices.
        cells = query[0].index_select(1, self._grid.flatten().to(query.device))
        queries = cells.reshape(len(cells), count, longest, -1).transpose(0, 1)
        keys, values = (part.transpose(0, 1) for part in whole)
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

    def attend_in_cache(
        self,
        module: nn.Module,
        states: tuple[Tensor, Tensor, Tensor],
        mask: Tensor,
        scaling: float | None = None,
    ) -> Tensor:
        """`attend` for a processor, where a family's attention is the usual one.

        Heads that share keys are queries of one head; its scores, of a few steps at a time, stay
        in the cache.
        """
        # Scores and their softmax are never rounded to half the precision.
        given, dtype = states[0].dtype, torch.promote_types(states[0].dtype, torch.float32)
        query, key, value = (part.to(dtype) for part in states)
        keys, values = self._whole(module, key, value)
        _, heads, row, size = query.shape
        shared = heads // len(keys)
        cells, back = self._by_piece(heads, len(keys))
        queries = self._room.empty("queries", query, len(cells), size)
        flat = query[0].transpose(0, 1).reshape(row * heads, size)
        torch.index_select(flat, 0, cells, out=queries)
        queries *= size**-0.5 if scaling is None else scaling
        output = self._room.empty("output", value, len(cells), value.shape[-1])
        first = 0
        for some, steps, reach in self._pieces:
            reach += -reach % _ROUND
            seen = mask[:some, :, steps, :reach]
            shape = some, shared, seen.shape[2], reach
            for head in range(len(keys)):
                part = slice(first, first + some * shared * seen.shape[2])
                first = part.stop
                scores = torch.bmm(
                    queries[part].view(some, -1, size), keys[head, :some, :reach].transpose(1, 2)
                )
                pattern = scores.view(shape).add_(seen).softmax(dim=-1)
                torch.bmm(
                    pattern.view(scores.shape),
                    values[head, :some, :reach],
                    out=output[part].view(some, -1, value.shape[-1]),
                )
        made = self._room.empty("made", value, row * heads, value.shape[-1])
        torch.index_select(output, 0, back, out=made)
        return made.view(1, row, heads, -1).to(given)

    def _by_piece(self, heads: int, kv_heads: int) -> tuple[Tensor, Tensor]:
        """Where queries of the row laid flat, [P * heads], go for `_pieces`, by heads that share.

        And the way back, of which each is one: a shorter variant is filled up with its last.
        """
        if (heads, kv_heads) not in self._orders:
            shared = torch.arange(heads).view(kv_heads, 1, -1, 1)
            cells = torch.cat(
                [
                    (self._grid[:some, None, steps] * heads + shared).flatten()
                    for some, steps, _ in self._pieces
                ]
            )
            back = torch.empty(len(self._flat) * heads, dtype=torch.long)
            back[cells] = torch.arange(len(cells))
            self._orders[heads, kv_heads] = cells, back
        return self._orders[heads, kv_heads]

    @cached_property
    def _room(self) -> Workspace:
        return Workspace()

    @cached_property
    def _orders(self) -> dict[tuple[int, int], tuple[Tensor, Tensor]]:
        return {}

    def _whole(self, module: nn.Module, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
        """Keys and values of every variant, [kv_heads, K, T filled up, head_dim]."""
        begin = 0
        for text in self.texts:
            if module not in text.stored:
                itself = slice(begin, begin + text.length)
                text.stored[module] = key[:, :, itself].clone(), value[:, :, itself].clone()
            begin += len(text.flat)
        row = self._row.to(key.device)

        def filled(name: str, new: Tensor, which: int) -> Tensor:
            shape = new.shape[1], len(self._sizes), self._length, new.shape[-1]
            room = self._room.empty(name, new, *shape)
            for text, part in self._parts():
                room[:, part, : text.length] = text.stored[module][which][0, :, None]
                room[:, part, text.length :] = 0
            room.flatten(1, 2).index_copy_(1, row, new[0])
            return room

        return filled("keys", key, 0), filled("values", value, 1)

    def _back(self, output: Tensor) -> Tensor:
        """From the grid to the row."""
        return output.flatten(0, 1).index_select(0, self._cell.to(output.device))[None]
