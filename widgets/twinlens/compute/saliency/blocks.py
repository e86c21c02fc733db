"""Blocks about prompt tokens: saliency by any method, and how far to trust it."""

from __future__ import annotations

from collections.abc import Iterator

from twinlens.compute.passes.subject import Subject
from twinlens.compute.provide import provides, records
from twinlens.compute.saliency.live_tables import SaliencyTables
from twinlens.compute.saliency.segments import (
    HIDDEN,
    answers_of,
    hidden_elsewhere,
    hidden_segments,
    spans_elsewhere,
)
from twinlens.contract import blocks
from twinlens.contract.block import Block
from twinlens.contract.wire import Array, Value
from twinlens.contract.words import SIDES, Side, Unit
from twinlens.support.progress import Report
from twinlens.traces.marks import groups
from twinlens.traces.trace import Trace


class SaliencyBlocks:
    """The room of saliency."""

    def __init__(self, subject: Subject) -> None:
        self.tables = SaliencyTables(subject)
        self._subject = subject
        self._tokens = subject.manifest.prompt_tokens

    @provides(blocks.saliency)
    def saliency(self, side: Side, method: str, report: Report | None) -> Array:
        """The table of a method, computed where it is not."""
        return self.tables.table(side, method, report=report)

    @provides(blocks.saliency_column)
    def column(self, side: Side, method: str, answer_token: int, report: Report | None) -> Array:
        """One column of it: no other is computed."""
        table = self.tables.table(side, method, [answer_token], report)
        return table[:, answer_token].copy()

    @provides(blocks.saliency_so_far)
    def so_far(self, side: Side, method: str) -> Array:
        """What of it is there."""
        return self.tables.so_far(side, method)

    @provides(blocks.faithfulness)
    def faithfulness(self, side: Side, method: str, report: Report | None) -> Value:
        """Agreement of a method with occlusion."""
        return self.tables.faithfulness(side, method, report).to_json()

    @provides(blocks.deletion)
    def deletion(self, side: Side, method: str, report: Report | None) -> Value:
        """Deletion curve of a method."""
        return self.tables.deletion(side, method, report=report).to_json()

    @provides(blocks.hidden_elsewhere)
    def hidden_elsewhere(self, report: Report | None) -> Value:
        """What hiding as much elsewhere costs."""
        # No answer is written where there is nothing to hide.
        if not spans_elsewhere(self._subject.manifest.prompt_tokens):
            return []
        answer = answers_of(self._subject, report).get("tuned")
        return hidden_elsewhere(self._subject, answer, report) if answer else []

    @provides(blocks.hidden_segments)
    def hidden_segments(self, report: Report | None) -> Value:
        """What hiding each segment costs each answer."""
        if not any(map(self._subject.manifest.segment_positions, HIDDEN)):
            return []
        return hidden_segments(self._subject, answers_of(self._subject, report), report)

    @provides(blocks.groups)
    def groups(self, grouping: Unit) -> Value:
        """Words, sentences or segments of the prompt."""
        return [list(group) for group in groups(self._tokens, grouping)]

    @records(blocks.saliency, blocks.faithfulness, blocks.deletion)
    def recorded_methods(
        self, _: Trace, block: Block[[Side, str]], everything: bool
    ) -> Iterator[str]:
        """The usual methods, and those that are computed."""
        for side in SIDES:
            yield from (block(side, name) for name in self.tables.recorded(side, everything))
