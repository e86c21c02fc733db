"""What hiding groups of prompt tokens costs several answers to one prompt, exactly.

The prompt is read once, with the longest answer. Everything else, the other answers and each of
them with a group hidden, is a variant of that text, and only what differs from it is read.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from twinlens.compute.models import architectures
from twinlens.compute.passes.conditions import (
    Conditions,
    fusible,
    hookable,
    observed,
    planned_once,
)
from twinlens.compute.passes.entry import embeddings, entering
from twinlens.compute.passes.packing import Packed
from twinlens.compute.passes.reading import Reading, precise
from twinlens.compute.passes.rotary import rotary_by_length
from twinlens.compute.saliency.together import hidden_together
from twinlens.contract.wire import Array

#: Positions that are read at once, on a processor and elsewhere; and bounds of logits in memory.
_ON_CPU, _ELSEWHERE = 512, 2**13
_LOGITS_AT_ONCE = 2**25


@dataclass(frozen=True)
class _Variant:
    """One answer, with a group hidden or none.

    Attributes
    ----------
    answer : int
        Which of them.
    hidden : sequence of int
        Positions that no other may attend to.
    places : list of int
        Positions that differ from the text that was read; the last of them predict the answer.
    """

    answer: int
    hidden: Sequence[int]
    places: list[int]


def hidden_in_answers(readings: Sequence[Reading], groups: Sequence[Sequence[int]]) -> list[Array]:
    """What hiding groups of prompt tokens from every other token costs each of some answers.

    Parameters
    ----------
    readings : sequence of Reading
        One model and one prompt, with its answers.
    groups : sequence of groups
        Prompt positions.

    Returns
    -------
    list of float32 array [groups, M]
        As `hidden_together`, of each answer.

    Raises
    ------
    UnsupportedArchitectureError
        If the attention of the model cannot be reached.
    """
    model = readings[0].model
    # Texts of different lengths have not one rotary position in every family.
    if not hookable(model) or rotary_by_length(model):
        return [hidden_together([reading], [groups])[0] for reading in readings]
    order = sorted(range(len(readings)), key=lambda place: -len(readings[place].ids))
    length = len(readings[order[0]].ids) - 1
    embedded = [embeddings(model, reading.read)[0] for reading in readings]
    variants = {(order[0], -1): _Variant(order[0], (), list(range(length)))} | {
        (place, number): _Variant(place, group, _differing(readings[place], group))
        for place in order
        for number, group in ((-1, ()), *enumerate(groups))
        if (place, number) != (order[0], -1)
    }
    stored: dict[nn.Module, tuple[Tensor, Tensor]] = {}
    logprobs: dict[tuple[int, int], Tensor] = {}
    for batch in _batches(variants, model.device):
        chosen = [variants[key] for key in batch]
        hidden = torch.zeros(len(chosen), length, dtype=torch.bool)
        for row, variant in zip(hidden, chosen, strict=True):
            row[list(variant.hidden)] = True
        packed = Packed(stored, [cut.places for cut in chosen], hidden.to(model.device))
        point = torch.cat([embedded[variant.answer][variant.places] for variant in chosen])
        conditions = Conditions(packed=packed, fused=fusible(model))
        around = entering(model, length), observed(model, conditions), planned_once(model.device)
        with torch.no_grad(), around[0], around[1], around[2]:
            states = architectures.body(model)(
                inputs_embeds=point[None],
                position_ids=packed.place[None],
                # With positions that do not rise, and no mask, transformers takes it for several.
                attention_mask=torch.ones(1, length, device=model.device),
                use_cache=False,
            ).last_hidden_state[0]
        end = 0
        for key, variant in zip(batch, chosen, strict=True):
            reading, end = readings[variant.answer], end + len(variant.places)
            logprobs[key] = _logprobs(states[end - reading.answer_length : end], reading)
    lost = (
        torch.stack(
            [logprobs[place, -1] - logprobs[place, number] for number in range(len(groups))]
        )
        for place in range(len(readings))
    )
    return [rows.float().cpu().numpy() for rows in lost]


def _differing(reading: Reading, group: Sequence[int]) -> list[int]:
    """Positions that differ from the text that was read, for an answer with a group hidden.

    What comes in front of the group stays as it is, and without one the whole prompt; what is
    hidden nobody reads, but for the last prompt token, which predicts.
    """
    last, hidden = reading.prompt_length - 1, set(group)
    first = min(group, default=last)
    return [at for at in range(first, len(reading.ids) - 1) if at == last or at not in hidden]


def _batches(
    variants: Mapping[tuple[int, int], _Variant], device: torch.device
) -> Iterator[list[tuple[int, int]]]:
    """Variants that are read in one row; the first is the text itself."""
    most = _ON_CPU if device.type == "cpu" else _ELSEWHERE
    batch, size = list[tuple[int, int]](), 0
    for key, variant in variants.items():
        if batch and size + len(variant.places) > most:
            yield batch
            batch, size = [], 0
        batch.append(key)
        size += len(variant.places)
    if batch:
        yield batch


def _logprobs(states: Tensor, reading: Reading) -> Tensor:
    """Log-probabilities [M] of an answer, from the states that predict it."""
    parts = []
    size = max(1, _LOGITS_AT_ONCE // int(reading.model.config.vocab_size))
    with torch.no_grad():
        for first in range(0, len(states), size):
            some = states[None, first : first + size]
            scores = precise(architectures.scores(reading.model, some))[0]
            chosen = reading.targets[first : first + size, None]
            parts.append(scores.gather(-1, chosen)[:, 0] - scores.logsumexp(dim=-1))
    return torch.cat(parts)
