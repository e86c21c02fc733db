"""Many prompts at once: answers, saliency and what segments are worth, of both models.

What a study needs of each prompt. Texts of similar length go through a model together; the
numbers are those of one prompt at a time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, nullcontext
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, TypeVar

import numpy as np
import torch

from twinlens.compute.models.models import Models
from twinlens.compute.passes.conditions import hookable
from twinlens.compute.passes.in_threads import in_threads
from twinlens.compute.passes.reading import Reading
from twinlens.compute.passes.rotary import rotary_by_length
from twinlens.compute.passes.steps_written_out import ReadPrompt
from twinlens.compute.saliency.live_tables import REPLACED, stand_ins
from twinlens.compute.saliency.methods import METHODS
from twinlens.compute.saliency.registry import SaliencyMethod, complete
from twinlens.compute.saliency.segments import segment_positions
from twinlens.compute.saliency.several_answers import (
    Answered,
    filling_rows,
    hidden_in_answers,
)
from twinlens.compute.saliency.similar_lengths import (
    TOGETHER,
    answered_together,
    attributed_together,
)
from twinlens.compute.text.answers import choose_answers, own_answers
from twinlens.compute.text.arguments import generated_sides, read_response
from twinlens.compute.text.prompt import Prompt, check_length
from twinlens.contract.manifest import Answer
from twinlens.contract.wire import Array
from twinlens.contract.words import PUBLISHED, SIDES, Side
from twinlens.errors import Interrupted, TwinlensError, UnsupportedArchitectureError
from twinlens.support.progress import Report
from twinlens.traces.marks import groups

if TYPE_CHECKING:
    from transformers import PreTrainedModel

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
    values : dict of Side to dict of str to float32 array [N, M]
        By method: every prompt token by every answer token.
    hidden : dict of Side to dict of (str, str) to float32 array [M]
        By segment and answer, see `read_by_both`: what hiding the segment costs each token of the
        answer, in nats. Empty where attention cannot be reached.
    """

    prompt: Prompt
    kind: str
    answers: dict[Side, Answer]
    values: dict[Side, dict[str, Array]]
    hidden: dict[Side, dict[tuple[str, str], Array]]


@dataclass(frozen=True)
class Known:
    """What one model made of a prompt before: its answer, whose tables, and those.

    Attributes
    ----------
    ids : list of int
        Of the prompt: of another one nothing is known.
    answer : Answer
    values : dict of str to float32 array [N, M]
    hidden : dict of (str, str) to M numbers
        Of its own or a given answer only.
    """

    ids: list[int]
    answer: Answer
    values: dict[str, Array]
    hidden: dict[tuple[str, str], Sequence[float]]


def attribute_prompts(
    pair: Models,
    prompts: Sequence[Prompt],
    *,
    methods: Sequence[str] = (PUBLISHED,),
    responses: str | Sequence[str] = "own",
    max_new_tokens: int = 64,
    known: Sequence[Mapping[Side, Known]] | None = None,
    report: Report | None = None,
) -> list[Attributed | TwinlensError]:
    """Let both models answer some prompts, and attribute what each of them reads.

    Parameters
    ----------
    prompts : sequence of Prompt
        As `twinlens.compute.text.prompt.read_prompt` makes them.
    methods : sequence of str
        Saliency methods.
    responses : str or sequence of str
        What is read, see `twinlens.compute.text.answers.read_answers`; for all or for each prompt.
    max_new_tokens : int
        Longest answer.
    known : sequence of mappings of Side to Known, optional
        For each prompt, what is not to be computed again.
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
    before = [
        {
            side: answer
            for side, answer in (known[place] if known else {}).items()
            if answer.ids == prompt.ids
        }
        for place, prompt in enumerate(prompts)
    ]
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
    answers_of: dict[Side, dict[int, tuple[list[int], bool]]] = {}
    prompts_read: dict[Side, dict[int, ReadPrompt]] = {side: {} for side in SIDES}
    for side in SIDES:
        asked = {p: prompts[p] for p in fitting if side in generated_sides(wanted[p])}
        answers_of[side] = {
            place: (_ids(answer.answer), bool(answer.answer.stopped))
            for place in asked
            if (answer := before[place].get(side)) is not None
        }
        rest = {place: prompt for place, prompt in asked.items() if place not in answers_of[side]}
        read_first = prompts_read[side]
        answers_of[side] |= _answers(pair, side, rest, max_new_tokens, errors, report, read_first)
    chosen: dict[int, tuple[str, dict[Side, Answer]]] = {}
    for place in sorted(set(fitting) - set(errors)):
        own = {side: answers[place] for side, answers in answers_of.items() if place in answers}
        ids = {side: answer for side, (answer, _) in own.items()}
        stopped = {side: ended for side, (_, ended) in own.items()}
        try:
            chosen[place] = choose_answers(pair, prompts[place], wanted[place], ids, stopped)
        except TwinlensError as error:
            errors[place] = error
    read = {place: (prompts[place], answers) for place, (_, answers) in chosen.items()}
    rivals: dict[Side, dict[int, list[int]]] = {}
    if "gradient_x_input_contrast" in methods:
        shared = {place: read[place] for place, (kind, _) in chosen.items() if kind != "own"}
        rivals = {side: _predicted(pair, SIDES[1 - SIDES.index(side)], shared) for side in SIDES}
    hidden: dict[Side, dict[int, dict[tuple[str, str], Array]]] = {}
    values: dict[Side, dict[int, dict[str, Array]]] = {}
    # Tuned first: with memory="sequential" it is the one still loaded.
    for side in reversed(SIDES):
        reused = {
            place: attributed[side]
            for place, attributed in enumerate(before)
            if side in attributed
            and place in read
            and _ids(attributed[side].answer) == _ids(read[place][1][side])
        }
        values[side] = {place: attributed.values for place, attributed in reused.items()}
        with pair.model(side) as model:
            new = {place: entry for place, entry in read.items() if place not in values[side]}
            for name in methods:
                readings = _readings(pair, side, model, new, errors, name, rivals.get(side, {}))
                for place, table in _tables(pair, side, model, readings, name, errors, report):
                    values[side].setdefault(place, {})[name] = table
            left = {place: answer for place, answer in chosen.items() if place not in errors}
            seen = prompts_read[side]
            hidden[side] = _hidden(pair, side, model, prompts, left, reused, report, seen)
    return [
        errors[place]
        if place in errors
        else Attributed(
            prompt,
            *chosen[place],
            {side: values[side][place] for side in SIDES},
            {side: hidden[side].get(place, {}) for side in SIDES},
        )
        for place, prompt in enumerate(prompts)
    ]


def _ids(answer: Answer) -> list[int]:
    return [token.id for token in answer.tokens]


def _answers(
    pair: Models,
    side: Side,
    prompts: Mapping[int, Prompt],
    limit: int,
    errors: dict[int, TwinlensError],
    report: Report | None,
    prompts_read: dict[int, ReadPrompt],
) -> dict[int, tuple[list[int], bool]]:
    """One model's own answers, and whether they came to an end; with what it has read by then."""
    if not prompts:
        return {}

    def work(places: list[int]) -> list[tuple[list[int], bool]]:
        ids, read = [prompts[place].ids for place in places], list[ReadPrompt]()
        answers = own_answers(pair, side, ids, limit, report, read)
        prompts_read.update(zip(places, read, strict=False))
        return answers

    lengths = {place: len(prompt.tokens) for place, prompt in prompts.items()}
    with pair.model(side):
        return dict(_each(answered_together(pair.sizes, lengths, limit), work, errors))


def _readings(
    pair: Models,
    side: Side,
    model: PreTrainedModel,
    read: Mapping[int, tuple[Prompt, Mapping[Side, Answer]]],
    errors: Mapping[int, TwinlensError],
    name: str,
    rivals: Mapping[int, list[int]],
) -> dict[int, Reading]:
    """What one model reads of each prompt, with what one method needs to know beside it."""
    longest = max((len(prompt.tokens) for prompt, _ in read.values()), default=0)
    others = stand_ins(pair, longest) if name == REPLACED else None
    return {
        place: Reading(
            model,
            pair.readable(side, [*prompt.ids, *(token.id for token in answers[side].tokens)]),
            len(prompt.tokens),
            rivals=rivals.get(place),
            replacements=others and others[: len(prompt.tokens)],
            groups=partial(groups, prompt.tokens),
        )
        for place, (prompt, answers) in read.items()
        if place not in errors
    }


def _tables(
    pair: Models,
    side: Side,
    model: PreTrainedModel,
    readings: Mapping[int, Reading],
    name: str,
    errors: dict[int, TwinlensError],
    report: Report | None,
) -> Iterator[tuple[int, Array]]:
    """One model's tables by one method."""
    method = METHODS[name]

    def work(places: list[int]) -> list[Array]:
        if method.together is not None and len(places) > 1:
            return method.together([readings[place] for place in places])
        return [_alone(method, readings[place], side) for place in places]

    lengths = {
        place: (reading.prompt_length, reading.answer_length) for place, reading in readings.items()
    }
    together = method.together is not None
    done, alone, beside_others = 0, list[list[int]](), list[list[int]]()
    # What only reads goes through a model end to end.
    padded = not (readings and method.only_reads(list(readings.values())))
    most = _at_once(readings) if together else 1
    if not padded:
        # Threads are given several groups each: they do not end together.
        most = max(1, min(most, len(readings) // (2 * torch.get_num_threads())))
    for places in attributed_together(pair.sizes, lengths, most, padded=padded):
        only_reads = method.only_reads([readings[place] for place in places])
        (beside_others if only_reads else alone).append(places)
    for ways, at_once in ((alone, False), (beside_others, True)):
        for place, table in _each(ways, work, errors, model if at_once else None):
            if report:
                report(done, len(readings), f"{method.method.title} of {side}")
            done += 1
            yield place, table


def _at_once(readings: Mapping[int, Reading]) -> int:
    """How many texts may be read together.

    Padding is hidden by a mask, which not every family can be given; nor do texts of different
    lengths have one rotary position in every family.
    """
    first = next(iter(readings.values()), None)
    if first is None or not hookable(first.model) or rotary_by_length(first.model):
        return 1
    return TOGETHER


def _alone(method: SaliencyMethod, reading: Reading, side: Side) -> Array:
    values = np.full((reading.prompt_length, reading.answer_length), np.nan, dtype=np.float32)
    columns = range(reading.answer_length)
    complete(method, reading, values, columns, side=side, guard=nullcontext())
    return values


def read_by_both(pair: Models, kind: str, answers: Mapping[Side, Answer]) -> dict[str, list[int]]:
    """Tokens of each answer that both models read, by whose it is.

    An own answer counts up to where the other model knows its tokens: it may end with one that
    only one of them has.
    """
    rows = min(map(pair.rows, SIDES))
    if kind != "own":
        return {kind: [token.id for token in answers["tuned"].tokens]}
    known = {}
    for side in SIDES:
        ids = [token.id for token in answers[side].tokens]
        unknown = (place for place, token in enumerate(ids) if token >= rows)
        known[side] = ids[: next(unknown, len(ids))]
    return {side: ids for side, ids in known.items() if ids}


def _hidden(
    pair: Models,
    side: Side,
    model: PreTrainedModel,
    prompts: Sequence[Prompt],
    chosen: Mapping[int, tuple[str, Mapping[Side, Answer]]],
    known: Mapping[int, Known],
    report: Report | None,
    prompts_read: Mapping[int, ReadPrompt],
) -> dict[int, dict[tuple[str, str], Array]]:
    """What hiding each segment costs one model, by prompt, segment and answer."""
    costs: dict[int, dict[tuple[str, str], Array]] = {place: {} for place in chosen}
    asked: dict[int, Answered] = {}
    keys: dict[int, list[list[tuple[str, str]]]] = {}
    for place, (kind, answers) in chosen.items():
        prompt, missing = prompts[place], dict[str, Reading]()
        parts = segment_positions(prompt.tokens)
        for whose, ids in read_by_both(pair, kind, answers).items():
            before = known[place].hidden if place in known else {}
            reused = {key: np.asarray(row) for key, row in before.items() if key[1] == whose}
            if reused and all(len(row) == len(ids) for row in reused.values()):
                costs[place] |= reused
            elif parts:
                read = pair.readable(side, [*prompt.ids, *ids])
                missing[whose] = Reading(model, read, len(prompt.tokens))
        if missing:
            # Of its own answer a model has said how likely it is.
            own = [prompts_read.get(place) if whose == side else None for whose in missing]
            asked[place] = Answered(list(missing.values()), list(parts.values()), own)
            keys[place] = [[(segment, whose) for segment in parts] for whose in missing]

    def work(places: list[int]) -> list[list[Array]]:
        return hidden_in_answers([asked[place] for place in places])

    rows = filling_rows(asked)
    done = len(chosen) - len(asked)
    with closing(in_threads(model, work, rows)) as results:
        for places, result in zip(rows, results, strict=True):
            if report:
                report(done, len(chosen), f"hiding segments, {side}")
            try:
                for place, tables in zip(places, result(), strict=True):
                    for names, table in zip(keys[place], tables, strict=True):
                        costs[place] |= dict(zip(names, table, strict=True))
            except UnsupportedArchitectureError:  # its attention is given no mask
                return {}
            done += len(places)
    return costs


def _predicted(
    pair: Models, side: Side, read: Mapping[int, tuple[Prompt, Mapping[Side, Answer]]]
) -> dict[int, list[int]]:
    """What a model would say in place of each token of the answers it reads."""
    tokens = {}
    with pair.model(side) as model, torch.no_grad():
        for place, (prompt, answers) in read.items():
            ids = pair.readable(side, [*prompt.ids, *(t.id for t in answers[side].tokens)])
            reading = Reading(model, ids, len(prompt.tokens))
            logits = model(reading.read, use_cache=False, logits_to_keep=reading.positions).logits
            tokens[place] = logits[0, :, : pair.vocabulary].argmax(dim=-1).tolist()
    return tokens


def _each(
    groups: Iterable[list[int]],
    work: Callable[[list[int]], list[Result]],
    errors: dict[int, TwinlensError],
    model: PreTrainedModel | None = None,
) -> Iterator[tuple[int, Result]]:
    """Results by place: together, or where that fails one at a time, to see which of them does.

    Of work that only reads the weights of a model, some at once.
    """
    listed = list(groups)
    with closing(in_threads(model, work, listed)) as results:
        for places, result in zip(listed, results, strict=True):
            try:
                yield from zip(places, result(), strict=True)
            except Interrupted:
                raise
            except TwinlensError as error:
                if len(places) == 1:
                    errors[places[0]] = error
                else:
                    yield from _each([[place] for place in places], work, errors)
