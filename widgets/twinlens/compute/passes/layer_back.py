"""Backward passes through one layer of Llama's kind, written out: of one text, without padding.

Gradients of K columns in S places are [S, K, hidden]: what a place needs lies together.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from twinlens.compute.passes.conditions import Heads


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

    def of(self, places: slice) -> NormBack:
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


@dataclass
class LayerBack:
    """What one layer did with one text of S tokens.

    Attributes
    ----------
    heads : Heads
        Without the texts' dimension.
    rotary : (tensor [S, head_dim], tensor [S, head_dim])
        Cosines and sines.
    norms : (NormBack, NormBack)
        In front of attention, and of the feed-forward block.
    gate, up : tensors [S, intermediate]
        Derivative of a neuron by its gate, and by what the gate is multiplied with.
    """

    module: Any
    heads: Heads
    rotary: tuple[Tensor, Tensor]
    norms: tuple[NormBack, NormBack]
    gate: Tensor
    up: Tensor

    def through_feed_forward(self, gradients: Tensor) -> None:
        """From behind the feed-forward block [S, K, hidden] to before it, in place."""
        mlp, size = self.module.mlp, len(gradients)
        neurons = gradients.flatten(0, 1) @ mlp.down_proj.weight
        by_neuron = neurons.view(*gradients.shape[:2], -1)
        up = (by_neuron * self.up[:size, None]).flatten(0, 1) @ mlp.up_proj.weight
        by_neuron *= self.gate[:size, None]
        up.addmm_(neurons, mlp.gate_proj.weight)
        self.norms[1].back(gradients, up.view_as(gradients))

    def through_attention(self, gradients: Tensor, reach: int) -> Tensor:
        """From behind the attention block [S, K, hidden] to before it, in the first places.

        Parameters
        ----------
        gradients : tensor [S, K, hidden]
            Written over.
        reach : int
            How many places those are; nothing in them depends on later ones in front of the block.

        Returns
        -------
        tensor [reach, K, hidden]
        """
        attention, seen = self.module.self_attn, self.heads
        size, count, _ = gradients.shape
        given, scores = self._by_scores(gradients, reach)
        pattern = seen.pattern[:, :size, :reach]
        scores *= (pattern * attention.scaling)[:, :, None]
        query = scores[:, :reach].flatten(1, 2) @ seen.key[:, :reach]
        # Heads that share keys and values lie behind one another: products add them up.
        groups = attention.num_key_value_groups

        def shared(states: Tensor) -> Tensor:
            return states.reshape(-1, groups * size, states[0, 0].numel()).transpose(1, 2)

        key = shared(scores) @ shared(seen.query[:, :size]).transpose(1, 2)
        value = shared(pattern) @ shared(given).transpose(1, 2)
        into = self._rotated_back(query.view(-1, reach, *given.shape[2:])) @ attention.q_proj.weight
        self._into_keys_and_values(
            into,
            key.view(len(key), count, reach, -1).transpose(1, 2),
            value.view(len(value), reach, count, -1),
        )
        gradients = gradients[:reach]
        self.norms[0].back(gradients, into.view_as(gradients))
        return gradients

    def slopes(self, gradients: Tensor, directions: Tensor) -> Tensor:
        """Slopes [K, N] in front of the attention block along one direction for each place.

        Every place is moved alone. What its query, its key and its value become by that is the
        same for all columns: these meet it at the heads.

        Parameters
        ----------
        gradients : tensor [S, K, hidden]
            Behind the block.
        directions : tensor [N, hidden]
            Of the first places.
        """
        attention, seen, count = self.module.self_attn, self.heads, len(directions)
        size, groups = len(gradients), attention.num_key_value_groups
        given, scores = self._by_scores(gradients, count)
        moved = self.norms[0].forward(directions)
        query, key, value = (
            (moved @ part.weight.t()).view(count, -1, given.shape[-1]).transpose(0, 1)
            for part in (attention.q_proj, attention.k_proj, attention.v_proj)
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
        slopes += (gradients[:count] * directions[:, None]).sum(dim=-1).t()
        return slopes

    def _by_scores(self, gradients: Tensor, reach: int) -> tuple[Tensor, Tensor]:
        """From behind the attention block to its heads, and to their scores over the pattern.

        Returns
        -------
        given : tensor [heads, S, K, head_dim]
        scores : tensor [heads, S, K, reach]
        """
        seen, (size, count, _) = self.heads, gradients.shape
        pattern = seen.pattern[:, :size, :size]
        by_head = (gradients.flatten(0, 1) @ self.module.self_attn.o_proj.weight).view(
            size, count, len(pattern), -1
        )
        given = by_head.permute(2, 0, 1, 3).contiguous()
        attended = (pattern @ seen.value[:, :size])[:, :, None]
        scores = (given.flatten(1, 2) @ seen.value[:, :reach].transpose(1, 2)).view(
            *given.shape[:3], reach
        )
        scores -= given @ attended.transpose(2, 3)
        return given, scores

    def from_heads(self, seeds: Tensor, residual: Tensor, places: Tensor) -> Tensor:
        """Gradients [S, K, hidden] before the layer, of seeds behind its heads, each in one place.

        Parameters
        ----------
        seeds : tensor [K, heads * head_dim]
        residual : tensor [K, hidden]
            By what the layer was given, there.
        places : tensor [K]
        """
        attention, seen, count = self.module.self_attn, self.heads, len(seeds)
        size = int(places.max()) + 1
        pattern = seen.pattern[:, places, :size]  # [heads, K, S]
        given = seeds.view(count, len(pattern), -1).transpose(0, 1)
        scores = given @ seen.value[:, :size].transpose(1, 2)
        scores -= (scores * pattern).sum(dim=-1, keepdim=True)
        scores *= pattern * attention.scaling
        query = scores @ seen.key[:, :size]
        key = self._of_shared(scores, seen.query[:, places])
        value = self._of_shared(pattern, given)
        into = seeds.new_zeros(size * count, residual.shape[-1])
        self._into_keys_and_values(into, key, value)
        columns = torch.arange(count, device=places.device)
        turned = self._rotated_back(query[:, None], places)
        into = into.view(size, count, -1)
        into[places, columns] += turned @ attention.q_proj.weight
        gradients = torch.zeros_like(into)
        gradients[places, columns] = residual
        self.norms[0].back(gradients, into)
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

    def _into_keys_and_values(self, into: Tensor, key: Tensor, value: Tensor) -> None:
        """Add what comes through keys and values [kv_heads, S, K, head_dim] to [S * K, hidden]."""
        attention = self.module.self_attn
        into.addmm_(self._rotated_back(key), attention.k_proj.weight)
        flat = value.permute(1, 2, 0, 3).reshape(len(into), -1)
        into.addmm_(flat, attention.v_proj.weight)

    def _rotated(self, states: Tensor) -> Tensor:
        """What is in the first places [heads, N, head_dim], turned to where it stands."""
        cos, sin = (part[: states.shape[1]] for part in self.rotary)
        first, second = states.chunk(2, dim=-1)
        return states * cos + torch.cat([-second, first], dim=-1) * sin

    def _rotated_back(self, states: Tensor, places: Tensor | None = None) -> Tensor:
        """Rows [S * K, heads * head_dim] of gradients [heads, S, K, head_dim] before the rotation.

        `places` says where each of K stands, if it is only there.
        """
        size, half = states.shape[1], states.shape[3] // 2
        cos, sin = (
            part[:size, None, None] if places is None else part[places, None]
            for part in self.rotary
        )
        given = states.permute(1, 2, 0, 3)
        turned = torch.empty(given.shape, dtype=given.dtype, device=given.device)
        first, second = turned[..., :half], turned[..., half:]
        torch.mul(given[..., :half], cos[..., :half], out=first)
        first.addcmul_(given[..., half:], sin[..., half:])
        torch.mul(given[..., half:], cos[..., half:], out=second)
        second.addcmul_(given[..., :half], sin[..., :half], value=-1)
        return turned.flatten(2).flatten(0, 1)
