"""Live traces: blocks computed on demand from the two models."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial
from threading import Lock
from typing import Any

import numpy as np

from twinlens.compute.concepts.blocks import ConceptBlocks
from twinlens.compute.exchange.blocks import ExchangeBlocks
from twinlens.compute.heads.blocks import HeadBlocks
from twinlens.compute.live.blocks import FindingBlocks, PassBlocks
from twinlens.compute.models.architectures import check_heads_everywhere
from twinlens.compute.models.running import methods_plainly, plainly
from twinlens.compute.pair import Pair
from twinlens.compute.passes.capture import Capture, capture
from twinlens.compute.passes.footprint import check_footprint
from twinlens.compute.passes.gates import AnswerGates
from twinlens.compute.passes.rotary import changes_within
from twinlens.compute.passes.subject import Subject
from twinlens.compute.provide import providers, recorders
from twinlens.compute.saliency.blocks import SaliencyBlocks
from twinlens.compute.saliency.methods import METHODS
from twinlens.compute.text.answers import read_answers
from twinlens.compute.text.arguments import read_length, read_response
from twinlens.compute.text.chat import Message
from twinlens.compute.text.prompt import Prompt, check_length, read_prompt
from twinlens.compute.update.blocks import UpdateBlocks
from twinlens.compute.update.turned import read_part, read_scale, turned_model
from twinlens.contract import lookup
from twinlens.contract.blocks import BLOCKS
from twinlens.contract.manifest import Answer, Manifest, Token
from twinlens.contract.wire import Value
from twinlens.contract.words import SIDES, Given, Side, TurnedPart
from twinlens.errors import (
    ArgumentError,
    ModelLoadError,
    UnknownBlockError,
    UnsupportedArchitectureError,
)
from twinlens.support.cached import cached_property
from twinlens.support.calls import methods_called_rightly
from twinlens.support.lru import Cache
from twinlens.support.progress import Report, told
from twinlens.traces.trace import Trace

_CACHE_BYTES = 64 * 2**20
_GROWN = (
    "While the answer was written the text outgrew a length from which on these models take other "
    "rotary positions. It is read in one piece with those of its whole length, as a given text "
    "is: early answer tokens may not be the likeliest here."
)


class TurnedPair(Pair):
    """A pair whose tuned model has its update, or a part of it, times a scale.

    Base is the one of `pair`.
    """

    def __init__(self, pair: Pair, scale: float, part: TurnedPart) -> None:
        direction = None if part.direction is None else pair.taken_apart().place(part.direction)
        turned = turned_model(pair, scale, part, direction)
        worked_out = {
            name
            for kind in type(pair).__mro__
            for name, value in vars(kind).items()
            if isinstance(value, cached_property)
        }
        known = {name: value for name, value in vars(pair).items() if name not in worked_out}
        self.__dict__.update(known, _update=None, _checked=set(SIDES))
        self._resident = {"base": pair._resident["base"], "tuned": turned}
        name = f"{pair.names['tuned']}{'' if part.whole else f', {part}'} × {scale:g}"
        self.names = {**pair.names, "tuned": name}
        # Files are hashed for it: those of the pair were.
        self.info = replace(pair.info, tuned=replace(pair.info.tuned, name=name))

    def __getstate__(self) -> dict[str, Any]:
        raise ModelLoadError(
            "a pair with its dial turned is in memory only: give the pair itself to other processes"
        )

    def _lent(self, side: Side) -> bool:
        return side == "base" and super()._lent(side)

    def _adapters(self, side: Side) -> bool | None:
        return super()._adapters(side) if side == "base" else None


@plainly()
def trace_pair(
    pair: Pair,
    prompt: str | Sequence[Message],
    *,
    response: str = "own",
    answer: str | None = None,
    max_new_tokens: int = 64,
    known: Callable[[Sequence[Token], int], None] | None = None,
    report: Report | None = None,
    **reading: Any,
) -> LiveTrace:
    """Run both models on a prompt and keep what happens inside.

    Parameters are those of `twinlens.explore`, less a template of each model's own.

    Parameters
    ----------
    known : callable, optional
        Told the prompt's tokens, and how many tokens prompt and answer have at most, before a model
        runs and again when the answer is there; may raise.
    report : callable, optional
        Called as ``report(done, total, what)``; may raise `Interrupted`.
    **reading
        How `read_prompt` reads it.

    Raises
    ------
    PromptError, AnswerError
        If there is nothing to read or to explain, or it does not fit.
    NotFiniteError
        If a model computes NaN or infinity.
    MemoryNeededError
        If what the pass leaves does not fit; found before a model runs.
    """
    chosen = read_response(response, answer)
    read = read_prompt(pair, prompt, **reading)
    # A given answer has its length; how long the models' own may be is asked where they answer.
    given = isinstance(chosen, Given)
    limit = read_length(max_new_tokens) if given else check_length(pair, read, max_new_tokens)
    if known and not given:
        known(read.tokens, len(read.tokens) + limit)
    check_footprint(pair, len(read.tokens) + limit, report)
    kind, answers = read_answers(pair, read, chosen, limit, report)
    if known:
        known(read.tokens, len(read.tokens) + max(len(a.tokens) for a in answers.values()))
    captures, notes = captured(
        pair, dict.fromkeys(SIDES, read), answers, given=given, report=report
    )
    return LiveTrace(pair, manifest_of(pair, read, kind, answers, limit, notes), captures)


def captured(
    pair: Pair,
    prompts: Mapping[Side, Prompt],
    answers: Mapping[Side, Answer],
    *,
    given: bool,
    report: Report | None = None,
) -> tuple[dict[Side, Capture], list[str]]:
    """Let each model read its prompt and answer once; gives what to say of it, too.

    Parameters
    ----------
    given : bool
        Whether the answer is a text that no model wrote.
    """
    captures: dict[Side, Capture] = {}
    notes = [read.note for read in prompts.values()]
    # Tuned first: with memory="sequential" it is the one still loaded.
    for side in told(SIDES[::-1], lambda side: f"reading with {side}", report):
        read = prompts[side]
        with pair.model(side) as model:
            length = len(read.tokens) + len(answers[side].tokens) - 1
            grown = not given and changes_within(model, len(read.tokens), length)
            notes.append(_GROWN if grown else "")
            captures[side] = capture(
                model,
                pair.readable(side, [*read.ids, *(token.id for token in answers[side].tokens)]),
                len(read.tokens),
                side=side,
                # One model at a time could not come back for each layer.
                again=partial(pair.model, side) if pair.memory == "both" else None,
            )
    return captures, notes


def manifest_of(
    pair: Pair,
    read: Prompt,
    kind: str,
    answers: dict[Side, Answer],
    limit: int,
    notes: Sequence[str],
) -> Manifest:
    """What a live trace says about itself."""
    said = dict.fromkeys(filter(None, (pair.info.note, *notes, _not_everywhere(pair))))
    return Manifest(
        pair=replace(pair.info, note=" ".join(said)),
        prompt=read.text,
        prompt_tokens=read.tokens,
        answers=answers,
        response=kind,
        shared=kind != "own",
        methods=tuple(entry.method for entry in METHODS.values()),
        parameters={
            "max_new_tokens": limit,
            **read.settings,
            "decoding": "greedy",
            "attention": "float16",
            "components": pair.concepts.count,
            "words": pair.concepts.settings.words,
            "vocabulary": pair.concepts.source,
        },
    )


def _not_everywhere(pair: Pair) -> str:
    """What a page or recording, which lacks some heads and exchanges, says of it."""
    try:
        check_heads_everywhere(pair.configs["base"])
    except UnsupportedArchitectureError as error:
        said = str(error)
        return f"{said[0].upper()}{said[1:]}."
    return ""


@methods_plainly
@methods_called_rightly
class LiveTrace(Trace):
    """A trace that computes its blocks on demand; made by `trace_pair`.

    Blocks that are there already are answered without waiting for a model. Work on a model holds
    the pair's lock; saliency lets go of it between pieces, so that other blocks get through.
    Safe to ask from several threads.

    Attributes
    ----------
    manifest : Manifest
    pair : Pair
    subject : Subject
        Both models, what they have read, and what that left.
    saliency_room, head_room : SaliencyBlocks, HeadBlocks
        What is computed of prompt tokens and of heads.
    """

    computes = True

    def __init__(self, pair: Pair, manifest: Manifest, captures: dict[Side, Capture]) -> None:
        self.manifest, self.pair = manifest, pair
        self.subject = subject = Subject(pair, manifest, captures)
        self.saliency_room = SaliencyBlocks(subject)
        gates = AnswerGates(subject)
        self.head_room = HeadBlocks(subject, pair.head_weights, gates)
        rooms = (
            self.saliency_room,
            self.head_room,
            ConceptBlocks(subject, pair.concepts, gates),
            ExchangeBlocks(subject),
            UpdateBlocks(subject, lambda report: pair.taken_apart(report)),
            PassBlocks(subject, pair.concepts),
            FindingBlocks(self),
        )
        self._providers, self._recorders = providers(rooms), recorders(rooms)
        self._cache: Cache[Value] = Cache(_CACHE_BYTES, _bytes)
        #: What is said of the trace as a whole: small, few, and what takes longest.
        self._whole: dict[str, Value] = {}
        #: The last place of the dial, and what was read there.
        self._turned: tuple[float, TurnedPart, LiveTrace] | None = None
        self._turning = Lock()

    def at(
        self,
        scale: float,
        *,
        layer: int | None = None,
        kind: str | None = None,
        direction: int | None = None,
    ) -> LiveTrace:
        """The same text read by base, and by tuned with its update, or a part of it, times a scale.

        The models of the pair stay as they are. Kept until another place of the dial is asked for.

        Parameters
        ----------
        scale : float
            From 0 to 2; 1 is tuned, for which it is the trace itself. With all of the update
            turned 0 is base.
        layer, kind, direction : optional
            What is turned: a layer, a kind of matrix such as ``q_proj``, one direction, counted
            over all matrices; all of the update by default. The rest stays tuned's.

        Raises
        ------
        ArgumentError
            If there is no such place or part, or each model reads an answer of its own.
        MemoryNeededError, UnsupportedArchitectureError
            If the models are not loaded together, or cannot be turned.
        """
        scale, part = read_scale(scale), read_part(layer, kind, direction)
        if scale == 1:
            return self
        if not self.manifest.shared:
            raise ArgumentError(
                'the dial is turned where both models read one answer: give response="shared"'
            )
        with self._turning:
            if self._turned is None or self._turned[:2] != (scale, part):
                self._turned = None  # let go of the weights of the place before
                self._turned = scale, part, self._turned_to(scale, part)
            return self._turned[2]

    def _turned_to(self, scale: float, part: TurnedPart) -> LiveTrace:
        pair, m = TurnedPair(self.pair, scale, part), self.manifest
        with pair.model("tuned") as model:
            read = capture(
                model,
                self.subject.ids["tuned"],
                m.prompt_length,
                side="tuned",
                again=partial(pair.model, "tuned"),
            )
        answer = replace(m.answers["tuned"], own_text=None, stopped=None)
        answers = {**m.answers, "tuned": answer}
        # None of these models need have written it.
        manifest = replace(m, pair=pair.info, response="given", answers=answers)
        return LiveTrace(pair, manifest, {**self.subject.captures, "tuned": read})

    def block(self, key: str, report: Report | None = None) -> Value:
        """The value behind a key, see `twinlens.contract.blocks`; arrays are read-only."""
        value = self.known(key)
        if value is None:
            request = lookup.read(key, self.manifest)
            provider = self._providers[request.block]
            value = provider(request.values, report)
            if isinstance(value, np.ndarray):
                value.flags.writeable = False
            if provider.cached and not request.block.grows:
                if isinstance(value, np.ndarray) or any(
                    given is not None for given in request.values.values()
                ):
                    self._cache.put(key, value)
                else:
                    value = self._whole.setdefault(key, value)
        return value

    def known(self, key: str) -> Value | None:
        if not isinstance(key, str):
            return None
        value = self._whole.get(key)
        return self._cache.get(key) if value is None else value

    def keys(self) -> Iterator[str]:
        return self.recorded(self, everything=False)

    def every_key(self) -> Iterator[str]:
        return self.recorded(self, everything=True)

    def recorded(self, trace: Trace, *, everything: bool) -> Iterator[str]:
        """Keys of a recording of this trace, or of one that is made of it."""
        small = self.pair.sizes.small
        for block in BLOCKS.values():
            if block.recorded:
                recorder = self._recorders.get(block)
                # What the models do not have, or these prompts, is in no recording.
                with suppress(UnsupportedArchitectureError, UnknownBlockError):
                    keys = (
                        recorder(trace, block, everything)
                        if recorder
                        else block.every(trace.manifest)
                    )
                    wanted = everything or small or not block.costly
                    yield from (key for key in keys if wanted or trace.known(key) is not None)


def _bytes(value: Value) -> int:
    return value.nbytes if isinstance(value, np.ndarray) else 2**16
