"""The smallest set of parts that carries the difference of two models' predictions.

Parts are tried in the order of the estimate (`integrated_gates`); what is kept, and every number
given back, is measured with the whole set in place.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from twinlens.compute.exchange.exchanged_weights import with_weights_of_base
from twinlens.compute.exchange.parts import Place
from twinlens.compute.exchange.passes import Exchange, compared, integrated_gates, rows_of
from twinlens.compute.models import architectures
from twinlens.contract.forms import Carried, Part, PartOfSet
from twinlens.support.progress import Report

#: Share of KL that the set shall carry.
GOAL = 0.8
#: Parts tried at each place of the set, places that are filled by trying, and parts that may
#: leave again; of small models, and of others.
_TRIED, _PLACES, _LEAVING = (8, 4), (24, 10), (24, 3)
#: Draws of as many random parts.
_DRAWS = 10
_SEED = 0
#: Shares that differ by less are equal but for rounding, where models are nearly alike.
_EQUAL = 1e-3
#: Numbers of residual streams that are kept from one step to the next.
_NUMBERS_KEPT = 2**24
#: Below this the two models predict the same: float32 rounding of log-probabilities.
NOISE = 1e-3


@dataclass
class Measured:
    """Exchanges of one text, each measured once.

    Attributes
    ----------
    known : dict of tuple of int to (nats, KL) arrays [M]
        Log-probability of the answer tokens and KL to the donor, by the places exchanged.
    estimates : dict of int or None to float64 tensor [P]
        `integrated_gates` by answer token; None for the whole answer.
    weights : dict of Place to (nats, KL) arrays [M]
        As `known`, with the weights of a block of base.
    """

    exchange: Exchange
    known: dict[tuple[int, ...], tuple[np.ndarray, np.ndarray]] = field(default_factory=dict)
    estimates: dict[int | None, Tensor] = field(default_factory=dict)
    weights: dict[Place, tuple[np.ndarray, np.ndarray]] = field(default_factory=dict)
    #: In front of each layer, of the sets measured last.
    _streams: dict[tuple[int, ...], dict[int, Tensor]] = field(default_factory=dict)

    @property
    def small(self) -> bool:
        """Whether there is time to try much."""
        return architectures.sizes(self.exchange.model.config).small

    def estimate(self, column: int | None, report: Report | None) -> Tensor:
        """How much each part should carry; of a small model for all tokens at once."""
        if column not in self.estimates:
            columns = [column]
            if column is not None and self.small:
                columns = list(range(self.exchange.reading.answer_length))
            estimates = integrated_gates(self.exchange, columns, report)
            self.estimates |= dict(zip(columns, estimates, strict=True))
        return self.estimates[column]

    def measure(self, sets: Sequence[Sequence[int]], near: Sequence[int] | None = None) -> None:
        """Measure the sets that are not known yet.

        Parameters
        ----------
        near : sequence of int, optional
            A set that all of them nearly are: what it gives in front of the first layer where they
            differ from it is computed once.
        """
        exchange, layout = self.exchange, self.exchange.layout

        def begins(place: int) -> int:
            # An exchanged embedding is part of what enters the first layer.
            return -1 if place == layout.embedding else layout.layer(layout.part(place))

        keys = dict.fromkeys(tuple(sorted(places)) for places in sets)
        missing = [key for key in keys if key not in self.known]
        if not missing:
            return
        before: dict[int, Tensor] = {}
        close: set[int] = set()
        if near and (len(missing) > 1 or tuple(sorted(near)) in self._streams):
            before, close = self._streams_of(near), {*near}
        self._streams.clear()
        starts = {key: min(map(begins, {*key} ^ close), default=layout.layers) for key in missing}
        missing.sort(key=lambda key: starts[key])
        keeps = near is not None and self._numbers(starts.values()) <= _NUMBERS_KEPT
        for batch in exchange.batches(rows_of(layout, missing)):
            some, missing = missing[: len(batch)], missing[len(batch) :]
            at = self._begin([starts[key] for key in some], before)
            streams: list[Tensor] | None = [] if keeps else None
            with torch.no_grad():
                logits = exchange.logits(batch, at, streams)
                nats, kl = compared(logits, exchange.reading.targets, exchange.donor_logprobs)
            self.known |= {key: (nats[row], kl[row]) for row, key in enumerate(some)}
            for layer, stream in self._by_layer(streams or []).items():
                for row, key in enumerate(some[: len(stream)]):
                    of_set = self._streams.setdefault(key, dict(before))
                    of_set[layer] = stream[row : row + 1]

    def _begin(self, starts: Sequence[int], streams: Mapping[int, Tensor]) -> dict[int, Tensor]:
        """Streams in front of the layers where sets begin, in rising order; -1 in front of all.

        Those that begin with what is there before any part is exchanged take it from the model.
        """
        exchange = self.exchange
        if exchange.own is None:
            return {}
        if not exchange.can_begin_apart:
            starts = [starts[0]] * len(starts)
        entering: dict[int, list[Tensor]] = {}
        for start, count in Counter(starts).items():
            layer = max(start, 0)
            stream = streams[start] if start in streams else exchange.residual(layer)
            entering.setdefault(layer, []).append(stream.expand(count, -1, -1))
        return {layer: torch.cat(parts) for layer, parts in entering.items()}

    def _streams_of(self, places: Sequence[int]) -> dict[int, Tensor]:
        """Residual streams [1, S, hidden] in front of each layer from that of some places on."""
        key = tuple(sorted(places))
        if key in self._streams:
            return self._streams[key]
        streams: list[Tensor] = []
        with torch.no_grad():
            self.exchange.logits(rows_of(self.exchange.layout, [places]), streams=streams)
        return self._by_layer(streams)

    def _by_layer(self, streams: Sequence[Tensor]) -> dict[int, Tensor]:
        """Streams in front of the last layers and behind them, by layer."""
        layers = self.exchange.layout.layers
        return dict(zip(range(layers, layers - len(streams), -1), reversed(streams), strict=True))

    def _numbers(self, starts: Iterable[int]) -> int:
        """Numbers of the residual streams of sets that begin at some layers."""
        read, layers = self.exchange.read, self.exchange.layout.layers
        size: int = architectures.sizes(self.exchange.model.config).hidden
        length: int = read.stop - read.start
        return size * length * sum(layers + 1 - start for start in starts)

    def of_weights(self, column: int | None) -> dict[Place, tuple[float, float]]:
        """Nats of the shift and share of KL that go with the weights of each block."""
        if not self.weights:
            exchange = self.exchange
            for block, logits in with_weights_of_base(exchange):
                nats, apart = compared(logits, exchange.reading.targets, exchange.donor_logprobs)
                self.weights[block] = nats[0], apart[0]
        return {
            block: self._lost(*self.weights[block], column)
            for block in self.exchange.layout.blocks()
            if block in self.weights
        }

    def of(self, places: Sequence[int], column: int | None) -> tuple[float, float]:
        """Nats of the shift and share of KL that some places take away together."""
        return self._lost(*self.known[tuple(sorted(places))], column)

    def _lost(self, nats: np.ndarray, left: np.ndarray, column: int | None) -> tuple[float, float]:
        apart = self.kl(column)
        lost = _sum_of(self.known[()][0] - nats, column)
        return lost, (apart - _sum_of(left, column)) / max(apart, NOISE)

    def kl(self, column: int | None) -> float:
        """KL(tuned || base) with nothing exchanged, nats."""
        return _sum_of(self.known[()][1], column)

    def reached(self, places: Sequence[int], column: int | None) -> float:
        """Share of the difference that some places carry together.

        That of KL, or that of the shift where it is smaller: a prediction that has only become
        uncertain is nearer to base's, too. Where both models find the answer about equally
        likely the shift is no measure.
        """
        nats, share = self.of(places, column)
        shift, _ = self.of(range(self.exchange.layout.count), column)
        if abs(shift) < self.kl(column) / 2:
            return share
        return min(share, nats / shift)


def _sum_of(values: np.ndarray, column: int | None) -> float:
    return float(values.sum() if column is None else values[column])


def ranking(values: Sequence[float]) -> list[int]:
    """Places of values, the largest first; of those that rounding cannot tell apart the earliest.

    What follows a block that decides all repeats its effect: such shares are equal but for the
    order in which a batch summed them.
    """
    left, order = list(range(len(values))), []
    while left:
        least = max(values[place] for place in left) - _EQUAL
        order.append(next(place for place in left if values[place] >= least))
        left.remove(order[-1])
    return order


def carried(measured: Measured, column: int | None = None, report: Report | None = None) -> Carried:
    """What carries the difference of an answer, or of one of its tokens.

    Parameters
    ----------
    column : int, optional
        Answer token; by default the whole answer.
    report : callable, optional
        Called as ``report(done, total, what)``; may raise `Interrupted`; what is measured is kept.
    """
    exchange = measured.exchange
    layout, blocks = exchange.layout, exchange.layout.blocks()
    everything = list(range(layout.count))
    measured.measure([(), everything, *blocks.values()])
    shift, _ = measured.of(everything, column)
    kl = measured.kl(column)
    alone = [_part(measured, block, places, column) for block, places in blocks.items()]
    by_weights = [
        Part(kind=block.kind, layer=block.layer, head=block.head, nats=nats, share=share)
        for block, (nats, share) in measured.of_weights(column).items()
    ]
    chosen: list[int] = []
    random: list[float] = []
    if kl > NOISE:
        estimate = measured.estimate(column, report)
        chosen = _smallest(measured, estimate, column, report)
        draws = np.random.default_rng(_SEED)
        others = [
            draws.choice(layout.count, size=len(chosen), replace=False).tolist()
            for _ in range(_DRAWS)
        ]
        measured.measure(others)
        random = [measured.reached(places, column) for places in others]
    return Carried(
        shift=shift,
        kl=kl,
        goal=GOAL,
        count=layout.count,
        blocks=[alone[i] for i in ranking([part["share"] for part in alone])],
        # Two changes may work against each other: then without one of them KL is larger.
        weights=[by_weights[i] for i in ranking([abs(part["share"]) for part in by_weights])],
        parts=_in_order(measured, chosen, column),
        random=random,
    )


def _smallest(
    measured: Measured, estimate: Tensor, column: int | None, report: Report | None
) -> list[int]:
    """A set that reaches the goal, the part that adds most first."""
    order = torch.argsort(-estimate, stable=True).tolist()
    tries, places, leaving = (choice[not measured.small] for choice in (_TRIED, _PLACES, _LEAVING))
    chosen: list[int] = []
    reached = 0.0
    while reached < GOAL and len(chosen) < min(places, len(order)):
        # The others' estimates hold while nothing is exchanged: those that add least leave last.
        tried = [place for place in order if place not in chosen][:tries]
        measured.measure([[*chosen, place] for place in tried], chosen)
        gains = [measured.reached([*chosen, place], column) for place in tried]
        best = ranking(gains)[0]
        chosen.append(tried[best])
        reached = gains[best]
        if report:
            report(round(100 * max(reached, 0)), 100, "which parts carry the difference")
    rest = [place for place in order if place not in chosen]
    step = len(chosen)
    while reached < GOAL and rest:
        chosen, rest, step = [*chosen, *rest[:step]], rest[step:], 2 * step
        measured.measure([chosen])
        reached = measured.reached(chosen, column)
    return _pruned(measured, chosen, column, leaving)


def _pruned(measured: Measured, chosen: list[int], column: int | None, leaving: int) -> list[int]:
    """Without the parts that later ones have made needless, so many at most."""
    for _ in range(min(leaving, len(chosen) - 1)):
        shorter = [[p for p in chosen if p != place] for place in chosen]
        measured.measure(shorter, chosen)
        shares = [measured.reached(places, column) for places in shorter]
        best = ranking(shares)[0]
        if shares[best] < GOAL:
            break
        chosen = shorter[best]
    return chosen


def _in_order(measured: Measured, chosen: Sequence[int], column: int | None) -> list[PartOfSet]:
    prefixes = [chosen[: count + 1] for count in range(len(chosen))]
    measured.measure([*prefixes, *([place] for place in chosen)])
    parts = []
    for place, prefix in zip(chosen, prefixes, strict=True):
        part = _part(measured, measured.exchange.layout.part(place), [place], column)
        together, share = measured.of(prefix, column)
        parts.append(PartOfSet(**part, together=together, together_share=share))
    return parts


def _part(measured: Measured, part: Place, places: Sequence[int], column: int | None) -> Part:
    nats, share = measured.of(places, column)
    return Part(kind=part.kind, layer=part.layer, head=part.head, nats=nats, share=share)
