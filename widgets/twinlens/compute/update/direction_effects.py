"""What directions of an update do, in nats of the answer's log-probability: two questions.

*What made the change*: the gate of every direction opens with all others from base to tuned, and
the slope of the answer by each, integrated on the way, adds up to the whole shift (Aumann and
Shapley; Gauss-Legendre points, one backward pass each). *What would be lost now*: the slope at
tuned, which tells what removing one direction costs, and is nearly nothing where the answer is
certain. The two are never mixed.

Each is held against interventions: what a direction did by opening it wholly and shutting it while
all others are at several places on the way, what it would cost now by taking it out of tuned. For
every direction that is checked another one of the same matrix, of about its size, is drawn.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from twinlens.compute.passes.integrals import points_on_the_way
from twinlens.compute.update.mixed import Mixed
from twinlens.errors import ArgumentError
from twinlens.measures.differences import spearman
from twinlens.support.progress import Report

#: Points on the way; doubled while the sum is more than `EXACT` off, up to the second number.
POINTS, MOST_POINTS = 32, 128
#: Share of the shift that the sum may be off.
EXACT = 0.01
#: Shifts below this are rounding of float32 log-probabilities, nats.
NOISE = 1e-3
#: Directions checked, of either kind.
CHECKED = 12
#: Places on the way.
_PLACES = 6
#: A matched direction is this near in the order of sizes, as a share of the matrix's rank.
_NEAR = 0.25

Question = Literal["made the change", "would be lost"]


@dataclass(frozen=True)
class Effects:
    """Nats of every direction, and of every other tensor.

    Attributes
    ----------
    by_token : float64 tensor [T - 1, D]
        Effect of each direction at each token that is read.
    rest : float64 tensor [R]
    points : int
        Backward passes.
    """

    by_token: Tensor
    rest: Tensor
    points: int

    @property
    def directions(self) -> Tensor:
        """Effect of each direction, float64 [D]."""
        return self.by_token.sum(dim=0)

    @property
    def total(self) -> float:
        """Sum over directions and other tensors."""
        return float(self.by_token.sum() + self.rest.sum())


def path_effects(
    mixed: Mixed, shift: float, points: int | None = None, report: Report | None = None
) -> Effects:
    """What made the change: slopes integrated on the way from base to tuned.

    Parameters
    ----------
    shift : float
        Measured nats between base and tuned, which the sum is held against.
    points : int, optional
        Backward passes; by default as many as bring the sum within 1 % of `shift`.
    report : callable, optional
        Told the passes done; may raise `Interrupted`.
    """
    if points is not None and not (isinstance(points, int) and points >= 1):
        raise ArgumentError(f"points is a number of backward passes, not {points!r}")
    count = points or POINTS
    while True:
        effects = integrated(mixed, count, report)
        off = abs(effects.total - shift) > EXACT * abs(shift) + NOISE
        if points or not off or count >= MOST_POINTS:
            return effects
        count *= 2


def integrated(
    mixed: Mixed, points: int, report: Report | None, only: Tensor | None = None
) -> Effects:
    """Slopes on the way from base, or from base with tuned's other tensors where `only` is given.

    Parameters
    ----------
    only : bool tensor [D], optional
        Directions that open; the others stay shut.
    """
    length = len(mixed.reading.ids) - 1
    by_token = torch.zeros(length, mixed.count, dtype=torch.float64)
    rest = torch.zeros(len(mixed.rest), dtype=torch.float64)
    for done, (place, weight) in enumerate(points_on_the_way(points)):
        slopes, others = _slopes(mixed, place, only)
        by_token += slopes.double().cpu() * weight
        rest += others.double().cpu() * weight
        if report:
            report(done + 1, points, "what each direction did")
    return Effects(by_token, rest, points)


def first_order(mixed: Mixed) -> Effects:
    """What would be lost now: slopes at tuned, positive where removal costs the answer."""
    slopes, others = _slopes(mixed, 1.0)
    return Effects(slopes.double().cpu(), others.double().cpu(), 1)


@torch.inference_mode(False)
def _slopes(mixed: Mixed, place: float, only: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Slope of the answer's log-probability by every gate, all of them at one place."""
    length = len(mixed.reading.ids) - 1
    gates = torch.full((1, length, mixed.count), place, dtype=torch.float32)
    gates = (gates if only is None else gates * only).requires_grad_()
    others = torch.full(
        (len(mixed.rest),), place if only is None else 1.0, dtype=torch.float32, requires_grad=True
    )
    wanted = [gates, others] if len(mixed.rest) else [gates]
    with torch.enable_grad():
        total = mixed.logprobs(gates, others).sum()
    gradients = torch.autograd.grad(total, wanted, allow_unused=True)
    slopes = [
        torch.zeros_like(gate) if slope is None else slope
        for gate, slope in zip(wanted, gradients, strict=True)
    ]
    return slopes[0][0].detach(), slopes[1].detach() if len(mixed.rest) else others.detach()


@dataclass(frozen=True)
class Checked:
    """One direction: what was predicted and what was measured, in nats."""

    direction: int
    predicted: float
    measured: float
    random: bool


def check(
    mixed: Mixed, effects: Tensor, question: Question, count: int = CHECKED, seed: int = 0
) -> Iterator[Checked]:
    """Measure the directions of largest effect and as many matched ones, one after the other."""
    leading = torch.argsort(-effects.abs(), stable=True)[:count].tolist()
    draws = np.random.default_rng(seed)
    for direction in leading:
        other = _matched(mixed, direction, set(leading), draws)
        for place, random in ((direction, False), (other, True)):
            if place is not None:
                measured = _measured(mixed, place, question)
                yield Checked(place, float(effects[place]), measured, random)


def agreement(checks: Sequence[Checked]) -> float:
    """Spearman's correlation of what was predicted and measured."""
    predicted, measured = ([getattr(c, n) for c in checks] for n in ("predicted", "measured"))
    return spearman(np.array(predicted), np.array(measured))


def _matched(
    mixed: Mixed, direction: int, taken: set[int], draws: np.random.Generator
) -> int | None:
    """A random direction of the same matrix and of about the same size."""
    place = int(np.searchsorted(mixed.bounds, direction, side="right")) - 1
    first, last = mixed.bounds[place], mixed.bounds[place + 1]
    reach = max(2, round(_NEAR * (last - first)))
    near = range(max(first, direction - reach), min(last, direction + reach + 1))
    others = [candidate for candidate in near if candidate not in taken]
    return int(draws.choice(others)) if others else None


def _measured(mixed: Mixed, direction: int, question: Question) -> float:
    if question == "would be lost":
        rows = [torch.ones(mixed.count, dtype=torch.float32) for _ in range(2)]
        rows[1][direction] = 0
        whole, without = mixed.nats(rows).tolist()
        return float(whole - without)
    total = 0.0
    for place, weight in points_on_the_way(_PLACES):
        rows = [torch.full((mixed.count,), place, dtype=torch.float32) for _ in range(2)]
        rows[0][direction], rows[1][direction] = 1, 0
        with_it, without = mixed.nats(rows, place).tolist()
        total += weight * (with_it - without)
    return total
