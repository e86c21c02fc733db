"""Backward passes through one layer of Llama's kind, written out: of one text, without padding.

Gradients of K columns in S places are rows: what a place needs lies together, and where the text
is behind the end of a column there is none.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from twinlens.compute.passes.conditions import Heads
from twinlens.support.cached import cached_property


@dataclass
class NormBack:
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
    def at(cls, module: Any, given: Tensor) -> NormBack:
        root = (given.square().mean(dim=-1, keepdim=True) + module.variance_epsilon).rsqrt()
        return cls(given * root, module.weight * root)

    def of(self, places: slice | Tensor) -> NormBack:
        """In some places."""
        return NormBack(self.scaled[places], self.gain[places])

    def forward(self, directions: Tensor) -> Tensor:
        """What it gives moves by so much where what it was given [N, hidden] moves."""
        scaled, gain = self.scaled[: len(directions)], self.gain[: len(directions)]
        along = (directions * scaled).mean(dim=-1, keepdim=True)
        return gain * torch.addcmul(directions, scaled, along, value=-1)

    def back(self, gradients: Tensor, given: Tensor) -> None:
        """Add to `gradients` [S, K, hidden] what comes through the norm from `given`."""
        size = len(gradients)
        scaled, gain = self.scaled[:size, None], self.gain[:size, None]
        along = given @ (scaled * gain).transpose(1, 2)
        gradients.addcmul_(given, gain)
        gradients.addcmul_(scaled, along, value=-1 / scaled.shape[-1])


@dataclass(frozen=True)
class Columns:
    """Where gradients of K columns stand, as R rows: first those of N places that all have.

    Attributes
    ----------
    count, common : int
        K and N.
    ends : tensor [K]
        The last place of each column.
    """

    count: int
    common: int
    ends: Tensor

    @property
    def size(self) -> int:
        """S, all places."""
        return int(self.ends.max()) + 1

    @cached_property
    def behind(self) -> tuple[Tensor, Tensor]:
        """Place and column of each row behind those that all have."""
        places = torch.arange(self.common, self.size)
        step, column = (places[:, None] <= self.ends).nonzero(as_tuple=True)
        return step + self.common, column

    @cached_property
    def _cells(self) -> Tensor:
        """Where the rows stand among all places of all columns, laid flat."""
        place, column = self.behind
        return torch.cat([torch.arange(self.common * self.count), place * self.count + column])

    @cached_property
    def last(self) -> Tensor:
        """The row in which each column ends, [K]."""
        cells = self.ends * self.count + torch.arange(self.count)
        return torch.searchsorted(self._cells, cells)

    def parts(self, *rows: Tensor) -> Iterator[tuple[slice | Tensor, list[Tensor]]]:
        """Places, and rows [places, columns that all of them have, ...]: twice."""
        front = self.common * self.count
        yield (
            slice(self.common),
            [part[:front].view(-1, self.count, part.shape[1]) for part in rows],
        )
        yield self.behind[0], [part[front:, None] for part in rows]

    def rows(self, states: Tensor) -> Tensor:
        """Rows [R, ...] of states [S * K, ...]."""
        return states.index_select(0, self._cells)

    def by_head(self, rows: Tensor, heads: int) -> Tensor:
        """States [heads, S, K, head_dim] of rows, zero where there is none."""
        (_, (front,)), (place, (behind,)) = self.parts(rows)
        width = rows.shape[1] // heads
        states = rows.new_zeros(heads, self.size, self.count, width)
        in_front = front.reshape(self.common, self.count, heads, width)
        states[:, : self.common] = in_front.permute(2, 0, 1, 3)
        after = behind.reshape(len(behind), heads, width)
        states[:, place, self.behind[1]] = after.transpose(0, 1)
        return states


@dataclass
class LayerBack:
    """What one layer did with one text of S tokens.

    Attributes
    ----------
    heads : Heads
        Without the texts' dimension; queries and keys `in_pairs`.
    rotary : complex tensor [S, head_dim / 2]
        What the pairs are multiplied with.
    norms : (NormBack, NormBack)
        In front of attention, and of the feed-forward block.
    gate, up : tensors [S, intermediate]
        Derivative of a neuron by its gate, and by what the gate is multiplied with.
    """

    module: Any
    heads: Heads
    rotary: Tensor
    norms: tuple[NormBack, NormBack]
    gate: Tensor
    up: Tensor

    def through_feed_forward(self, gradients: Tensor, columns: Columns) -> None:
        """Rows from behind the feed-forward block to before it, in place."""
        mlp = self.module.mlp
        neurons = gradients @ mlp.down_proj.weight
        by_up = torch.empty_like(neurons)
        for places, (scaled, mine) in columns.parts(by_up, neurons):
            torch.mul(mine, self.up[places, None], out=scaled)
            mine *= self.gate[places, None]
        into = by_up @ mlp.up_proj.weight
        into.addmm_(neurons, mlp.gate_proj.weight)
        self._through_norm(1, gradients, into, columns)

    def _through_norm(self, which: int, gradients: Tensor, into: Tensor, columns: Columns) -> None:
        for places, (mine, given) in columns.parts(gradients, into):
            self.norms[which].of(places).back(mine, given)

    def through_attention(self, gradients: Tensor, columns: Columns) -> None:
        """Rows from behind the attention block to before it, in place."""
        attention, seen = self.module.self_attn, self.heads
        size, count = columns.size, columns.count
        given, scores = self._by_scores(gradients, columns, size)
        pattern = seen.pattern[:, :size, :size]
        scores *= (pattern * attention.scaling)[:, :, None]
        query = scores.flatten(1, 2) @ seen.key[:, :size]
        # Heads that share keys and values lie behind one another: products add them up.
        groups = attention.num_key_value_groups

        def shared(states: Tensor) -> Tensor:
            return states.reshape(-1, groups * size, states[0, 0].numel()).transpose(1, 2)

        key = shared(scores) @ shared(seen.query[:, :size]).transpose(1, 2)
        value = shared(pattern) @ shared(given).transpose(1, 2)
        turned = columns.rows(self._rotated_back(query.view(given.shape)))
        into = turned @ self._in_pairs(attention.q_proj)
        key = self._rotated_back(key.view(len(key), count, size, -1).transpose(1, 2))
        into.addmm_(columns.rows(key), self._in_pairs(attention.k_proj))
        value = value.view(len(value), size, count, -1).permute(1, 2, 0, 3).flatten(2)
        into.addmm_(columns.rows(value.flatten(0, 1)), attention.v_proj.weight)
        self._through_norm(0, gradients, into, columns)

    def slopes(self, gradients: Tensor, columns: Columns, directions: Tensor) -> Tensor:
        """Slopes [K, N] in front of the attention block along one direction for each place.

        Every place is moved alone. What its query, its key and its value become by that is the
        same for all columns: these meet it at the heads.

        Parameters
        ----------
        gradients : tensor [R, hidden]
            Behind the block.
        directions : tensor [N, hidden]
            Of the places that all columns have.
        """
        attention, seen, count = self.module.self_attn, self.heads, len(directions)
        size, groups = columns.size, attention.num_key_value_groups
        given, scores = self._by_scores(gradients, columns, count)
        moved = self.norms[0].forward(directions)
        query, key, value = (
            (moved @ weight.t()).view(count, -1, given.shape[-1]).transpose(0, 1)
            for weight in (
                self._in_pairs(attention.q_proj),
                self._in_pairs(attention.k_proj),
                attention.v_proj.weight,
            )
        )
        query, key = self._rotated(query), self._rotated(key)
        key, value = (part.repeat_interleave(groups, dim=0) for part in (key, value))
        pattern = seen.pattern[:, :size, :count]
        by_key = pattern * (seen.query[:, :size] @ key.transpose(1, 2))  # [heads, S, N]
        by_query = pattern[:, :count] * (query @ seen.key[:, :count].transpose(1, 2))
        slopes: Tensor = (scores * (by_key * attention.scaling)[:, :, None]).sum(dim=(0, 1))
        # What a place's own query does is seen in that place only.
        own = scores[:, :count] * (by_query * attention.scaling)[:, :, None]
        slopes += own.sum(dim=(0, 3)).t()
        along = (given.flatten(1, 2) @ value.transpose(1, 2)).view_as(scores)
        slopes += along.mul_(pattern[:, :, None]).sum(dim=(0, 1))
        _, (front,) = next(columns.parts(gradients))
        slopes += (front * directions[:, None]).sum(dim=-1).t()
        return slopes

    def _by_scores(self, gradients: Tensor, columns: Columns, reach: int) -> tuple[Tensor, Tensor]:
        """From behind the attention block to its heads, and to their scores over the pattern.

        Returns
        -------
        given : tensor [heads, S, K, head_dim]
        scores : tensor [heads, S, K, reach]
        """
        seen, size = self.heads, columns.size
        pattern = seen.pattern[:, :size, :size]
        given = columns.by_head(gradients @ self.module.self_attn.o_proj.weight, len(pattern))
        attended = (pattern @ seen.value[:, :size])[:, :, None]
        scores = (given.flatten(1, 2) @ seen.value[:, :reach].transpose(1, 2)).view(
            *given.shape[:3], reach
        )
        scores -= given @ attended.transpose(2, 3)
        return given, scores

    def from_heads(self, seeds: Tensor, residual: Tensor, columns: Columns) -> Tensor:
        """Rows before the layer, of seeds behind its heads, each where its column ends.

        Parameters
        ----------
        seeds : tensor [K, heads * head_dim]
        residual : tensor [K, hidden]
            By what the layer was given, there.
        """
        attention, seen, count = self.module.self_attn, self.heads, len(seeds)
        size, places = columns.size, columns.ends
        pattern = seen.pattern[:, places, :size]  # [heads, K, S]
        given = seeds.view(count, len(pattern), -1).transpose(0, 1)
        scores = given @ seen.value[:, :size].transpose(1, 2)
        scores -= (scores * pattern).sum(dim=-1, keepdim=True)
        scores *= pattern * attention.scaling
        query = scores @ seen.key[:, :size]
        key = self._of_shared(scores, seen.query[:, places])
        value = self._of_shared(pattern, given)
        into = columns.rows(self._rotated_back(key)) @ self._in_pairs(attention.k_proj)
        flat = value.permute(1, 2, 0, 3).flatten(2).flatten(0, 1)
        into.addmm_(columns.rows(flat), attention.v_proj.weight)
        turned = self._rotated_back(query[:, None], places)
        into[columns.last] += turned @ self._in_pairs(attention.q_proj)
        gradients = torch.zeros_like(into)
        gradients[columns.last] = residual
        self._through_norm(0, gradients, into, columns)
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

    def _in_pairs(self, module: nn.Linear) -> Tensor:
        """Weights of queries or keys, with what they give `in_pairs`."""
        half = self.rotary.shape[-1]
        return module.weight.view(-1, 2, half, module.in_features).transpose(1, 2).flatten(0, 2)

    def _rotated(self, states: Tensor) -> Tensor:
        """What is in the first places [heads, N, head_dim], turned to where it stands."""
        return _real(_complex(states) * self.rotary[: states.shape[1]])

    def _rotated_back(self, states: Tensor, places: Tensor | None = None) -> Tensor:
        """Rows [S * K, heads * head_dim] of gradients [heads, S, K, head_dim] before the rotation.

        `places` says where each of K stands, if it is only there.
        """
        if places is None:
            rotary = self.rotary[: states.shape[1], None, None]
        else:
            rotary = self.rotary[places, None]
        given = _complex(states).permute(1, 2, 0, 3)
        turned = given.new_empty(given.shape)
        return _real(torch.mul(given, rotary.conj_physical(), out=turned)).flatten(2).flatten(0, 1)


def in_pairs(states: Tensor) -> Tensor:
    """States [..., head_dim] with each number beside that with which it is turned."""
    return states.view(*states.shape[:-1], 2, -1).transpose(-1, -2).flatten(-2)


def _complex(pairs: Tensor) -> Tensor:
    return torch.view_as_complex(pairs.view(*pairs.shape[:-1], -1, 2))


def _real(pairs: Tensor) -> Tensor:
    return torch.view_as_real(pairs).flatten(-2)
