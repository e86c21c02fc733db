"""Exact effects: the text is read again with a prompt token, or a group of them, taken away.

One pass gives the effect on every answer token. By causality nothing changes before the token,
so those positions are read once, from the intact text.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Literal, TypeAlias

import numpy as np
import torch
from torch import Tensor, nn

from twinlens.compute.passes.answer_scores import logprobs
from twinlens.compute.passes.conditions import hookable
from twinlens.compute.passes.entry import embeddings
from twinlens.compute.passes.folding import embed
from twinlens.compute.passes.hiding import read_alone
from twinlens.compute.passes.packing import Packed, Variants
from twinlens.compute.passes.reading import Reading
from twinlens.compute.passes.row import states_of_variants
from twinlens.compute.saliency.registry import Piece, SaliencyMethod, Wanted, saliency_method
from twinlens.compute.saliency.together import Instead, occlusion_together
from twinlens.contract.manifest import Method
from twinlens.contract.wire import Array
from twinlens.contract.words import Unit
from twinlens.errors import PromptError

OcclusionKind: TypeAlias = Literal["mask", "zero", "replace", "remove"]

#: Groups and positions read at once: each pass fetches all weights, and a device waits for work.
_ON_CPU, _ELSEWHERE = (64, 2**10), (256, 2**13)
#: Positions of the first passes, so that what matters most is there soon, and how many they are.
_AT_FIRST = 2**8, 4
#: Points of a deletion curve read at once.
_STEPS_AT_ONCE = 4


@dataclass(frozen=True)
class Intact:
    """The text as it is: what occluded passes are compared with, and what they share with it."""

    embedded: Tensor
    logprobs: Tensor
    stored: dict[nn.Module, tuple[Tensor, Tensor]]


def read_intact(reading: Reading) -> Intact:
    """One pass over the whole text; keeps keys and values, and the answer's log-probabilities."""
    return intact_and_occluded(reading, [], "mask")[0]


def intact_and_occluded(
    reading: Reading, groups: Sequence[Sequence[int]], kind: OcclusionKind
) -> tuple[Intact, Tensor]:
    """`read_intact` and `occluded`, in one pass where that is possible."""
    model, embedded = reading.model, embed(reading)
    if hookable(model):
        _check(reading, groups, kind)
        stored: dict[nn.Module, tuple[Tensor, Tensor]] = {}
        logprobs = _packed(reading, embedded, stored, [[], *groups], kind)
        return Intact(embedded, logprobs[0], stored), logprobs[1:]
    intact = Intact(embedded, read_alone(reading, embedded[0], reading.positions), {})
    return intact, occluded(reading, intact, groups, kind)


def occluded(
    reading: Reading, intact: Intact, groups: Sequence[Sequence[int]], kind: OcclusionKind
) -> Tensor:
    """Log-probabilities of the answer with each of the groups taken away, shape [groups, M].

    Parameters
    ----------
    groups : sequence of sequences of int
        Prompt positions.
    kind : {"mask", "zero", "replace", "remove"}
        No other token attends to it; zero embedding; another token; deleted, what follows moves up.

    Raises
    ------
    PromptError
        If nothing is left in front of the answer after removal.
    UnsupportedArchitectureError
        If a token shall be masked in a model whose attention cannot be reached.
    """
    _check(reading, groups, kind)
    if not groups:
        return intact.logprobs.new_empty(0, reading.answer_length)
    if hookable(reading.model):
        return _packed(reading, intact.embedded, intact.stored, groups, kind)
    return torch.cat([_alone(reading, intact, group, kind) for group in groups])


def _check(reading: Reading, groups: Sequence[Sequence[int]], kind: OcclusionKind) -> None:
    if kind == "remove" and any(len(group) == reading.prompt_length for group in groups):
        raise PromptError(
            "removing the whole prompt leaves nothing to predict the answer from: "
            "use occlusion by masking"
        )


def _packed(
    reading: Reading,
    intact: Tensor,
    stored: dict[nn.Module, tuple[Tensor, Tensor]],
    groups: Sequence[Sequence[int]],
    kind: OcclusionKind,
) -> Tensor:
    """`occluded` in one pass, of what differs from the intact text.

    Parameters
    ----------
    intact : tensor [1, T - 1, hidden]
        The embedded text.
    stored : dict of module to (keys, values)
        Of the text; if it is empty the first group is, too, and fills it.
    """
    model, length, device = reading.model, intact.shape[1], intact.device
    hidden = torch.zeros(len(groups), length, dtype=torch.bool)
    sources, places = [], []
    for number, group in enumerate(groups):
        read, standing = _differing(reading, group, kind)
        sources.append(read)
        places.append(standing)
        if kind == "mask":
            hidden[number, list(group)] = True
    packed = Packed([Variants(stored, places, hidden.to(device))])
    embedded, tokens = _changed_row(reading, intact, groups, sources, kind)
    answer = reading.answer_length
    ends = np.cumsum([len(read) for read in places])
    rows = torch.from_numpy((ends[:, None] + np.arange(-answer, 0)).ravel()).to(device)
    targets = reading.targets.repeat(len(groups))
    states = states_of_variants(model, embedded, tokens, packed, length, rows)
    return logprobs(model, states, targets).view(len(groups), answer)


def _differing(
    reading: Reading, group: Sequence[int], kind: OcclusionKind
) -> tuple[list[int], list[int]]:
    """Positions that are read again, and where they stand then; the last M predict the answer.

    What comes in front of the group stays as it is; of no group, everything is read. What is hidden
    nobody reads, but for the last prompt token, which predicts.
    """
    last, length, first = reading.prompt_length - 1, len(reading.ids) - 1, min(group, default=0)
    if kind == "mask":
        read = [n for n in range(first, length) if n not in group or n == last]
        return read, read
    if kind == "remove":
        left = [n for n in range(length) if n not in group]
        # The first answer token may now be predicted where the unchanged part would have ended.
        first = min(first, last - len(group))
        return left[first:], list(range(first, len(left)))
    return list(range(first, length)), list(range(first, length))


def _alone(reading: Reading, intact: Intact, group: Sequence[int], kind: OcclusionKind) -> Tensor:
    """Of one group in a pass of its own, of families that cannot be hooked, shape [1, M]."""
    whole = range(intact.embedded.shape[1])
    embedded, tokens = _changed_row(reading, intact.embedded, [group], [whole], kind)
    embedded = embedded[tokens]
    places = reading.positions
    if kind == "remove":
        left = [n for n in range(len(embedded)) if n not in group]
        embedded, places = embedded[left], places - len(group)
    return read_alone(reading, embedded, places, group if kind == "mask" else ())[None]


def _changed_row(
    reading: Reading,
    intact: Tensor,
    groups: Sequence[Sequence[int]],
    sources: Sequence[Sequence[int]],
    kind: OcclusionKind,
) -> tuple[Tensor, Tensor]:
    """Embeddings, those of the groups changed, and which of them are read for each, end to end."""
    embedded, tokens = (
        intact[0],
        np.concatenate([np.asarray(read, dtype=np.int64) for read in sources]),
    )
    if kind in ("zero", "replace") and any(groups):
        starts = np.cumsum([0, *map(len, sources)])
        changed = [
            (start + place - read[0], place)
            for group, read, start in zip(groups, sources, starts.tolist(), strict=False)
            for place in group
        ]
        at, replaced = zip(*changed, strict=True)
        new = (
            embedded.new_zeros(len(at), embedded.shape[1])
            if kind == "zero"
            else _replacement(reading, replaced).to(embedded)
        )
        tokens[list(at)] = len(embedded) + np.arange(len(at))
        embedded = torch.cat([embedded, new])
    return embedded, torch.from_numpy(tokens).to(embedded.device)


def _replacement(reading: Reading, group: Sequence[int]) -> Tensor:
    """Embeddings [group, hidden] of the tokens that stand in for a group."""
    if reading.replacements is None:
        vocabulary = reading.model.config.vocab_size
        chosen = np.random.default_rng(0).integers(vocabulary, size=reading.prompt_length)
    else:
        chosen = np.asarray(reading.replacements)
    ids = torch.tensor(chosen[list(group)], device=reading.model.device)
    return embeddings(reading.model, ids)


def occlusion_rows(
    reading: Reading, wanted: Wanted, kind: OcclusionKind = "mask", unit: Unit = "token"
) -> Iterator[Piece]:
    """Effects in nats, a few neighbouring groups at a time, those first that should matter most."""
    intact: Intact | None = None
    for batch in _batches(reading, reading.hidden_together(unit), kind):
        missing = np.asarray(wanted().any(axis=1))
        if unfinished := [group for group in batch if missing[group].any()]:
            if intact is None:
                intact, answers = intact_and_occluded(reading, unfinished, kind)
            else:
                answers = occluded(reading, intact, unfinished, kind)
            effect = (intact.logprobs - answers).cpu().numpy()
            rows = [row for group in unfinished for row in group]
            sizes = [len(group) for group in unfinished]
            yield rows, slice(None), np.repeat(effect, sizes, axis=0)


def _batches(
    reading: Reading, groups: list[list[int]], kind: OcclusionKind
) -> Iterator[list[list[int]]]:
    """Neighbouring groups together, about as long; batches in the order of the estimate.

    Where there is one somebody waits for what matters most: the first batches are small.
    """
    most, positions = _ON_CPU if reading.model.device.type == "cpu" else _ELSEWHERE

    def neighbours(some: list[list[int]], positions: int) -> list[list[list[int]]]:
        batches: list[list[list[int]]] = []
        room = 0
        for group in some:
            size = len(_differing(reading, group, kind)[0])
            if not batches or room < size or len(batches[-1]) == most:
                batches.append([])
                room = positions
            batches[-1].append(group)
            room -= size
        return batches

    if reading.order is None:
        return iter(neighbours(groups, positions))
    strength: list[float] = np.abs(reading.order).tolist()

    def telling(batch: list[list[int]]) -> float:
        return -max(strength[n] for group in batch for n in group)

    small, soon = _AT_FIRST
    first = sorted(neighbours(groups, min(small, positions)), key=telling)[:soon]
    done = {n for batch in first for group in batch for n in group}
    rest = [group for group in groups if not done.intersection(group)]
    return iter(first + sorted(neighbours(rest, positions), key=telling))


def deletion_curve(
    reading: Reading, importance: Array, steps: int = 10
) -> tuple[Array, Array, Array]:
    """Loss of the answer's log-probability as the tokens that matter most, or least, are hidden.

    Parameters
    ----------
    importance : array [N]
        One number per prompt token, such as a method's effect summed over the answer.
    steps : int
        Points of the curve, evenly spread from none to all tokens.

    Returns
    -------
    share : float array [steps + 1]
        Share of the prompt tokens that is hidden.
    most, least : float arrays [steps + 1]
        Drop in nats, summed over the answer, hiding the most or the least important first. A
        faithful estimate has `most` far above `least`.
    """
    n = reading.prompt_length
    counts = np.unique(np.linspace(0, n, steps + 1).round().astype(int))
    intact = read_intact(reading)
    falling = np.argsort(-np.asarray(importance), kind="stable").tolist()

    def drop(ranking: list[int]) -> Array:
        hidden = [ranking[:count] for count in counts[1:].tolist()]
        losses = [0.0]
        for first in range(0, len(hidden), _STEPS_AT_ONCE):
            answers = occluded(reading, intact, hidden[first : first + _STEPS_AT_ONCE], "mask")
            losses += (intact.logprobs - answers).sum(dim=-1).tolist()
        return np.array(losses)

    return counts / n, drop(falling), drop(falling[::-1])


def occlusion_method(
    name: str, title: str, how: str, source: str, kind: OcclusionKind, unit: Unit
) -> SaliencyMethod:
    """Occlusion of one kind and unit, as a method."""
    what = "the prompt token" if unit == "token" else f"the prompt token's {unit}"
    number = "N" if unit == "token" else f"one per {unit}"

    stand_in: dict[str, Instead] = {"zero": lambda *_: 0.0, "replace": _replacement}

    @saliency_method(
        Method(
            name=name,
            title=title,
            measures=f"Drop of the answer token's log-probability, in nats, when {what} {how}.",
            source=source,
            exact=True,
            cost=f"1 forward pass, and {number} from the token on",
            unit=unit,
        ),
        # What follows a removed token moves up, differently far in each text.
        None
        if kind == "remove"
        else partial(occlusion_together, unit=unit, instead=stand_in.get(kind)),
    )
    def compute(reading: Reading, wanted: Wanted) -> Iterator[Piece]:
        return occlusion_rows(reading, wanted, kind, unit)

    return compute


_HIDDEN = "is hidden from every other token"
_MASK = "Leave one out by attention mask, positions kept"
#: The exact methods.
OCCLUSIONS = (
    occlusion_method("occlusion", "Occlusion", _HIDDEN, _MASK, "mask", "token"),
    occlusion_method("occlusion_word", "Occlusion by word", _HIDDEN, _MASK, "mask", "word"),
    occlusion_method(
        "occlusion_sentence", "Occlusion by sentence", _HIDDEN, _MASK, "mask", "sentence"
    ),
    occlusion_method(
        "occlusion_segment", "Occlusion by segment", _HIDDEN, _MASK, "mask", "segment"
    ),
    occlusion_method(
        "occlusion_zero",
        "Occlusion, zero embedding",
        "has a zero embedding",
        "Leave one out by zero embedding, positions kept",
        "zero",
        "token",
    ),
    occlusion_method(
        "occlusion_replace",
        "Occlusion, replaced",
        "is replaced by a word token drawn from the vocabulary (seed 0)",
        "Leave one out by replacement, positions kept",
        "replace",
        "token",
    ),
    occlusion_method(
        "occlusion_remove",
        "Occlusion, removed",
        "is deleted and what follows moves up",
        "Leave one out by deletion",
        "remove",
        "token",
    ),
)
