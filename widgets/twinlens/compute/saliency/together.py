"""Exact effects on many texts: groups of prompt tokens hidden from the rest, in shared passes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import TypeAlias

import numpy as np
import torch
from torch import Tensor, nn

from twinlens.compute.models import architectures
from twinlens.compute.passes.conditions import Conditions, Prefix, hookable
from twinlens.compute.passes.folding import Texts, embed
from twinlens.compute.passes.hiding import read_alone
from twinlens.compute.passes.reading import Reading, precise
from twinlens.contract.wire import Array
from twinlens.contract.words import Unit

#: Embeddings that stand in for some prompt tokens of a text, [tokens, hidden] or one number.
Instead: TypeAlias = Callable[[Reading, Sequence[int]], Tensor | float]

#: Bounds the numbers of one layer, and the logits, in memory.
_NUMBERS_AT_ONCE, _LOGITS_AT_ONCE = 2**22, 2**24
#: Texts with a group hidden that go through the model together: at least, and at most.
_FEWEST, _MOST = 4, 64


def hidden_together(
    readings: Sequence[Reading],
    groups: Sequence[Sequence[Sequence[int]]],
    instead: Instead | None = None,
) -> list[Array]:
    """What hiding groups of prompt tokens from every other token costs the answers.

    Parameters
    ----------
    readings : sequence of Reading
        Of one model.
    groups : sequence of sequences of groups
        For each text, groups of prompt positions.
    instead : callable, optional
        Do not hide the tokens, but put these embeddings in their place.

    Returns
    -------
    list of float32 array [groups, M]
        For each text, the drop of every answer token's log-probability, in nats, with each group
        hidden; positions are kept.

    Raises
    ------
    UnsupportedArchitectureError
        If the attention of the model cannot be reached.
    """
    model = readings[0].model
    if not hookable(model):
        pairs = zip(readings, groups, strict=True)
        return [_one_by_one(reading, mine, instead) for reading, mine in pairs]
    texts = Texts.together(readings)
    stored: dict[nn.Module, tuple[Tensor, Tensor]] = {}
    everyone = torch.arange(len(readings), device=model.device)
    intact = _logprobs(texts, everyone, 0, Conditions(hidden=texts.padding, stored=stored))
    costs = [
        np.zeros((len(mine), reading.answer_length), dtype=np.float32)
        for mine, reading in zip(groups, readings, strict=True)
    ]
    for start, batch in _batches(texts, groups):
        rows = torch.tensor([text for text, _ in batch], device=model.device)
        embedded = texts.embedded[rows]
        hidden = torch.zeros(embedded.shape[:2], dtype=torch.bool, device=model.device)
        for row, (text, number) in enumerate(batch):
            group = groups[text][number]
            places = [_front(texts, text) + place for place in group]
            if instead is None:
                hidden[row, places] = True
            else:
                embedded[row, places] = torch.as_tensor(
                    instead(readings[text], group), dtype=embedded.dtype, device=model.device
                )
        if texts.padding is not None:
            hidden |= texts.padding[rows]
        # Nothing before the first token of a group changes: it is read from the intact texts.
        conditions = Conditions(
            prefix=Prefix(stored, start, rows) if start else None,
            hidden=hidden if bool(hidden.any()) else None,
        )
        without = _logprobs(replace(texts, embedded=embedded), rows, start, conditions)
        lost = (intact[rows] - without).cpu().numpy()
        for (text, number), row in zip(batch, lost, strict=True):
            costs[text][number] = row[: readings[text].answer_length]
    return costs


def _one_by_one(
    reading: Reading, groups: Sequence[Sequence[int]], instead: Instead | None
) -> Array:
    """`hidden_together` of one text, a pass for each group."""
    embedded = embed(reading)[0]
    intact = read_alone(reading, embedded, reading.positions)
    costs = np.zeros((len(groups), reading.answer_length), dtype=np.float32)
    for row, group in zip(costs, groups, strict=True):
        places, changed = list(group), embedded
        if instead is not None:
            changed = embedded.clone()
            changed[places] = torch.as_tensor(instead(reading, group)).to(embedded)
        hidden = places if instead is None else ()
        without = read_alone(reading, changed, reading.positions, hidden)
        row[:] = (intact - without).cpu().numpy()
    return costs


def occlusion_together(
    readings: Sequence[Reading], unit: Unit, instead: Instead | None = None
) -> list[Array]:
    """Tables [N, M] of occlusion, of texts that are read together; see `hidden_together`."""
    groups = [reading.hidden_together(unit) for reading in readings]
    tables = []
    costs = hidden_together(readings, groups, instead)
    for reading, mine, rows in zip(readings, groups, costs, strict=True):
        table = np.zeros((reading.prompt_length, reading.answer_length), dtype=np.float32)
        for group, row in zip(mine, rows, strict=True):
            table[group] = row
        tables.append(table)
    return tables


def _front(texts: Texts, text: int) -> int:
    """Places of padding in front of a text."""
    return texts.prompt_length - texts.readings[text].prompt_length


def _batches(
    texts: Texts, groups: Sequence[Sequence[Sequence[int]]]
) -> Iterator[tuple[int, list[tuple[int, int]]]]:
    """Text and number of groups that are hidden in one pass, and where that begins.

    Groups that begin in nearly the same place go together: they share most of their prefix.
    """
    sizes = architectures.sizes(texts.readings[0].model.config)
    length = texts.embedded.shape[1]
    order = sorted(
        (_front(texts, text) + min(group), text, number)
        for text, mine in enumerate(groups)
        for number, group in enumerate(mine)
    )
    while order:
        start = order[0][0]
        numbers = (length - start) * (sizes.intermediate + sizes.heads * length)
        size = min(_MOST, max(_FEWEST, _NUMBERS_AT_ONCE // numbers))
        yield start, [(text, number) for _, text, number in order[:size]]
        order = order[size:]


def _logprobs(texts: Texts, rows: Tensor, start: int, conditions: Conditions) -> Tensor:
    """Log-probabilities of answers, [rows, M of the longest], read from place `start` on.

    Parameters
    ----------
    texts : Texts
        All of them; `embedded` has a row for each of `rows`.
    rows : tensor
        Which texts are read.
    """
    model, first = texts.readings[0].model, texts.prompt_length - 1
    chosen = replace(
        texts,
        readings=[texts.readings[row] for row in rows.tolist()],
        padding=None if texts.padding is None else texts.padding[rows],
    )
    with torch.no_grad(), chosen.around(conditions):
        states = chosen.states(chosen.embedded[:, start:], conditions)[:, first - start :]
        targets = torch.zeros(states.shape[:2], dtype=torch.long, device=states.device)
        for target, reading in zip(targets, chosen.readings, strict=True):
            target[: reading.answer_length] = reading.targets
        size = max(1, _LOGITS_AT_ONCE // (len(states) * int(model.config.vocab_size)))
        parts = []
        for place in range(0, states.shape[1], size):
            scores = precise(architectures.scores(model, states[:, place : place + size]))
            picked = scores.gather(-1, targets[:, place : place + size, None])[..., 0]
            parts.append(picked - scores.logsumexp(dim=-1))
    return torch.cat(parts, dim=1)
