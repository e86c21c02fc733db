"""Effects of directions held against interventions, each in its own sense, with a random draw.

What a direction *did* is checked by opening it wholly and shutting it while all others are at
several places on the way, what it *would cost now* by taking it out of tuned. For every direction
that is checked another one of the same matrix, of about its size, is drawn.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from twinlens.compute.update.mixed import Mixed
from twinlens.measures.differences import spearman

#: Directions checked, of either kind.
CHECKED = 12
#: Places on the way.
_PLACES = 6
#: A matched direction is this near in the order of sizes, as a share of the matrix's rank.
_NEAR = 0.25

Question = Literal["made the change", "would be lost"]


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
        rows = [
            torch.ones(mixed.count, dtype=torch.float32),
            torch.ones(mixed.count, dtype=torch.float32),
        ]
        rows[1][direction] = 0
        whole, without = mixed.nats(rows).tolist()
        return float(whole - without)
    places, weights = np.polynomial.legendre.leggauss(_PLACES)
    total = 0.0
    for place, weight in zip((places + 1) / 2, weights / 2, strict=True):
        rows = [torch.full((mixed.count,), float(place), dtype=torch.float32) for _ in range(2)]
        rows[0][direction], rows[1][direction] = 1, 0
        with_it, without = mixed.nats(rows, float(place)).tolist()
        total += float(weight) * (with_it - without)
    return total
