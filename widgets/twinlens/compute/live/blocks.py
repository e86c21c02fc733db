"""Blocks of a pass as a whole: answers, layers, the lens, and what heads write along a unit."""

from __future__ import annotations

import weakref
from collections.abc import Iterator
from typing import Any

import torch

from twinlens.compute.concepts.units import Concepts
from twinlens.compute.heads import attention
from twinlens.compute.live import lens
from twinlens.compute.live.handover import handed_over
from twinlens.compute.live.lens import LensReading
from twinlens.compute.live.template import has_template, other_texts, template_effects
from twinlens.compute.passes.subject import Subject
from twinlens.compute.provide import provides, records
from twinlens.compute.text.answers import answer_tokens, context, own_answer_of
from twinlens.compute.text.cutting import pieces
from twinlens.contract import blocks
from twinlens.contract.block import Block
from twinlens.contract.forms import OtherText, TemplateEffects
from twinlens.contract.wire import Array, Value, half
from twinlens.contract.words import SIDES, Side, reading_position
from twinlens.measures.differences import relative_difference
from twinlens.measures.findings import findings, update_finding
from twinlens.support.progress import Report
from twinlens.traces.trace import Trace

#: What of a capture shifts are of.
SHIFTED: dict[Block[Any], str] = {
    blocks.shift_attention: "attention_out",
    blocks.shift_feed_forward: "feed_forward_out",
    blocks.shift_residual: "residual",
}
#: Components per layer whose ``heads/write`` blocks a recording keeps.
WRITTEN = 3


class PassBlocks:
    """The room of everything that is about a pass as a whole."""

    def __init__(self, subject: Subject, concepts: Concepts) -> None:
        self._subject, self._concepts = subject, concepts
        self._lenses: dict[Side, LensReading] = {}

    @provides(blocks.own_answer)
    def own_answer(self, side: Side, report: Report | None = None) -> Value:
        """What a model answers by itself, from the manifest or generated now."""
        subject, m = self._subject, self._subject.manifest
        known = m.answers[side]
        if known.own_text is not None:
            return {"text": known.own_text, "stopped": bool(known.stopped)}
        ids, stopped = own_answer_of(subject, side, report)
        prompt = [token.id for token in m.prompt_tokens]
        before = context(subject.models.tokenizers["tuned"], prompt)
        text = answer_tokens(subject.models.tokenizers[side], ids, before)[1]
        return {"text": text, "stopped": stopped}

    @records(blocks.own_answer)
    def recorded_answers(self, trace: Trace, _: object) -> Iterator[str]:
        """Of a model that read another one."""
        answers = trace.manifest.answers
        yield from (blocks.own_answer(s) for s in SIDES if answers[s].own_text is None)

    @provides(blocks.logprob)
    def logprob(self, side: Side) -> Array:
        """Log-probabilities of the answer."""
        index = torch.tensor(self._subject.answer_ids(side))[:, None]
        return self._subject.captures[side].logprobs.gather(1, index)[:, 0].numpy()

    @provides(blocks.alternatives)
    def alternatives(self, side: Side) -> list[Any]:
        """Rivals of the answer tokens."""
        show = pieces(self._subject.models.tokenizers[side])
        rows = zip(
            self._subject.captures[side].logprobs, self._subject.answer_ids(side), strict=True
        )
        return [lens.likeliest(row, show, besides=token) for row, token in rows]

    @provides(blocks.disagreement)
    def disagreement(self) -> Array:
        """How far the predictions are apart."""
        base, tuned = lens.comparable(self._subject.captures)
        return lens.divergence(tuned, base).float().numpy()

    @provides(blocks.answer_steps)
    def answer_steps(self) -> list[Any]:
        """What both models predict at each answer token."""
        return lens.answer_steps(self._subject)

    @provides(blocks.template)
    def template(self, report: Report | None) -> TemplateEffects:
        """What weights and chat template add."""
        return template_effects(self._subject, report)

    @provides(blocks.other_texts)
    def other_texts(self, report: Report | None) -> list[OtherText]:
        """What another text is worth in the template's place."""
        return other_texts(self._subject, report)

    @records(blocks.template)
    def recorded_template(self, trace: Trace, _: object) -> Iterator[str]:
        """Of a prompt that has one."""
        if trace.manifest.shared and has_template(trace.manifest):
            yield blocks.template()

    @provides(*SHIFTED)
    def shift(self, block: Block[[]]) -> Array:
        """How far outputs, or the residual streams, are apart."""
        common = self._subject.manifest.common_length
        captures = (self._subject.captures[side] for side in SIDES)
        base, tuned = (getattr(of, SHIFTED[block])[:, :common].numpy() for of in captures)
        return relative_difference(base, tuned).T.astype("float32")

    @provides(blocks.lens)
    def lens(self, side: Side, token: int) -> Value:
        """Logit lens where a token is predicted."""
        models, m = self._subject.models, self._subject.manifest
        show = pieces(models.tokenizers[side])
        # With one model at a time, do the whole answer while it is there.
        answer = self._lenses.get(side) if models.memory == "both" else self._answer(side, side)
        if answer is not None and token >= m.prompt_length:
            return answer.block(token - m.prompt_length, show)
        position = reading_position(token, m.prompt_length)
        residual = self._subject.captures[side].residual[:, position, None]
        with models.model(side) as model:
            target = self._subject.ids[side][position + 1]
            return lens.logit_lens(model, residual, [target]).block(0, show)

    @provides(blocks.lens_table)
    def lens_table(self, side: Side, unembedding: Side) -> Array:
        """Logit lens of the whole answer."""
        return self._answer(side, unembedding).table().numpy()

    def _answer(self, side: Side, unembedding: Side) -> LensReading:
        """Logit lens of the whole answer; that of the own unembedding is kept for its tokens."""
        if side == unembedding and side in self._lenses:
            return self._lenses[side]
        m = self._subject.manifest
        residual = self._subject.captures[side].residual[:, m.prompt_length - 1 : -1]
        targets = self._subject.models.readable(unembedding, self._subject.answer_ids(side))
        with self._subject.models.model(unembedding) as model:
            reading = lens.logit_lens(model, residual, targets)
        return self._lenses.setdefault(side, reading) if side == unembedding else reading

    @provides(blocks.handover)
    def handover(self, side: Side, report: Report | None) -> Array:
        """Lower layers of one model, upper ones of the other."""
        return handed_over(self._subject, side, report)

    @provides(blocks.head_write)
    def head_write(self, side: Side, layer: int, unit: tuple[str, int]) -> Array:
        """What heads write along a component or a neuron's value vector."""
        kind, number = unit
        if kind == "component":
            direction = torch.from_numpy(self._concepts.directions(side, layer)[number])
        else:
            vector = self._concepts.value_vector(side, layer, number)
            direction = torch.nn.functional.normalize(vector, dim=0)
        with self._subject.models.model(side) as model:
            return half(attention.write(self._subject.captures[side], model, direction))

    @records(blocks.lens, blocks.lens_table)
    def recorded_lenses(self, trace: Trace, block: Block[...]) -> Iterator[str]:
        """Of the answer, first its table, from which the others follow.

        With the other's unembedding where both models are loaded.
        """
        m = trace.manifest
        if block is blocks.lens:
            for side in SIDES:
                yield blocks.lens_table(side, side)
                yield from (blocks.lens(side, t) for t in range(m.prompt_length, m.length(side)))
        elif self._subject.models.memory == "both":
            yield from (blocks.lens_table(*pair) for pair in (SIDES, SIDES[::-1]))

    @records(blocks.head_write)
    def recorded_writes(self, trace: Trace, _: object, everything: bool) -> Iterator[str]:
        """Of the leading components; of a large pair they take more room than all the rest."""
        for side in SIDES if everything or self._subject.models.sizes.small else ():
            for layer in range(trace.manifest.pair.layers):
                for k in range(min(WRITTEN, self._concepts.count)):
                    yield blocks.head_write(side, layer, f"component:{k}")


class FindingBlocks:
    """The room of what is said of a whole trace, from its blocks."""

    def __init__(self, trace: Trace) -> None:
        # Weakly: the trace holds this room, and shall be freed with its last reference.
        self._trace: Trace = weakref.proxy(trace)

    @provides(blocks.findings)
    def findings(self, report: Report | None) -> Value:
        """What tuning changed."""
        return findings(self._trace, report)

    @provides(blocks.update_finding)
    def update_finding(self, report: Report | None) -> Value:
        """What is said of the update."""
        return update_finding(self._trace, report)
