"""Texts that are continued token by token, through layers of Llama's kind written out.

Prompts are read end to end, and so are their next tokens: nothing is padded but the keys.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from twinlens.compute.passes.answer_scores import Unembedding
from twinlens.compute.passes.entry import embeddings
from twinlens.compute.passes.guessing import MOST
from twinlens.compute.passes.row import Masks, Row, causal_mask

#: Bytes of keys and values of prompts that are kept once they have been continued.
_MOST_KEPT = 2**27
#: Tokens that there is room for behind the longest text, when room is made.
_ROOM = 32


@dataclass
class _Seen:
    """Keys and values of one attention block, [texts, kv_heads, room, head_dim].

    Behind the end of a text they are masked, which counts zero times: they have to be numbers.
    """

    keys: Tensor
    values: Tensor

    def make_room(self, length: int) -> None:
        missing = length - self.keys.shape[2]
        if missing > 0:
            more = (0, 0, 0, missing + _ROOM)
            self.keys = nn.functional.pad(self.keys, more)
            self.values = nn.functional.pad(self.values, more)


@dataclass(frozen=True)
class ReadPrompt:
    """What is known of a prompt that was continued.

    Attributes
    ----------
    seen : list of (tensor, tensor)
        Keys and values of each layer, [kv_heads, N, head_dim], rotary position applied.
    logprobs : tensor [M]
        Of the tokens that it was continued with.
    """

    seen: list[tuple[Tensor, Tensor]]
    logprobs: Tensor


class Continued:
    """Some texts, and what comes next in each."""

    def __init__(self, model: PreTrainedModel, prompts: Sequence[Sequence[int]]) -> None:
        self._model = model
        self._lengths = torch.tensor([len(prompt) for prompt in prompts])
        self._seen: dict[nn.Module, _Seen] = {}
        self._unembedding = Unembedding(model, max(len(prompts), 1 + MOST))
        self._sizes = [len(prompt) for prompt in prompts]
        self._prompts: list[tuple[Tensor, Tensor]] = []
        self._given = [list(prompt) for prompt in prompts]

    def prompt(self, text: int) -> list[tuple[Tensor, Tensor]]:
        """`ReadPrompt.seen` of one of the texts that it began with; none where that is too much."""
        if sum(2 * keys.nbytes for keys, _ in self._prompts) > _MOST_KEPT:
            return []
        size = self._sizes[text]
        return [(keys[text, :, :size], values[text, :, :size]) for keys, values in self._prompts]

    def scores(self, guess: Sequence[int] = ()) -> Tensor:
        """Logits of what comes next in each text, [texts, vocabulary].

        Parameters
        ----------
        guess : sequence of int, optional
            Tokens that one text alone may go on with, once it has been gone on with: behind each
            of them is read, too, [1 + guesses, vocabulary].
        """
        return self._first() if self._given else self._next(guess)

    def go_on(self, tokens: Tensor, texts: list[int]) -> None:
        """Add tokens [texts] to some of the texts, and leave the others; to one alone, any number.

        All but the last of these must have been guessed.
        """
        alone = len(self._lengths) == 1
        if len(texts) < len(self._lengths):
            rows = torch.tensor(texts)
            tokens, self._lengths = tokens[rows], self._lengths[rows]
            for seen in self._seen.values():
                seen.keys, seen.values = seen.keys[rows], seen.values[rows]
        self._given, self._tokens = [], tokens[-1:] if alone else tokens
        self._lengths = self._lengths + (len(tokens) if alone else 1)

    def _first(self) -> Tensor:
        sizes = self._sizes
        parts = [slice(*ends) for ends in pairwise(accumulate(sizes, initial=0))]
        flat = torch.tensor([token for prompt in self._given for token in prompt])
        embedded = embeddings(self._model, flat)
        masks = Masks(self._model, lambda window: causal_mask(max(sizes), window, embedded))

        def attend(block: Any, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
            shape = len(sizes), key.shape[1], max(sizes) + _ROOM, key.shape[2]
            seen = self._seen[block] = _Seen(key.new_zeros(shape), key.new_zeros(shape))
            self._prompts.append((seen.keys, seen.values))
            made, mask = torch.empty_like(query), masks[block]
            for text, (part, size) in enumerate(zip(parts, sizes, strict=True)):
                seen.keys[text, :, :size] = key[part].transpose(0, 1)
                seen.values[text, :, :size] = value[part].transpose(0, 1)
                made[part] = nn.functional.scaled_dot_product_attention(
                    query[part].transpose(0, 1),
                    seen.keys[text, :, :size].repeat_interleave(block.num_key_value_groups, 0),
                    seen.values[text, :, :size].repeat_interleave(block.num_key_value_groups, 0),
                    attn_mask=mask[:size, :size],
                    scale=block.scaling,
                ).transpose(0, 1)
            return made

        positions = torch.cat([torch.arange(size) for size in sizes])
        row = Row(self._model, embedded, positions, attend)
        return self._unembedding.scores(row.normed_states(self._lengths.cumsum(0) - 1))

    def _next(self, guess: Sequence[int]) -> Tensor:
        tokens = torch.cat([self._tokens, self._tokens.new_tensor(list(guess))])
        # Rows: of every text its last token, or of one alone that and the guesses behind it.
        places = self._lengths - 1 + torch.arange(len(tokens)) * bool(guess)
        longest = int(places.max()) + 1
        texts = torch.arange(len(self._lengths)).expand(len(tokens))

        def seen_by_row(window: int | None) -> Tensor:
            behind = places[:, None] - torch.arange(longest)
            apart = behind < 0 if window is None else (behind < 0) | (behind >= window)
            return ~apart

        masks = Masks(self._model, seen_by_row)

        def attend(block: Any, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
            seen = self._seen[block]
            seen.make_room(longest)
            seen.keys[texts, :, places], seen.values[texts, :, places] = key, value
            # Heads that share keys and values are queries of one head, and so are rows of one text.
            of_text = -1, key.shape[1], block.num_key_value_groups, query.shape[-1]
            heads = query.view(len(self._lengths), *of_text).transpose(1, 2)
            mask = masks[block].view(len(heads), 1, -1, 1, longest)
            made = nn.functional.scaled_dot_product_attention(
                heads.flatten(2, 3),
                seen.keys[:, :, :longest],
                seen.values[:, :, :longest],
                attn_mask=mask.expand(-1, -1, -1, heads.shape[3], -1).flatten(2, 3),
                scale=block.scaling,
            )
            return made.reshape(heads.shape).transpose(1, 2).reshape(query.shape)

        row = Row(self._model, embeddings(self._model, tokens), places, attend)
        return self._unembedding.scores(row.normed_states(torch.arange(len(tokens))))
