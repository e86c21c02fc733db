"""Blocks about attention heads: what they look at, what they do, and what their weights say."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np

from twinlens.compute.heads import attention
from twinlens.compute.heads.effects import HeadEffects
from twinlens.compute.heads.search import PairHeads
from twinlens.compute.models.architectures import no_heads
from twinlens.compute.passes.gates import AnswerGates
from twinlens.compute.passes.subject import Subject
from twinlens.compute.provide import provides, records
from twinlens.contract import blocks
from twinlens.contract.block import Block
from twinlens.contract.wire import Array, Value, half
from twinlens.contract.words import ABLATIONS, SIDES, Side
from twinlens.support.progress import Report
from twinlens.traces.trace import Trace
from twinlens.weights.head_words import HeadWords


class HeadBlocks:
    """The room of heads."""

    def __init__(self, subject: Subject, weights: PairHeads, gates: AnswerGates) -> None:
        self.effects = HeadEffects(subject, gates)
        self._subject, self._weights = subject, weights
        self._measures: dict[Side, dict[Block[[Side]], Array]] = {}

    @provides(blocks.attention)
    def attention(self, side: Side, layer: int, head: int) -> Array:
        """The pattern of one head."""
        captured = self._subject.captures[side]
        if layer not in captured.attending:
            raise no_heads(layer, captured.attending)
        return captured.attention[layer, head].numpy()

    @provides(blocks.head_change)
    def change(self) -> Array:
        """How far the two models' rows are apart."""
        base, tuned = (self._subject.captures[side] for side in SIDES)
        return half(attention.change(base, tuned, self._subject.manifest.common_length))

    @provides(*blocks.HEAD_MEASURES.values())
    def measured(self, block: Block[[Side]], side: Side) -> Array:
        """One of the measures of a side's patterns, which are all made together."""
        if side not in self._measures:
            m = self._subject.manifest
            measures: dict[Block[[Side]], attention.Measure] = {
                blocks.head_instruction: attention.to_positions(m.segment_positions("instruction")),
                blocks.head_sink: attention.to_positions([0]),
                blocks.head_received: attention.received(m.prompt_length),
                blocks.head_entropy: attention.entropy,
                blocks.head_previous: attention.previous,
            }
            values = attention.measured(self._subject.captures[side], list(measures.values()))
            self._measures[side] = dict(zip(measures, map(half, values), strict=True))
        return self._measures[side][block]

    @provides(blocks.head_effect)
    def effect(self, side: Side, answer_token: int | None) -> Array:
        """Estimated effect of every head."""
        return self.effects.gates.heads(side, answer_token).copy()

    @provides(blocks.head_ablation)
    def ablation(
        self, side: Side, ablation: str, answer_token: int | None, report: Report | None
    ) -> Array:
        """Exact effect of the strongest heads."""
        strongest = self.effects.strongest(side, answer_token)
        return self.effects.exact(side, ablation, strongest, answer_token, report)

    @provides(blocks.head_ablation_so_far)
    def ablation_so_far(self, side: Side, ablation: str, answer_token: int | None) -> Array:
        """Exact effects that are there."""
        return self.effects.so_far(side, ablation, answer_token)

    @provides(blocks.head_ablation_one)
    def ablation_one(
        self,
        side: Side,
        ablation: str,
        answer_token: int | None,
        layer: int,
        head: int,
        report: Report | None,
    ) -> Array:
        """Exact effect of one head."""
        effects = self.effects.exact(side, ablation, [(layer, head)], answer_token, report)
        return np.array([effects[layer, head]])

    @provides(blocks.head_circuits)
    def circuits(self, report: Report | None) -> Array:
        """How far the circuits moved."""
        return self._weights.circuits(report).astype(np.float32)

    @provides(blocks.word_pair_info)
    def word_pair_info(self, report: Report | None) -> Value:
        """How word pairs were found."""
        return self._words(report).info_block()

    @provides(blocks.word_pair_counts)
    def word_pair_counts(self, report: Report | None) -> Value:
        """How many pairs were gained, kept and lost."""
        words, sizes = self._words(report), self._subject.models.sizes
        counts = np.full((sizes.layers, sizes.heads, 3), np.nan, np.float32)
        counts[list(words.base.layers)] = words.counts_block()
        return counts

    @provides(blocks.word_pairs)
    def word_pairs(self, layer: int, head: int, report: Report | None) -> Value:
        """Pairs of one head."""
        return self._weights.search.find([layer], report).head_block(layer, head)

    @provides(blocks.word_pair_find)
    def word_pair_find(self, word: str, report: Report | None) -> Value:
        """Heads that hold a word."""
        return self._words(report).find_block(word)

    def _words(self, report: Report | None) -> HeadWords:
        return self._weights.search.find(report=report)

    @records(blocks.attention)
    def recorded_patterns(self, trace: Trace, _: object) -> Iterator[str]:
        """Patterns of the heads that changed most first, base and tuned beside each other."""
        change = trace.head_change()
        order = np.argsort(-change, axis=None, kind="stable")
        for place in order[: np.isfinite(change).sum()].tolist():
            layer, head = divmod(place, change.shape[1])
            yield from (blocks.attention(side, layer, head) for side in SIDES)

    @records(blocks.head_effect)
    def recorded_effects(self, trace: Trace, _: object, everything: bool) -> Iterator[str]:
        """All, computed together; of a large pair on the whole answer, and what was asked for."""
        each = everything or self._subject.models.sizes.small
        for side in SIDES if each else ():
            self.effects.gates.fill(side)
        whole = {blocks.head_effect(side, None) for side in SIDES}
        for key in blocks.head_effect.every(trace.manifest):
            if each or key in whole or trace.known(key) is not None:
                yield key

    @records(blocks.head_ablation)
    def recorded_ablations(self, trace: Trace, _: object) -> Iterator[str]:
        """What is there; of a small pair all for the answer, and zero for its tokens."""
        m, small = trace.manifest, self._subject.models.sizes.small
        for side in SIDES:
            for kind in ABLATIONS if m.shared else ABLATIONS[:2]:
                for token in (None, *range(m.answer_length(side))):
                    always = small and (kind == "zero" or token is None)
                    if always or self.effects.computed(side, kind, token):
                        yield blocks.head_ablation(side, kind, token)

    @records(blocks.word_pair_info, blocks.word_pair_counts, blocks.word_pairs)
    def recorded_word_pairs(self, trace: Trace, block: Block[...]) -> Iterable[str]:
        """If word pairs are there or quickly found."""
        if not (self._subject.models.sizes.small or self._weights.search.complete):
            return ()
        if block is not blocks.word_pairs:
            return block.every(trace.manifest)
        heads = range(self._subject.models.sizes.heads)
        layers = self._weights.search.find().base.layers
        return (blocks.word_pairs(layer, head) for layer in layers for head in heads)
