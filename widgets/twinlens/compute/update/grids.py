"""Whether one of two matrices is the other one, quantised: rounded to the numbers of a grid.

Neither the grid nor how many neighbours in a row share it has to be known. Few neighbours share one
in every format, and among these the copy follows from the original: what is equal stays equal, the
order stays, and each number lies at the nearest one of the grid. Training does none of this, unless
it is too small for the grid; then the change is small, too, against the steps of the grid, where
rounding fills them. Copies that make up for one rounding with the next (GPTQ), or whose columns
are scaled first (AWQ), do not follow from it.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import torch

from twinlens.compute.update.stored_numbers import Numbers

#: Neighbours in a row that share a grid in every format, groups of them that are looked at, those
#: whose different numbers are counted, and those that are looked at first.
_GROUP, _GROUPS, _COUNTED, _FIRST = 16, 2**13, 2**11, 2**7
#: Cases that have to be told, and the share of them that may speak against a copy; above the other
#: one nothing more is looked at.
_TELLING, _BROKEN, _SURELY_BROKEN = 64, 0.005, 0.2
#: Rounding errors of what quantises, relative to the largest number of a group.
_ARITHMETIC = 2.0**-21
#: Share of different numbers, against the other tensor, below which one lies on a coarser grid.
_RECURRING = 0.97
#: How far in steps of the grid the 95th of 100 numbers is moved, at least; 0.475 if evenly.
_FILLED = 0.38
#: Share of the energy of a difference that scales and shifts of each group explain, above which
#: they are what tuning did.
_SCALED = 0.8

_Groups: TypeAlias = npt.NDArray[np.float32]


def quantised(base: Numbers, tuned: Numbers) -> bool:
    """Whether one of two matrices is the other one, quantised."""
    if base.shape[-1] < _GROUP:
        return False
    pair = [(_groups(of), torch.finfo(of.dtype).eps) for of in (base, tuned)]
    values = [_values(groups[:_COUNTED]) for groups, _ in pair]
    first = int(values[1] < values[0])
    (coarse, step), (fine, finer_step) = pair[first], pair[1 - first]
    if _holds(_same_moves, coarse, fine):
        return not _scaled(coarse, fine, max(step, finer_step))
    recurring = min(values) < _RECURRING * max(values)
    return (
        (recurring or _holds(_same_moves, fine, coarse))
        and _filled(fine, coarse)
        and _holds(lambda given, made: _nearest(given, made, (step + finer_step) / 2), fine, coarse)
    )


def _groups(of: Numbers) -> _Groups:
    """Groups of neighbours in rows that are spread over a matrix."""
    height, width = math.prod(of.shape[:-1]), of.shape[-1]
    step = -(-height * width // (_GROUP * _GROUPS))
    matrix = of.rows(torch.arange(0, height, step))
    groups: _Groups = matrix[:, : width // _GROUP * _GROUP].reshape(-1, _GROUP).float().numpy()
    return groups


def _holds(
    rule: Callable[[_Groups, _Groups], tuple[int, int]], given: _Groups, made: _Groups
) -> bool:
    """Whether a rule, which counts cases and what breaks it, holds for groups of both."""
    told, broken = rule(*_in_order(given[:_FIRST], made[:_FIRST]))
    if broken > _SURELY_BROKEN * told:
        return False
    told, broken = rule(*_in_order(given, made))
    return told >= _TELLING and broken <= _BROKEN * told


def _in_order(given: _Groups, made: _Groups) -> tuple[_Groups, _Groups]:
    """Groups of both, as those of the one are in order."""
    order = np.argsort(given, axis=1)
    return np.take_along_axis(given, order, axis=1), np.take_along_axis(made, order, axis=1)


def _same_moves(given: _Groups, made: _Groups) -> tuple[int, int]:
    """Equal numbers of groups in order, of those that moved, and how many came apart."""
    moved = given != made
    equal = (given[:, 1:] == given[:, :-1]) & (moved[:, 1:] | moved[:, :-1])
    steps = np.diff(made, axis=1)
    return _count(equal), _count(np.where(equal, steps != 0, steps < 0))


def _nearest(fine: _Groups, rounded: _Groups, error: float) -> tuple[int, int]:
    """Neighbours of groups in order that are rounded apart, and how many to the wrong one."""
    low, high = rounded[:, :-1], rounded[:, 1:]
    middle = (low + high) / 2
    # Numbers of both are themselves rounded: where they are stored, and before in float32.
    largest = np.abs(rounded).max(axis=1, keepdims=True)
    allowed = error * np.maximum(np.abs(low), np.abs(high)) + _ARITHMETIC * largest
    wrong = (fine[:, :-1] > middle + allowed) | (fine[:, 1:] < middle - allowed) | (high < low)
    return _count(low != high), _count((low != high) & wrong)


def _filled(fine: _Groups, rounded: _Groups) -> bool:
    """Whether numbers were moved as far as the smallest step of a grid has them move."""
    steps = np.diff(np.sort(rounded, axis=1), axis=1)
    smallest = np.where(steps > 0, steps, np.inf).min(axis=1)
    return bool(np.quantile(np.abs(fine - rounded) / smallest[:, None], 0.95) > _FILLED)


def _scaled(ours: _Groups, theirs: _Groups, step: float) -> bool:
    """Whether the numbers of a group are scaled and shifted alike, and by more than rounding."""
    ours = ours.astype(np.float64)
    apart = theirs - ours
    whole = np.square(apart).sum()
    if whole <= np.square(ours).sum() * step**2:
        return False
    ours, apart = (numbers - numbers.mean(axis=1, keepdims=True) for numbers in (ours, apart))
    sizes = np.maximum(np.square(ours).sum(axis=1), 1e-300)
    along = np.square((ours * apart).sum(axis=1)) / sizes
    return bool(np.square(apart).sum() - along.sum() < (1 - _SCALED) * whole)


def _values(groups: _Groups) -> float:
    """Different numbers in a group, on average."""
    return 1 + _count(np.diff(np.sort(groups, axis=1), axis=1)) / len(groups)


def _count(flags: npt.NDArray[np.generic]) -> int:
    return int(np.count_nonzero(flags))
