"""Forms of JSON blocks."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any, TypeAlias

#: Labels given by hand, see the module.
HandLabels: TypeAlias = dict[str, dict[str, Any]]


@dataclass(frozen=True)
class Faithfulness:
    """Agreement of a method with exact occlusion; None where too little is known.

    Attributes
    ----------
    spearman, pearson : float or None
        Mean correlation over answer tokens, -1 .. 1.
    top1 : float or None
        Share of the answer tokens that depend on the prompt (some scored token matters by 1 nat)
        where the estimate's largest scored token is the exact effect's too.
    above_noise : float or None
        Share of the exact cells whose effect is at least 0.1 nats either way.
    columns, columns_top1 : int
        Answer tokens behind the correlations, and behind `top1`.
    n : int
        Exact cells it is computed on.
    cells : int
        Cells there are: with all of them exact, `n` is as large.
    """

    spearman: float | None
    pearson: float | None
    top1: float | None
    above_noise: float | None
    columns: int
    columns_top1: int
    n: int
    cells: int

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values; ``Faithfulness(**value)`` is the inverse."""
        return dataclasses.asdict(self)


@dataclass(frozen=True)
class DeletionCurve:
    """Loss of the answer's log-probability as prompt tokens are hidden, one after the other.

    A faithful method has `most` far above `least`.

    Attributes
    ----------
    share : list of float [steps + 1]
        Share of the prompt tokens that is hidden, from 0 to 1.
    most, least : list of float [steps + 1]
        Drop in nats, summed over the answer, when those that matter most, or least, by the
        method's effect on the whole answer are hidden first.
    """

    share: list[float]
    most: list[float]
    least: list[float]

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values; ``DeletionCurve(**value)`` is the inverse."""
        return dataclasses.asdict(self)
