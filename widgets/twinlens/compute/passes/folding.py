"""One pass over some texts, with everything folded in which positions stay apart.

All targets depend on the final hidden state at one position only, so the unembedding and whatever
follows it (softmax, soft cap) become, once, one vector per answer token. The same is true of all
that comes behind the last layer's attention: its output weights and the feed-forward layer.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, replace
from typing import cast

import torch
from torch import Tensor, nn

from twinlens.compute.models import architectures
from twinlens.compute.models.derivatives import check_differentiable
from twinlens.compute.passes.conditions import Conditions, Prefix, hookable, observed
from twinlens.compute.passes.cut import Cut, cut_open
from twinlens.compute.passes.entry import embeddings, entering
from twinlens.compute.passes.reading import Reading, Target, precise

#: Bounds the logits in memory.
_LOGITS_AT_ONCE = 2**21


@dataclass(frozen=True)
class Texts:
    """Texts that one model reads together: their prompts end at the same place.

    Attributes
    ----------
    readings : sequence of Reading
        B of them, of one model.
    embedded : tensor [B, T - 1, hidden]
        T tokens: the longest prompt and the longest answer.
    padding : bool tensor [B, T - 1], optional
        What stands in front of shorter prompts and is hidden from every other token. What stands
        behind shorter answers needs no mask: nothing looks ahead.
    """

    readings: Sequence[Reading]
    embedded: Tensor
    padding: Tensor | None = None

    @classmethod
    def together(cls, readings: Sequence[Reading]) -> Texts:
        """Some texts, with padding where their lengths differ."""
        first = readings[0]
        longest = max(reading.prompt_length for reading in readings)
        after = max(reading.answer_length for reading in readings) - 1
        rows, padding = [], []
        for reading in readings:
            front = longest - reading.prompt_length
            read = list(reading.ids[:-1])
            back = longest + after - front - len(read)
            rows.append([read[0]] * front + read + [read[-1]] * back)
            padding.append([True] * front + [False] * (longest + after - front))
        device = first.model.device
        embedded = embeddings(first.model, torch.tensor(rows, device=device))
        hidden = torch.tensor(padding, device=device)
        return cls(readings, embedded, hidden if bool(hidden.any()) else None)

    @property
    def prompt_length(self) -> int:
        """N, of the longest prompt."""
        return max(reading.prompt_length for reading in self.readings)

    @property
    def prompts(self) -> Tensor:
        """Embeddings of the prompts, shape [B, N, hidden]."""
        return self.embedded[:, : self.prompt_length]

    @property
    def answers(self) -> Tensor:
        """Embeddings of what is read of the answers, shape [B, M - 1, hidden]."""
        return self.embedded[:, self.prompt_length :]

    def placed(self, start: int, end: int) -> dict[str, Tensor]:
        """Arguments that tell a model where the places ``start .. end - 1`` stand in each text."""
        places = torch.arange(start, end, device=self.embedded.device).expand(
            len(self.readings), -1
        )
        if self.padding is None:
            return {"position_ids": places}
        fronts = self.padding.sum(dim=1, keepdim=True)
        # With positions that do not rise, and no mask, transformers takes a text for several.
        return {
            "position_ids": (places - fronts).clamp_min(0),
            "attention_mask": torch.ones(len(self.readings), end, device=places.device),
        }

    @property
    def conditions(self) -> Conditions | None:
        """Those under which no padding is seen; None where attention cannot be observed."""
        return Conditions(hidden=self.padding) if hookable(self.readings[0].model) else None

    @contextmanager
    def around(self, conditions: Conditions | None) -> Iterator[None]:
        """Inside, `states` may be asked for."""
        model = self.readings[0].model
        attention = observed(model, conditions) if conditions else nullcontext()
        with entering(model, self.embedded.shape[1]), attention:
            yield

    def states(self, embedded: Tensor, conditions: Conditions | None) -> Tensor:
        """Final hidden states [B, S, hidden] of embeddings, from where the conditions start on.

        Parameters
        ----------
        conditions : Conditions, optional
            Those of `around`; without them the model's own attention is used.
        """
        start = conditions.start if conditions else 0
        # Not every family that cannot be observed takes positions, and there they are the default.
        placed = self.placed(start, start + embedded.shape[1]) if conditions else {}
        body = architectures.body(self.readings[0].model)
        output = body(inputs_embeds=embedded, use_cache=False, **placed)
        return cast(Tensor, output.last_hidden_state)


@dataclass(frozen=True)
class Folded:
    """A pass whose head is folded.

    Attributes
    ----------
    columns : list of int
        Answer tokens it is about, m of them.
    hidden, weights : tensors [B, m, hidden], or [m, hidden] of one text
        Hidden states where they are predicted, in their gradient graph, and the target's gradient:
        zero behind the end of an answer. Of a pass that was cut, in place of the final hidden
        states those of `Cut.states`, [B, m, heads * head_dim + hidden].
    stored : dict
        Keys and values of every attention module, where it was asked for.
    """

    columns: list[int]
    hidden: Tensor
    weights: Tensor
    stored: dict[nn.Module, tuple[Tensor, Tensor]]


def embed(reading: Reading) -> Tensor:
    """What the first block is given of the text, [1, T - 1, hidden]."""
    return embeddings(reading.model, reading.read)


def fold(reading: Reading, target: Target, columns: Sequence[int], embedded: Tensor) -> Folded:
    """`fold_together` of one text with its graph: hidden states and weights are [m, hidden].

    Whether the graph fits is for the caller to know, see `fits`.
    """
    folded = fold_together(Texts([reading], embedded), target, columns, embedded)
    return replace(folded, hidden=folded.hidden[0], weights=folded.weights[0])


def fold_together(
    texts: Texts,
    target: Target,
    columns: Sequence[int],
    embedded: Tensor,
    conditions: Conditions | None = None,
    *,
    cut: bool = False,
) -> Folded:
    """Run the model and fold the head.

    Parameters
    ----------
    columns : sequence of int
        Answer tokens, in rising order.
    embedded : tensor [B, S, hidden]
        Embeddings of the places that are read, in the graph that gradients shall reach.
    conditions : Conditions, optional
        Run through the observed attention; otherwise the model's own is used.
    cut : bool
        Fold what is behind the last attention, too: gradients of its neurons are then lost.

    Raises
    ------
    NotDifferentiableError
        If gradients do not pass through its weights as they are stored.
    """
    model, chosen = texts.readings[0].model, list(columns)
    check_differentiable(model)
    start = conditions.start if conditions else 0
    places = torch.tensor(chosen, device=embedded.device) + (texts.prompt_length - 1 - start)
    opened: AbstractContextManager[Cut | None] = cut_open(model) if cut else nullcontext()
    with torch.enable_grad(), texts.around(conditions), opened as at:
        hidden = texts.states(embedded, conditions)[:, places]
    weights = head_gradient(texts, target, chosen, hidden)
    stored = (conditions.stored if conditions else None) or {}
    if at is None:
        return Folded(chosen, hidden, weights, stored)
    behind = at.weights(hidden, weights)
    return Folded(chosen, at.states[:, places], behind[:, places], stored)


def head_gradient(texts: Texts, target: Target, columns: list[int], hidden: Tensor) -> Tensor:
    """Gradient of some columns' targets with respect to their hidden states [B, m, hidden]."""
    size = max(1, _LOGITS_AT_ONCE // (len(hidden) * int(texts.readings[0].model.config.vocab_size)))
    places = [slice(first, first + size) for first in range(0, len(columns), size)]
    parts = [_head_gradient(texts, target, columns[part], hidden[:, part]) for part in places]
    return torch.cat(parts, dim=1)


def _head_gradient(texts: Texts, target: Target, columns: list[int], hidden: Tensor) -> Tensor:
    with torch.enable_grad():
        states = hidden.detach().requires_grad_()
        scores = precise(architectures.scores(texts.readings[0].model, states))
        total = scores.new_zeros(())
        for text_scores, reading in zip(scores, texts.readings, strict=True):
            own_columns = [column for column in columns if column < reading.answer_length]
            total = total + target(text_scores[: len(own_columns)], reading, own_columns).sum()
        return torch.autograd.grad(total, states)[0]


def segments(
    texts: Texts, target: Target, columns: Sequence[int], prompt: Tensor, size: int
) -> Iterator[Folded]:
    """Read the texts piece by piece, each with `size` of the columns at its end.

    A gradient of a column then goes back through the pieces up to its own: nothing of the answer
    behind it, and in the last layer only keys and values, is computed for nothing.

    Parameters
    ----------
    prompt : tensor [B, N, hidden]
        The prompts' embeddings, in the graph that gradients shall reach.
    """
    stored: dict[nn.Module, tuple[Tensor, Tensor]] = {}
    start = 0
    for place in range(0, len(columns), size):
        chosen = list(columns[place : place + size])
        end = texts.prompt_length + chosen[-1]
        piece = texts.answers[:, max(start - texts.prompt_length, 0) : chosen[-1]]
        embedded = piece if start else torch.cat([prompt, piece], dim=1)
        conditions = Conditions(
            prefix=Prefix(stored, start) if start else None,
            hidden=None if texts.padding is None else texts.padding[:, :end],
            stored={},
        )
        folded = fold_together(texts, target, chosen, embedded, conditions, cut=True)
        stored, start = folded.stored, end
        yield folded


def backward(folded: Folded, prompt: Tensor, places: list[int]) -> Tensor:
    """Gradients of some columns by one batched backward pass, shape [places, B, N, hidden]."""
    seeds = seeds_of(folded.weights, places)
    if len(places) == 1:
        return torch.autograd.grad(folded.hidden, prompt, seeds[0], retain_graph=True)[0][None]
    return torch.autograd.grad(
        folded.hidden, prompt, seeds, retain_graph=True, is_grads_batched=True
    )[0]


def seeds_of(weights: Tensor, places: Sequence[int]) -> Tensor:
    """Gradients [B, m, hidden] of some columns, each alone, [places, B, m, hidden]."""
    seeds = torch.zeros_like(weights).repeat(len(places), 1, 1, 1)
    for seed, place in zip(seeds, places, strict=True):
        seed[:, place] = weights[:, place]
    return seeds
