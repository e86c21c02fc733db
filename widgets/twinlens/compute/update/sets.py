"""The smallest set of directions that keeps most of the shift, and sets chosen in other ways.

A set is measured with all other directions taken out. Embeddings, norms and biases stay tuned's;
what they keep alone is what a set of no direction keeps.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from twinlens.compute.update.direction_effects import integrated
from twinlens.compute.update.mixed import Mixed
from twinlens.support.progress import Report, told

#: Share of the shift that a minimal set keeps.
GOAL = 0.9
#: Shares of the directions at which the curves are measured.
SHARES = (0.0, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0)
#: Shares that the leading directions are narrowed down to, and points on each way: the first order
#: holds while all others open, too, and each further one while fewer do.
_NARROWER, _POINTS = (0.3, 0.1, 0.03, 0.01), 8
#: Draws of a random order.
_DRAWS = 3


@dataclass(frozen=True)
class Curve:
    """Share of the shift that is kept by the first directions of an order.

    Attributes
    ----------
    order : str
        ``effect``, ``size``, ``first order`` or ``random``.
    counts : list of int
        Directions kept.
    kept : list of float
        Share of the shift; of random orders the mean.
    needed : int
        Fewest that keep the goal, by bisection.
    """

    order: str
    counts: list[int]
    kept: list[float]
    needed: int


@dataclass(frozen=True)
class Shift:
    """Log-probability of the answer under base and under tuned, nats."""

    base: float
    tuned: float

    @property
    def nats(self) -> float:
        """How much likelier tuned finds it."""
        return self.tuned - self.base

    def kept(self, nats: Tensor) -> list[float]:
        """Share of the shift."""
        return [(float(value) - self.base) / self.nats for value in nats]


def narrowed(mixed: Mixed, effects: Tensor, report: Report | None = None) -> list[int]:
    """All directions, the ones first that keep most of the shift without the others.

    Parameters
    ----------
    effects : float64 tensor [D]
        What made the change, see `path_effects`.
    """
    order = torch.argsort(-effects, stable=True)
    for share in told(_NARROWER, "narrowing the directions down", report):
        count = max(1, round(share * mixed.count))
        only = torch.zeros(mixed.count, dtype=torch.float32)
        only[order[:count]] = 1
        again = integrated(mixed, _POINTS, None, only).directions[order[:count]]
        leading = order[:count][torch.argsort(-again, stable=True)]
        order = torch.cat([leading, order[count:]])
    places: list[int] = order.tolist()
    return places


def by_size(mixed: Mixed) -> list[int]:
    """All directions, the longest first."""
    sizes = torch.cat([matrix.sizes.cpu() for matrix in mixed.matrices])
    order: list[int] = torch.argsort(-sizes, stable=True).tolist()
    return order


def orders(mixed: Mixed, first_order: Tensor, effects: Sequence[int]) -> dict[str, list[list[int]]]:
    """Orders of the directions by name; of random ones several."""
    draws = np.random.default_rng(0)
    return {
        "effect": [list(effects)],
        "size": [by_size(mixed)],
        "first order": [torch.argsort(-first_order, stable=True).tolist()],
        "random": [draws.permutation(mixed.count).tolist() for _ in range(_DRAWS)],
    }


def curves(
    mixed: Mixed,
    shift: Shift,
    by_name: Mapping[str, Sequence[Sequence[int]]],
    goal: float = GOAL,
    report: Report | None = None,
) -> list[Curve]:
    """What is kept by the first directions of some orders."""
    counts = sorted({round(share * mixed.count) for share in SHARES})
    listed = []
    for name, draws in told(by_name.items(), "keeping some directions only", report):

        def share_of(count: int, draws: Sequence[Sequence[int]] = draws) -> float:
            rows = [row_of(mixed, order[:count]) for order in draws]
            return float(np.mean(shift.kept(mixed.nats(rows))))

        means = [share_of(count) for count in counts]
        listed.append(Curve(name, counts, means, fewest(share_of, counts, means, goal)))
    return listed


def row_of(mixed: Mixed, directions: Sequence[int]) -> Tensor:
    """A row of gates that are open at some directions."""
    row = torch.zeros(mixed.count, dtype=torch.float32)
    row[list(directions)] = 1
    return row


def fewest(
    share_of: Callable[[int], float], counts: Sequence[int], means: Sequence[float], goal: float
) -> int:
    """Fewest directions that keep the goal, between the counts that are measured."""
    reached = next((place for place, mean in enumerate(means) if mean >= goal), None)
    if reached is None:
        return counts[-1]
    low, high = (counts[reached - 1] if reached else 0), counts[reached]
    while high - low > 1:
        middle = (low + high) // 2
        if share_of(middle) >= goal:
            high = middle
        else:
            low = middle
    return high
