"""What hiding groups of prompt tokens costs several answers to one prompt, exactly.

The prompt is read once, and goes on in every answer. With a group hidden it is a variant of that,
of which only what differs is read.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor, nn

from twinlens.compute.models import architectures
from twinlens.compute.passes.answer_scores import logprobs
from twinlens.compute.passes.conditions import (
    hookable,
)
from twinlens.compute.passes.entry import embeddings
from twinlens.compute.passes.packing import Branches, Packed
from twinlens.compute.passes.reading import Reading
from twinlens.compute.passes.rotary import rotary_by_length
from twinlens.compute.passes.row import can_be_read_as_row, states_of_variants
from twinlens.compute.passes.steps_written_out import ReadPrompt
from twinlens.compute.saliency.together import hidden_together
from twinlens.contract.wire import Array

#: Positions that are read at once, on a processor and elsewhere.
_ON_CPU, _ELSEWHERE = 512, 2**13


def hidden_in_answers(
    readings: Sequence[Reading],
    groups: Sequence[Sequence[int]],
    known: Sequence[ReadPrompt | None] | None = None,
) -> list[Array]:
    """What hiding groups of prompt tokens from every other token costs each of some answers.

    Parameters
    ----------
    readings : sequence of Reading
        One model and one prompt, with its answers.
    groups : sequence of groups
        Prompt positions.
    known : sequence of ReadPrompt, optional
        What is known of the prompt where an answer was given by the model itself.

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
    first, prompt = readings[0], readings[0].prompt_length
    branches = Branches(prompt, [reading.answer_length - 1 for reading in readings])
    length = prompt + sum(branches.lengths)
    tokens = [*first.ids[:prompt], *(t for reading in readings for t in reading.ids[prompt:-1])]
    embedded = embeddings(model, torch.tensor(tokens, device=model.device))
    # Groups may be the same, such as the context and all that is no instruction.
    distinct = list(dict.fromkeys(tuple(group) for group in groups))
    answers = branches.places()
    predicting = [[prompt - 1, *range(length)[answer]] for answer in answers]
    usable = (known or ()) if can_be_read_as_row(model) else ()
    own = next((place for place, part in enumerate(usable) if part), None)
    stored: dict[nn.Module, tuple[Tensor, Tensor]] = {}
    logprobs_of: list[dict[int, Tensor]] = [{} for _ in range(1 + len(distinct))]
    intact = list(range(length))
    if own is not None and (before := usable[own]):
        # The prompt and this answer have been read: nobody looks at what there is no room for.
        for layer, seen in enumerate(before.seen):
            keys, values = (nn.functional.pad(x, (0, 0, 0, length - prompt))[None] for x in seen)
            stored[architectures.attention(model, layer)] = keys, values
        logprobs_of[0][own] = before.logprobs[: readings[own].answer_length]
        intact = sorted({prompt - 1, *range(prompt, length)} - {*range(length)[answers[own]]})
    variants = [intact, *(_differing(group, prompt, length) for group in distinct)]
    for batch in _batches([len(places) for places in variants], model.device):
        chosen = [variants[number] for number in batch]
        hidden = torch.zeros(len(chosen), length, dtype=torch.bool)
        for row, number in zip(hidden, batch, strict=True):
            if number:
                row[list(distinct[number - 1])] = True
        packed = Packed(stored, chosen, hidden.to(model.device), branches)
        begins = np.cumsum([0, *map(len, chosen)]).tolist()
        asked = [
            (number, place, begin)
            for number, begin in zip(batch, begins, strict=False)
            for place in range(len(readings))
            if place not in logprobs_of[number]
        ]
        rows = torch.tensor(
            [
                begin + row
                for number, place, begin in asked
                for row in np.searchsorted(variants[number], predicting[place]).tolist()
            ],
            dtype=torch.long,
            device=model.device,
        )
        states = states_of_variants(model, embedded, packed.place, packed, branches.longest, rows)
        targets = [readings[place].targets for _, place, _ in asked]
        parts = logprobs(model, states, torch.cat(targets)) if asked else states.new_zeros(0)
        pieces = torch.split(parts, [len(part) for part in targets])
        for (number, place, _), part in zip(asked, pieces, strict=True):
            logprobs_of[number][place] = part
    costs = []
    for place in range(len(readings)):
        whole = logprobs_of[0][place]
        without = [logprobs_of[1 + distinct.index(tuple(group))][place] for group in groups]
        costs.append(torch.stack([whole - each for each in without]).float().cpu().numpy())
    return costs


def _differing(group: Sequence[int], prompt: int, length: int) -> list[int]:
    """Places that differ from the text itself where a group is hidden.

    What comes in front of the group stays as it is; what is hidden nobody reads, but for the last
    prompt token, which predicts.
    """
    hidden = set(group)
    return [at for at in range(min(group), length) if at == prompt - 1 or at not in hidden]


def _batches(sizes: Sequence[int], device: torch.device) -> Iterator[list[int]]:
    """Variants that are read in one row, by their tokens; the first is the text itself."""
    most = _ON_CPU if device.type == "cpu" else _ELSEWHERE
    batch, total = list[int](), 0
    for number, size in enumerate(sizes):
        if batch and total + size > most:
            yield batch
            batch, total = [], 0
        batch.append(number)
        total += size
    if batch:
        yield batch
