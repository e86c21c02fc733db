"""Blocks about what carries the difference of the two models."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from threading import Lock
from typing import cast

import numpy as np

from twinlens.compute.exchange.alone import (
    Left,
    as_it_is,
    likely_neurons,
    of_heads,
    of_layers,
    of_neurons,
)
from twinlens.compute.exchange.null import null
from twinlens.compute.exchange.passes import Exchange
from twinlens.compute.exchange.smallest_set import NOISE, Measured, carried
from twinlens.compute.models.architectures import check_heads_everywhere, has_neurons
from twinlens.compute.passes.reading import Reading
from twinlens.compute.passes.subject import Subject
from twinlens.compute.provide import provides, records
from twinlens.contract import blocks
from twinlens.contract.block import Block
from twinlens.contract.forms import Carried, NeuronExchanged, Null
from twinlens.contract.wire import Array
from twinlens.contract.words import SIDES, Side, reading_position
from twinlens.errors import MemoryNeededError
from twinlens.support.lru import Cache
from twinlens.support.progress import Report
from twinlens.traces.trace import Trace

#: Bytes of what is kept of layers exchanged one by one.
_KEPT = 2**24


class ExchangeBlocks:
    """The room of exchanged parts."""

    def __init__(self, subject: Subject) -> None:
        self._subject = subject
        self._known: Measured | None = None
        #: With each part of each layer exchanged, and with none: all answer tokens at once.
        self._layers: Cache[tuple[Left, Left]] = Cache(_KEPT, lambda left: 2 * left[0].kl.nbytes)
        self._heads: Cache[tuple[Left, Left]] = Cache(_KEPT, lambda left: 2 * left[0].kl.nbytes)
        self._whole: Cache[Left] = Cache(_KEPT, lambda left: 2 * left.kl.nbytes)
        #: Exchanges build on each other; the models are free between passes all the same.
        self._lock = Lock()

    @provides(blocks.carried)
    def carried(self, answer_token: int | None, report: Report | None) -> Carried:
        """What carries the shift of the answer, or of one of its tokens."""
        with self._lock, self._exchange("tuned") as exchange:
            if self._known is None:
                self._known = Measured(exchange)
            return carried(self._known, answer_token, report)

    @provides(blocks.exchanged)
    def exchanged(
        self, side: Side, token: int | None, answer_token: int | None, report: Report | None
    ) -> Array:
        """Each part of each layer exchanged alone."""
        key = f"{side} {token}"
        with self._lock:
            left = self._layers.get(key)
            if left is None:
                with self._exchange(side, token) as exchange:
                    whole = self._as_it_is(exchange, side, token)
                    left = of_layers(exchange, whole, report), whole
                self._layers.put(key, left)
        return _gone(side, answer_token, *left)

    @provides(blocks.exchanged_heads)
    def exchanged_heads(
        self, side: Side, token: int | None, answer_token: int | None, layer: int
    ) -> Array:
        """Each head of a layer exchanged alone."""
        key = f"{side} {token} {layer}"
        left = self._heads.get(key)
        if left is None:
            with self._exchange(side, token) as exchange:
                left = of_heads(exchange, layer), self._as_it_is(exchange, side, token)
            self._heads.put(key, left)
        return _gone(side, answer_token, *left)

    @provides(blocks.exchanged_neuron)
    def exchanged_neuron(
        self, side: Side, token: int | None, answer_token: int | None, layer: int, neuron: int
    ) -> Array:
        """One neuron exchanged."""
        with self._exchange(side, token) as exchange:
            left = of_neurons(exchange, layer, [neuron])
            return _gone(side, answer_token, left, self._as_it_is(exchange, side, token))

    @provides(blocks.exchanged_neurons)
    def exchanged_neurons(
        self, side: Side, token: int | None, answer_token: int | None, layer: int
    ) -> list[NeuronExchanged]:
        """The neurons of a layer that are likely to take most away, exchanged alone."""
        with self._exchange(side, token) as exchange:
            neurons = likely_neurons(exchange, layer, answer_token)
            left = of_neurons(exchange, layer, neurons)
            gone = _gone(side, answer_token, left, self._as_it_is(exchange, side, token))
        rows = [
            [neuron, *of_neuron] for neuron, of_neuron in zip(neurons, gone.tolist(), strict=True)
        ]
        return cast("list[NeuronExchanged]", sorted(rows, key=lambda row: -row[2]))

    def _as_it_is(self, exchange: Exchange, side: Side, token: int | None) -> Left:
        """With nothing exchanged: the same for every layer."""
        key = f"{side} {token}"
        whole = self._whole.get(key)
        if whole is None:
            whole = as_it_is(exchange)
            self._whole.put(key, whole)
        return whole

    @provides(blocks.null)
    def null(self, report: Report | None) -> Null:
        """How far the update moves predictions, and how far it would with other signs."""
        with self._readings() as readings:
            said = {side: self._subject.captures[side].logprobs for side in SIDES}
            held = {side: self._subject.models.held(side) for side in SIDES}
            return null(readings["base"], readings["tuned"], said, held, report)

    @contextmanager
    def _exchange(self, into: Side, token: int | None = None) -> Iterator[Exchange]:
        """Into one model from the other; where a token is read, or everywhere."""
        check_heads_everywhere(self._subject.models.configs[into])
        donor = SIDES[1 - SIDES.index(into)]
        captures, held = self._subject.captures, self._subject.models.held
        with self._readings() as readings:
            yield Exchange(
                readings[into],
                readings[donor].model,
                captures[donor],
                held(into),
                held(donor),
                captures[into],
                None if token is None else reading_position(token, readings[into].prompt_length),
                partial(self._subject.ending, into),
            )

    @contextmanager
    def _readings(self) -> Iterator[dict[Side, Reading]]:
        models = self._subject.models
        if models.memory == "sequential":
            raise MemoryNeededError(
                "parts of two models are exchanged while both are loaded: load the pair with "
                'memory="both"'
            )
        # The lock is taken pass by pass.
        with models.pieces("base") as base, models.pieces("tuned") as tuned:
            yield {
                "base": self._subject.reading("base", base),
                "tuned": self._subject.reading("tuned", tuned),
            }

    @records(blocks.null)
    def recorded_null(self, trace: Trace, _: Block[[]]) -> Iterator[str]:
        """Where both models are loaded."""
        if trace.manifest.shared and self._subject.models.memory == "both":
            yield blocks.null()

    @records(blocks.carried)
    def recorded(self, trace: Trace, _: Block[[int | None]]) -> Iterator[str]:
        """Of the whole answer and of every token, where both models are loaded."""
        m = trace.manifest
        if m.shared and self._subject.models.memory == "both":
            yield blocks.carried(None)
            yield from (blocks.carried(t) for t in range(m.answer_length("tuned")))

    @records(blocks.exchanged)
    def recorded_exchanged(self, trace: Trace, _: object) -> Iterator[str]:
        """Everywhere, of the whole answer; of small models for each of its tokens and there."""
        for side, token, answer_token in self._exchanges(trace):
            yield blocks.exchanged(side, token, answer_token)

    @records(blocks.exchanged_heads)
    def recorded_heads(self, trace: Trace, _: object) -> Iterator[str]:
        """Of small models, of every layer, wherever its output is exchanged."""
        if self._subject.models.sizes.small:
            for side, token, answer_token in self._exchanges(trace):
                for layer in range(trace.manifest.pair.layers):
                    yield blocks.exchanged_heads(side, token, answer_token, layer)

    @records(blocks.exchanged_neurons)
    def recorded_neurons(self, trace: Trace, _: object) -> Iterator[str]:
        """Of small models, of every layer of tuned, everywhere and of the whole answer."""
        m, models = trace.manifest, self._subject.models
        neurons = all(map(has_neurons, models.configs.values()))
        if m.shared and models.memory == "both" and models.sizes.small and neurons:
            for layer in range(m.pair.layers):
                yield blocks.exchanged_neurons("tuned", None, None, layer)

    def _exchanges(self, trace: Trace) -> Iterator[tuple[Side, int | None, int | None]]:
        """Into which model, where, and for which answer token, as a recording keeps them."""
        m = trace.manifest
        if not m.shared or self._subject.models.memory != "both":
            return
        for side in SIDES:
            yield side, None, None
            for t in range(m.answer_length(side)) if self._subject.models.sizes.small else ():
                yield side, None, t
                yield side, m.prompt_length + t, t


def _gone(side: Side, answer_token: int | None, left: Left, whole: Left) -> Array:
    """Nats of the shift and share of KL that go with each of some parts, float32 [..., 2]."""
    pick = slice(None) if answer_token is None else slice(answer_token, answer_token + 1)
    nats = (whole.nats - left.nats)[..., pick].sum(axis=-1)
    kl, remaining = (loss.kl[..., pick].sum(axis=-1) for loss in (whole, left))
    # What base gains by a part of tuned is what tuned would lose without it.
    sign = 1 if side == "tuned" else -1
    gone = np.stack([sign * nats, (kl - remaining) / np.maximum(kl, NOISE)], axis=-1)
    return gone.astype(np.float32)
