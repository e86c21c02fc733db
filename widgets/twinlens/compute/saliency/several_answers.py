"""What hiding groups of prompt tokens costs several answers to one prompt, exactly.

The prompt is read once, and goes on in every answer. With a group hidden it is a variant of that,
of which only what differs is read. Variants of several prompts are read in one row.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from twinlens.compute.models import architectures
from twinlens.compute.passes.answer_scores import logprobs
from twinlens.compute.passes.conditions import hookable
from twinlens.compute.passes.entry import embeddings
from twinlens.compute.passes.packing import Branches, Packed, Variants
from twinlens.compute.passes.reading import Reading
from twinlens.compute.passes.rotary import rotary_by_length
from twinlens.compute.passes.row import can_be_read_as_row, states_of_variants
from twinlens.compute.passes.steps_written_out import ReadPrompt
from twinlens.compute.saliency.together import hidden_together
from twinlens.contract.wire import Array
from twinlens.support.cached import cached_property

#: Positions that are read at once, on a processor and elsewhere.
_ON_CPU, _ELSEWHERE = 2048, 8192
#: What variants of several prompts see of one another at most, in numbers.
_ROOM = 2**22


@dataclass(frozen=True)
class Answered:
    """A prompt with some answers, and groups of its tokens that are to be hidden.

    Attributes
    ----------
    readings : sequence of Reading
        One model and one prompt, with each of its answers.
    groups : sequence of groups
        Prompt positions.
    known : sequence of ReadPrompt, optional
        What is known of the prompt where an answer was given by the model itself.
    """

    readings: Sequence[Reading]
    groups: Sequence[Sequence[int]]
    known: Sequence[ReadPrompt | None] = ()

    @property
    def model(self) -> PreTrainedModel:
        return self.readings[0].model

    @property
    def length(self) -> int:
        """Tokens of the prompt and of all its answers."""
        return self.readings[0].prompt_length + sum(each.answer_length for each in self.readings)

    @cached_property
    def distinct(self) -> list[tuple[int, ...]]:
        """Groups may be the same, such as the context and all that is no instruction."""
        return list(dict.fromkeys(map(tuple, self.groups)))

    @property
    def size(self) -> int:
        """How many positions are read, at most."""
        return self.length + sum(self.length - min(group) for group in self.distinct)


def hidden_in_answers(prompts: Sequence[Answered]) -> list[list[Array]]:
    """What hiding groups of prompt tokens from every other token costs each of some answers.

    Parameters
    ----------
    prompts : sequence of Answered
        Of one model.

    Returns
    -------
    list of lists of float32 array [groups, M]
        As `hidden_together`, of each prompt and each of its answers.

    Raises
    ------
    UnsupportedArchitectureError
        If the attention of the model cannot be reached.
    """
    model = prompts[0].model
    # Texts of different lengths have not one rotary position in every family.
    if not hookable(model) or rotary_by_length(model):
        return [
            [hidden_together([reading], [prompt.groups])[0] for reading in prompt.readings]
            for prompt in prompts
        ]
    as_row = can_be_read_as_row(model)
    texts = [_Text(prompt, as_row) for prompt in prompts]
    for row in _rows(texts, model.device):
        _read(model, row)
    return [text.costs() for text in texts]


def filling_rows(prompts: Mapping[int, Answered]) -> list[list[int]]:
    """Places of prompts that are read together, in their order: as many as fill a row.

    All are given as much room as the longest: where that is far longer it is read by itself.
    """
    rows, size, variants, longest = list[list[int]](), 0, 0, 0
    for place, prompt in prompts.items():
        size, variants = size + prompt.size, variants + 1 + len(prompt.distinct)
        longest = max(longest, prompt.length)
        if not rows or size > _most(prompt.model.device) or variants * longest**2 > _ROOM:
            rows.append([])
            size, variants, longest = prompt.size, 1 + len(prompt.distinct), prompt.length
        rows[-1].append(place)
    return rows


class _Text:
    """A prompt and its answers as one text that branches, and how likely these turn out to be.

    Attributes
    ----------
    branches : Branches
    ids : list of int
        Its T tokens.
    variants : list of lists of int
        Places that are read: of the text as it is, and with each group hidden.
    """

    def __init__(self, asked: Answered, as_row: bool) -> None:
        self._asked, readings = asked, asked.readings
        self._prompt = prompt = readings[0].prompt_length
        self.branches = Branches(prompt, [reading.answer_length - 1 for reading in readings])
        answers = (reading.ids[prompt:-1] for reading in readings)
        self.ids = [*readings[0].ids[:prompt], *(token for ids in answers for token in ids)]
        self._answers = [range(len(self.ids))[part] for part in self.branches.places()]
        self._groups = asked.distinct
        self._logprobs: list[dict[int, Tensor]] = [{} for _ in range(1 + len(self._groups))]
        self._stored: dict[nn.Module, tuple[Tensor, Tensor]] = {}
        known = enumerate(asked.known if as_row else ())
        self._own = next(((place, part) for place, part in known if part), None)
        whole = list(range(len(self.ids)))
        if self._own is not None:
            place, before = self._own
            self._logprobs[0][place] = before.logprobs[: readings[place].answer_length]
            whole = [at for at in whole[prompt - 1 :] if at not in self._answers[place]]
        others = (_differing(group, prompt, len(self.ids)) for group in self._groups)
        self.variants = [whole, *others]

    def variants_of(self, numbers: Sequence[int]) -> Variants:
        """Some variants, in rising order."""
        if self._own is not None and not self._stored:
            # The prompt and this answer have been read: nobody looks at what there is no room for.
            more = (0, 0, 0, len(self.ids) - self._prompt)
            for layer, seen in enumerate(self._own[1].seen):
                keys, values = (nn.functional.pad(part, more)[None] for part in seen)
                self._stored[architectures.attention(self._asked.model, layer)] = keys, values
        hidden = torch.zeros(len(numbers), len(self.ids), dtype=torch.bool)
        for row, number in zip(hidden, numbers, strict=True):
            if number:
                row[list(self._groups[number - 1])] = True
        chosen = [self.variants[number] for number in numbers]
        return Variants(self._stored, chosen, hidden.to(self._asked.model.device), self.branches)

    def predicted(self, number: int) -> Iterator[tuple[int, Array, Tensor]]:
        """Of one variant each answer whose likelihood is not known, where it is predicted, and it.

        Places count in what is read of the variant.
        """
        for place, answer in enumerate(self._answers):
            if place not in self._logprobs[number]:
                at = np.searchsorted(self.variants[number], [self._prompt - 1, *answer])
                yield place, at, self._asked.readings[place].targets

    def know(self, number: int, place: int, logprobs: Tensor) -> None:
        """How likely the tokens of an answer are in a variant."""
        self._logprobs[number][place] = logprobs

    def costs(self) -> list[Array]:
        """What the groups cost each answer, float32 [groups, M]."""
        numbers = [1 + self._groups.index(tuple(group)) for group in self._asked.groups]
        return [
            torch.stack([whole - self._logprobs[number][place] for number in numbers])
            .float()
            .cpu()
            .numpy()
            for place, whole in sorted(self._logprobs[0].items())
        ]


def _read(model: PreTrainedModel, row: Sequence[tuple[_Text, list[int]]]) -> None:
    """Read some variants of some texts, end to end."""
    packed = Packed([text.variants_of(numbers) for text, numbers in row])
    wanted: list[tuple[_Text, int, int, Tensor]] = []
    places, begin = list[Array](), 0
    for text, numbers in row:
        for number in numbers:
            for place, at, targets in text.predicted(number):
                wanted.append((text, number, place, targets))
                places.append(begin + at)
            begin += len(text.variants[number])
    ids = torch.tensor([token for text, _ in row for token in text.ids], device=model.device)
    begins = np.cumsum([0, *(len(text.ids) for text, _ in row[:-1])])
    tokens = np.concatenate(
        [text.flat + begin for text, begin in zip(packed.texts, begins, strict=True)]
    )
    states = states_of_variants(
        model,
        embeddings(model, ids),
        torch.from_numpy(tokens).to(model.device),
        packed,
        max(text.branches.longest for text, _ in row),
        torch.from_numpy(np.concatenate([*places, np.empty(0, np.int64)])).to(model.device),
    )
    if not wanted:
        return
    tokens_asked = [targets for *_, targets in wanted]
    parts = torch.split(logprobs(model, states, torch.cat(tokens_asked)), [*map(len, tokens_asked)])
    for (text, number, place, _), part in zip(wanted, parts, strict=True):
        text.know(number, place, part)


def _rows(texts: Sequence[_Text], device: torch.device) -> Iterator[list[tuple[_Text, list[int]]]]:
    """Variants that are read in one row, by their tokens; of each text first itself."""
    row, room = list[tuple[_Text, list[int]]](), _most(device)
    for text in texts:
        for number, places in enumerate(text.variants):
            if row and len(places) > room:
                yield row
                row, room = [], _most(device)
            if not row or row[-1][0] is not text:
                row.append((text, []))
            row[-1][1].append(number)
            room -= len(places)
    if row:
        yield row


def _most(device: torch.device) -> int:
    return _ON_CPU if device.type == "cpu" else _ELSEWHERE


def _differing(group: Sequence[int], prompt: int, length: int) -> list[int]:
    """Places that differ from the text itself where a group is hidden.

    What comes in front of the group stays as it is; what is hidden nobody reads, but for the last
    prompt token, which predicts.
    """
    hidden = set(group)
    return [at for at in range(min(group), length) if at == prompt - 1 or at not in hidden]
