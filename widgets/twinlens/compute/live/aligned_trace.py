"""A trace in which each model reads the prompt in its own chat template.

Each side has a trace of its own, in which its prompt stands. What is asked of one side is answered
there and laid into the row of both prompts; a token that a model does not read does nothing to it,
so that its numbers are 0. What compares the two at a token compares those that both read.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from typing import Any, cast

import numpy as np

from twinlens.compute.heads.attention import in_layers
from twinlens.compute.live.blocks import SHIFTED, FindingBlocks
from twinlens.compute.live.live import LiveTrace, captured, manifest_of, trace_pair
from twinlens.compute.pair import Pair
from twinlens.compute.passes.footprint import check_footprint
from twinlens.compute.provide import providers, provides
from twinlens.compute.text.aligned import AlignedPrompts, read_in_own_templates
from twinlens.compute.text.answers import choose_answers, own_answer, own_answer_of
from twinlens.compute.text.arguments import generated_sides, read_length, read_response
from twinlens.compute.text.chat import Message
from twinlens.compute.text.prompt import check_length
from twinlens.contract import blocks, lookup
from twinlens.contract.block import Block
from twinlens.contract.forms import HiddenSegment, TemplateEffects
from twinlens.contract.manifest import Manifest, Token
from twinlens.contract.wire import Array, Value, half
from twinlens.contract.words import SIDES, Given, Side, Unit
from twinlens.errors import UnknownBlockError
from twinlens.measures.differences import jensen_shannon, relative_difference
from twinlens.support.progress import Report
from twinlens.traces.frames import axes_of
from twinlens.traces.marks import groups
from twinlens.traces.trace import Trace

#: What puts parts of one model into a pass of the other, which would need one prompt for both, or
#: lists both models' activations at one place.
_ONE_PROMPT = (
    blocks.null,
    blocks.carried,
    blocks.update,
    blocks.update_finding,
    blocks.exchanged,
    blocks.exchanged_heads,
    blocks.exchanged_neuron,
    blocks.exchanged_neurons,
    blocks.handover,
    blocks.unit_effects,
    blocks.unit_estimates,
    blocks.neurons,
    blocks.neuron_change,
    blocks.hidden_elsewhere,
    blocks.other_texts,
)


def trace_of(
    pair: Pair, prompt: str | Sequence[Message], *, template: Any = None, **options: Any
) -> LiveTrace | AlignedTrace:
    """`trace_pair`, or `trace_in_own_templates` where the template is "own"."""
    if isinstance(template, str) and template == "own":
        return trace_in_own_templates(pair, prompt, **options)
    return trace_pair(pair, prompt, template=template, **options)


def trace_in_own_templates(
    pair: Pair,
    prompt: str | Sequence[Message],
    *,
    response: str = "shared",
    answer: str | None = None,
    max_new_tokens: int = 64,
    known: Callable[[Sequence[Token], int], None] | None = None,
    report: Report | None = None,
    **reading: Any,
) -> AlignedTrace:
    """Run each model on a prompt in its own chat template.

    Parameters and errors are those of `trace_pair`.
    """
    chosen = read_response(response, answer)
    read = read_in_own_templates(pair, prompt, **reading)
    given = isinstance(chosen, Given)
    limit = read_length(max_new_tokens)
    for side in () if given else SIDES:
        limit = check_length(pair, read.own[side], limit)
    longest = max(len(answer.tokens) for answer in read.own.values()) + limit
    check_footprint(pair, longest, report)
    if known and not given:
        known(read.row.tokens, len(read.row.tokens) + limit)
    generated, stopped = {}, {}
    for side in generated_sides(chosen):
        ids = read.own[side].ids
        generated[side], stopped[side] = own_answer(pair, side, ids, limit, report)
    longer = max(read.own.values(), key=lambda answer: len(answer.tokens))
    kind, answers = choose_answers(pair, longer, chosen, generated, stopped)
    if known:
        length = max(len(answer.tokens) for answer in answers.values())
        known(read.row.tokens, len(read.row.tokens) + length)
    captures, notes = captured(pair, read.own, answers, given=given, report=report)
    said = [_said(read), *notes]
    traces = {
        side: LiveTrace(
            pair, manifest_of(pair, read.own[side], kind, answers, limit, said), captures
        )
        for side in SIDES
    }
    return AlignedTrace(traces, manifest_of(pair, read.row, kind, answers, limit, said), read)


def _said(read: AlignedPrompts) -> str:
    count = {side: len(read.only(side)) for side in SIDES}
    plain = [side for side in SIDES if not read.own[side].settings.get("chat_template")]
    without = f" {plain[0].capitalize()} has none and reads the text alone." if plain else ""
    return (
        f"Each model reads the prompt in its own chat template: {count['base']} tokens only base "
        f"reads, {count['tuned']} only tuned. They do nothing in the other model, and count 0 "
        f"there; compare the two at the text itself.{without}"
    )


class AlignedTrace(Trace):
    """Two live traces of one prompt, each in the template of its side, as one.

    Attributes
    ----------
    manifest : Manifest
        Its prompt is the row of both prompts.
    traces : dict of Side to LiveTrace
        What each side reads; only what is about that side is right there.
    """

    computes = True

    def __init__(self, traces: dict[Side, LiveTrace], manifest: Any, read: AlignedPrompts) -> None:
        self.traces, self.manifest, self._read = traces, manifest, read
        self.pair = traces["tuned"].pair
        self._both = providers((BothSides(traces, manifest, read), FindingBlocks(self)))
        self._whole: dict[str, Value] = {}

    def block(self, key: str, report: Report | None = None) -> Value:
        if isinstance(key, str) and key in self._whole:
            return self._whole[key]
        request = lookup.read(key, self.manifest)
        self._check(key, request)
        if request.block not in self._both:
            side, own = self._own(key, request)
            return self._laid(request.block, side, self.traces[side].block(own, report))
        of_both = self._both[request.block](request.values, report)
        if isinstance(of_both, np.ndarray):
            of_both.flags.writeable = False
        return self._whole.setdefault(key, of_both)

    def known(self, key: str) -> Value | None:
        try:
            request = lookup.read(key, self.manifest)
            self._check(key, request)
            side, own = self._own(key, request)
        except UnknownBlockError:
            return None
        if key in self._whole or request.block in self._both:
            return self._whole.get(key)
        value = self.traces[side].known(own)
        return None if value is None else self._laid(request.block, side, value)

    def keys(self) -> Iterator[str]:
        return self._recorded(everything=False)

    def every_key(self) -> Iterator[str]:
        return self._recorded(everything=True)

    def _recorded(self, everything: bool) -> Iterator[str]:
        for key in self.traces["tuned"].recorded(self, everything=everything):
            with suppress(UnknownBlockError):
                self._check(key, lookup.read(key, self.manifest))
                yield key

    def _check(self, key: str, request: lookup.Asked) -> None:
        """Refuse what needs one prompt that both models read."""
        if request.block in _ONE_PROMPT or request.values.get("ablation") == "other":
            raise UnknownBlockError(
                f"{key} needs one prompt that both models read, and each has its own chat template "
                'here: trace with template="tuned", "base" or "plain"'
            )

    def _own(self, key: str, request: lookup.Asked) -> tuple[Side, str]:
        """Whose trace answers, and the key there."""
        side = cast(Side, request.values.get("side", "tuned"))
        known = lookup.find(key)
        assert known is not None
        texts, token = dict(known[1]), request.values.get("token")
        if token is not None:
            n, places = self.manifest.prompt_length, self._read.places[side]
            if token < n and token not in places:
                raise UnknownBlockError(
                    f"{side} does not read token {token}, which is of the other model's chat "
                    "template: choose a token of the text"
                )
            own = len(places) + token - n if token >= n else places.index(token)
            texts["token"] = str(own)
        return side, request.block(**texts)

    def _laid(self, block: Block[Any], side: Side, value: Value) -> Value:
        """What a side's trace gives, in the row of both prompts."""
        if block is blocks.template:
            own = self._read.places["tuned"]
            effects = cast(TemplateEffects, value)
            text = {place for i, place in enumerate(own) if i not in set(effects["left_out"])}
            n = self.manifest.prompt_length
            return {**effects, "left_out": [i for i in range(n) if i not in text]}
        if not isinstance(value, np.ndarray):
            return value
        n, places = self.manifest.prompt_length, self._read.places[side]
        row = {"N": places, "T": [*places, *range(n, self.manifest.length(side))]}
        for axis, name in enumerate(axes_of(block)):
            if name in row:
                size = n if name == "N" else self.manifest.length(side)
                laid = np.zeros((*value.shape[:axis], size, *value.shape[axis + 1 :]), value.dtype)
                laid[(slice(None),) * axis + (row[name],)] = value
                value = laid
        value.flags.writeable = False
        return value


class BothSides:
    """The room of what is made of both sides, in the row of both prompts."""

    def __init__(
        self, traces: dict[Side, LiveTrace], manifest: Manifest, read: AlignedPrompts
    ) -> None:
        self._traces, self._manifest, self._read = traces, manifest, read

    @provides(blocks.groups)
    def groups(self, grouping: Unit) -> list[list[int]]:
        """Words, sentences or segments of the row."""
        return [list(group) for group in groups(self._manifest.prompt_tokens, grouping)]

    @provides(blocks.hidden_segments)
    def hidden_segments(self, report: Report | None) -> list[HiddenSegment]:
        """Of each side what its own prompt loses."""
        for side in SIDES:
            subject = self._traces[side].subject
            # What a model answers by itself it answers to its own prompt.
            others = self._traces[SIDES[1 - SIDES.index(side)]].subject.own_answers
            if self._manifest.response not in ("own", side):
                others[side] = own_answer_of(subject, side, report)
        rows = {
            side: {
                (hidden["segment"], hidden["answer"]): hidden[side]
                for hidden in cast(
                    "list[HiddenSegment]",
                    self._traces[side].block(blocks.hidden_segments(), report),
                )
            }
            for side in SIDES
        }
        # A template that only one model has is hidden in it alone.
        nothing = {answer: [0.0] * len(row) for (_, answer), row in rows["tuned"].items()}
        nothing |= {answer: [0.0] * len(row) for (_, answer), row in rows["base"].items()}
        return [
            HiddenSegment(
                segment=segment,
                answer=answer,
                base=rows["base"].get((segment, answer), nothing[answer]),
                tuned=rows["tuned"].get((segment, answer), nothing[answer]),
            )
            for segment, answer in dict.fromkeys([*rows["tuned"], *rows["base"]])
        ]

    def _common(self) -> list[int]:
        """Positions of the row that both models read, those of a shared answer included."""
        both = set(self._read.places["base"]) & set(self._read.places["tuned"])
        n = self._manifest.prompt_length
        return [*sorted(both), *range(n, self._manifest.common_length)]

    def _rows(self, side: Side) -> list[int]:
        """The same positions in what a side reads."""
        n, places = self._manifest.prompt_length, self._read.places[side]
        at = {place: i for i, place in enumerate(places)}
        return [at[p] if p < n else len(places) + p - n for p in self._common()]

    @provides(*SHIFTED)
    def shift(self, block: Block[[]]) -> Array:
        """How far outputs, or the residual streams, are apart."""
        captures = self._traces["tuned"].subject.captures
        base, tuned = (
            getattr(captures[side], SHIFTED[block])[:, self._rows(side)].numpy() for side in SIDES
        )
        return self._at_common(relative_difference(base, tuned).T.astype("float32"))

    @provides(blocks.head_change)
    def head_change(self) -> Array:
        """Divergence of two rows of attention over all tokens of the row of both prompts."""
        captures = self._traces["tuned"].subject.captures
        n, length = self._manifest.prompt_length, self._manifest.length("tuned")
        changes = {}
        for layer in captures["base"].attending:
            laid = []
            for side in SIDES:
                rows = captures[side].attention[layer][:, self._rows(side)].float().numpy()
                own = [*self._read.places[side], *range(n, self._manifest.length(side))]
                size = max(length, self._manifest.length("base"))
                row = np.zeros((*rows.shape[:2], size), rows.dtype)
                row[..., own] = rows
                laid.append(row)
            changes[layer] = jensen_shannon(*laid).T
        return half(self._at_common(in_layers(changes, captures["base"])))

    def _at_common(self, rows: Array) -> Array:
        """Rows of the positions that both read in a table of all, zeros elsewhere."""
        table = np.zeros((self._manifest.common_length, *rows.shape[1:]), rows.dtype)
        table[self._common()] = rows
        return table
