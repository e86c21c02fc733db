"""Many prompts at once: answers and gradient × input of both models, without anything else.

What a study needs of each prompt. Texts of similar length go through a model together; the
numbers are those of one prompt at a time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from twinlens.compute.models.architectures import Sizes
from twinlens.compute.models.models import Models
from twinlens.compute.passes.conditions import hookable
from twinlens.compute.passes.reading import Reading
from twinlens.compute.passes.rotary import rotary_by_length
from twinlens.compute.passes.targets import probability
from twinlens.compute.saliency.gradients import GRADIENT_X_INPUT, slopes_together
from twinlens.compute.saliency.registry import complete
from twinlens.compute.text.answers import choose_answers, own_answers
from twinlens.compute.text.arguments import generated_sides, read_response
from twinlens.compute.text.prompt import Prompt, check_length
from twinlens.contract.manifest import Answer
from twinlens.contract.wire import Array
from twinlens.contract.words import SIDES, Side
from twinlens.errors import Interrupted, TwinlensError
from twinlens.support.progress import Report

#: Prompts that are answered, and texts that are attributed together at most.
ANSWERED, TOGETHER = 32, 8
#: What attributing one answer token costs in each layer however small texts and model are, in
#: multiply-adds: more texts together share it, at the price of padding.
_FIXED = 1.5e7
#: Bounds both in memory where models are wide or texts long: numbers of one layer.
_NUMBERS_AT_ONCE = 2**22

Result = TypeVar("Result")


@dataclass(frozen=True)
class Attributed:
    """What became of one prompt.

    Attributes
    ----------
    prompt : Prompt
    kind : str
        ``own``, ``base``, ``tuned`` or ``given``: whose answer was read.
    answers : dict of Side to Answer
    values : dict of Side to float32 array [N, M]
        Gradient × input of the answer token's probability, every prompt by every answer token.
    """

    prompt: Prompt
    kind: str
    answers: dict[Side, Answer]
    values: dict[Side, Array]


def attribute_prompts(
    pair: Models,
    prompts: Sequence[Prompt],
    *,
    responses: str | Sequence[str] = "own",
    max_new_tokens: int = 64,
    report: Report | None = None,
) -> list[Attributed | TwinlensError]:
    """Let both models answer some prompts, and attribute what each of them reads.

    Parameters
    ----------
    prompts : sequence of Prompt
        As `twinlens.compute.text.prompt.read_prompt` makes them.
    responses : str or sequence of str
        What is read, see `twinlens.compute.text.answers.read_answers`; for all or for each prompt.
    max_new_tokens : int
        Longest answer.
    report : callable, optional
        Called as ``report(done, total, what)``; may raise `Interrupted`.

    Returns
    -------
    list of Attributed or TwinlensError
        One for each prompt, in their order: an error is the one that it alone would have raised.

    Raises
    ------
    Interrupted
        If `report` asked to stop.
    """
    responses = [responses] * len(prompts) if isinstance(responses, str) else list(responses)
    errors: dict[int, TwinlensError] = {}
    wanted: dict[int, str] = {}
    for place, prompt in enumerate(prompts):
        try:
            wanted[place] = read_response(responses[place])
            if generated_sides(wanted[place]):
                check_length(pair, prompt, max_new_tokens)
        except TwinlensError as error:
            errors[place] = error
    fitting = [place for place in range(len(prompts)) if place not in errors]
    asked = {
        side: {p: prompts[p] for p in fitting if side in generated_sides(wanted[p])}
        for side in SIDES
    }
    answers_of = {
        side: _answers(pair, side, asked[side], max_new_tokens, errors, report) for side in SIDES
    }
    chosen: dict[int, tuple[str, dict[Side, Answer]]] = {}
    for place in sorted(set(fitting) - set(errors)):
        own = {side: found[place] for side, found in answers_of.items() if place in found}
        ids = {side: answer for side, (answer, _) in own.items()}
        stopped = {side: ended for side, (_, ended) in own.items()}
        try:
            chosen[place] = choose_answers(pair, prompts[place], wanted[place], ids, stopped)
        except TwinlensError as error:
            errors[place] = error
    read = {place: (prompts[place], answers) for place, (_, answers) in chosen.items()}
    # Tuned first: with memory="sequential" it is the one still loaded.
    values = {side: _values(pair, side, read, errors, report) for side in reversed(SIDES)}
    return [
        errors[place]
        if place in errors
        else Attributed(prompt, *chosen[place], {side: values[side][place] for side in SIDES})
        for place, prompt in enumerate(prompts)
    ]


def _answers(
    pair: Models,
    side: Side,
    prompts: Mapping[int, Prompt],
    limit: int,
    errors: dict[int, TwinlensError],
    report: Report | None,
) -> dict[int, tuple[list[int], bool]]:
    """One model's own answers, and whether they came to an end."""
    if not prompts:
        return {}

    def work(places: list[int]) -> list[tuple[list[int], bool]]:
        return own_answers(pair, side, [prompts[place].ids for place in places], limit, report)

    lengths = {place: len(prompt.tokens) for place, prompt in prompts.items()}
    with pair.model(side):
        return dict(_each(_neighbours(pair.sizes, lengths, limit), work, errors))


def _values(
    pair: Models,
    side: Side,
    read: Mapping[int, tuple[Prompt, Mapping[Side, Answer]]],
    errors: dict[int, TwinlensError],
    report: Report | None,
) -> dict[int, Array]:
    """One model's tables of what it read."""
    with pair.model(side) as model:
        readings = {
            place: Reading(
                model,
                pair.readable(side, [*prompt.ids, *(token.id for token in answers[side].tokens)]),
                len(prompt.tokens),
            )
            for place, (prompt, answers) in read.items()
            if place not in errors
        }

        done: set[int] = set()

        def work(places: list[int]) -> list[Array]:
            if report:
                report(len(done), len(readings), f"attribution of {side}")
                done.update(places)
            return _tables([readings[place] for place in places], side)

        lengths = {
            place: (reading.prompt_length, reading.answer_length)
            for place, reading in readings.items()
        }
        # Padding is hidden by a mask, which not every family can be given; nor do texts of
        # different lengths have one rotary position in every family.
        together = hookable(model) and not rotary_by_length(model)
        alone = [[place] for place in lengths]
        groups = _groups(pair.sizes, lengths) if together else alone
        return dict(_each(groups, work, errors))


def _tables(readings: list[Reading], side: Side) -> list[Array]:
    if len(readings) > 1:
        return slopes_together(readings, probability)
    (reading,) = readings
    values = np.full((reading.prompt_length, reading.answer_length), np.nan, dtype=np.float32)
    columns = range(reading.answer_length)
    complete(GRADIENT_X_INPUT, reading, values, columns, side=side, guard=nullcontext())
    return [values]


def _each(
    groups: Iterable[list[int]],
    work: Callable[[list[int]], list[Result]],
    errors: dict[int, TwinlensError],
) -> Iterator[tuple[int, Result]]:
    """Results by place: together, or where that fails one at a time, to see which of them does."""
    for places in groups:
        try:
            yield from zip(places, work(places), strict=True)
        except Interrupted:
            raise
        except TwinlensError as error:
            if len(places) == 1:
                errors[places[0]] = error
            else:
                yield from _each([[place] for place in places], work, errors)


def _neighbours(sizes: Sizes, lengths: Mapping[int, int], limit: int) -> Iterator[list[int]]:
    """Places of prompts of similar length, that are answered together."""
    places = sorted(lengths, key=lambda place: lengths[place], reverse=True)
    while places:
        longest = lengths[places[0]] + limit
        size = max(1, min(ANSWERED, _NUMBERS_AT_ONCE // (longest * sizes.intermediate)))
        yield places[:size]
        places = places[size:]


def _groups(sizes: Sizes, lengths: Mapping[int, tuple[int, int]]) -> list[list[int]]:
    """Places of texts that are attributed together: the grouping that should cost least.

    Texts in a group cost as much as its longest prompt with its longest answer.

    Parameters
    ----------
    lengths : mapping of int to (int, int)
        Tokens of prompt and answer.
    """
    weights = sizes.hidden * (4 * sizes.hidden + 3 * sizes.intermediate)
    places = sorted(lengths, key=lambda place: lengths[place][::-1], reverse=True)
    # The best grouping of the first texts: its cost, and where its last group begins.
    best: list[tuple[float, int]] = [(0.0, 0)]
    for end in range(1, len(places) + 1):
        choices, n = [], 0
        for begin in range(end - 1, max(end - TOGETHER, 0) - 1, -1):
            prompt_length, m = lengths[places[begin]]
            n, count = max(n, prompt_length), end - begin
            if count > 1 and count * (n + m) * sizes.intermediate > _NUMBERS_AT_ONCE:
                break
            cost = m * (count * (n + m / 2) * weights + _FIXED)
            choices.append((best[begin][0] + cost, begin))
        best.append(min(choices))
    groups: list[list[int]] = []
    end = len(places)
    while end:
        begin = best[end][1]
        groups.append(places[begin:end])
        end = begin
    return groups[::-1]
