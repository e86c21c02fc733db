"""Blocks about what carries the difference of the two models."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock

from twinlens.compute.exchange.null import null
from twinlens.compute.exchange.passes import Exchange
from twinlens.compute.exchange.search import Measured, carried
from twinlens.compute.passes.reading import Reading
from twinlens.compute.passes.subject import Subject
from twinlens.compute.provide import provides, records
from twinlens.contract import blocks
from twinlens.contract.block import Block
from twinlens.contract.forms import Carried, Null
from twinlens.contract.words import SIDES
from twinlens.errors import MemoryNeededError
from twinlens.support.progress import Report
from twinlens.traces.trace import Trace


class ExchangeBlocks:
    """The room of exchanged parts."""

    def __init__(self, of: Subject) -> None:
        self._of = of
        self._known: Measured | None = None
        #: Exchanges build on each other; the models are free between passes all the same.
        self._lock = Lock()

    @provides(blocks.carried)
    def carried(self, answer_token: int | None, report: Report | None) -> Carried:
        """What carries the shift of the answer, or of one of its tokens."""
        with self._lock, self._readings() as (base, tuned):
            if self._known is None:
                captured = self._of.captures["base"]
                models = self._of.models
                guards = models.held("tuned"), models.held("base")
                exchange = Exchange(
                    tuned, base.model, captured, *guards, self._of.captures["tuned"]
                )
                self._known = Measured(exchange)
            return carried(self._known, answer_token, report)

    @provides(blocks.null)
    def null(self, report: Report | None) -> Null:
        """How far the update moves predictions, and how far it would with other signs."""
        with self._readings() as (base, tuned):
            held = {side: self._of.models.held(side) for side in SIDES}
            return null(base, tuned, held, report)

    @contextmanager
    def _readings(self) -> Iterator[tuple[Reading, Reading]]:
        models = self._of.models
        if models.memory == "sequential":
            raise MemoryNeededError(
                "parts of two models are exchanged while both are loaded: load the pair with "
                'memory="both"'
            )
        # The lock is taken pass by pass.
        with models.pieces("base") as base, models.pieces("tuned") as tuned:
            yield self._of.reading("base", base), self._of.reading("tuned", tuned)

    @records(blocks.null)
    def recorded_null(self, trace: Trace, _: Block[[]]) -> Iterator[str]:
        """Where both models are loaded."""
        if trace.manifest.shared and self._of.models.memory == "both":
            yield blocks.null()

    @records(blocks.carried)
    def recorded(self, trace: Trace, _: Block[[int | None]]) -> Iterator[str]:
        """Of the whole answer; of small models of every token, too."""
        m = trace.manifest
        if m.shared and self._of.models.memory == "both":
            yield blocks.carried(None)
            if self._of.models.sizes.small:
                yield from (blocks.carried(t) for t in range(m.answer_length("tuned")))
