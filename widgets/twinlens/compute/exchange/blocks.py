"""Blocks about what carries the difference of the two models."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack

from twinlens.compute.exchange.passes import Exchange
from twinlens.compute.exchange.search import Measured, carried
from twinlens.compute.passes.subject import Subject
from twinlens.compute.provide import provides, records
from twinlens.contract import blocks
from twinlens.contract.block import Block
from twinlens.contract.forms import Carried
from twinlens.errors import MemoryNeededError
from twinlens.support.progress import Report
from twinlens.traces.trace import Trace


class ExchangeBlocks:
    """The room of exchanged parts."""

    def __init__(self, of: Subject) -> None:
        self._of = of
        self._known: Measured | None = None

    @provides(blocks.carried)
    def carried(self, answer_token: int | None, report: Report | None) -> Carried:
        """What carries the shift of the answer, or of one of its tokens."""
        models = self._of.models
        if models.memory == "sequential":
            raise MemoryNeededError(
                "parts of two models are exchanged while both are loaded: load the pair with "
                'memory="both"'
            )
        with ExitStack() as held:
            base = held.enter_context(models.model("base"))
            tuned = held.enter_context(models.model("tuned"))
            if self._known is None:
                reading = self._of.reading("tuned", tuned)
                self._known = Measured(Exchange(reading, base, self._of.captures["base"]))
            return carried(self._known, answer_token, report)

    @records(blocks.carried)
    def recorded(self, trace: Trace, _: Block[[int | None]]) -> Iterator[str]:
        """Of the whole answer; of small models of every token, too."""
        m = trace.manifest
        if m.shared and self._of.models.memory == "both":
            yield blocks.carried(None)
            if self._of.models.sizes.small:
                yield from (blocks.carried(t) for t in range(m.answer_length("tuned")))
