"""What differs between two tensors: by how much, in how many directions, and of what kind.

A difference is of one of three kinds. *Precision*: one tensor is the other, rounded to a shorter
number type. *Quantised*: one is the other on a coarser grid (`quantised`). *Trained*: anything
else.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from twinlens.compute.update.stored_numbers import Numbers, Piece, as_float32, seen_by_numpy
from twinlens.weights.model_diff import SAMPLE, TensorVerdict

#: Numbers compared at a time: two pieces of this length stay in a core's cache.
_PIECE = 2**17
#: Numbers that BLAS leaves to one thread, and those that are compared first.
_RUN, _FIRST = 2**13, 2**9
#: Significant bits of the number types that weights are rounded to.
_BITS = {torch.bfloat16: 8, torch.float16: 11}
_EXPONENT = 0x7F800000
#: Smallest step of float16; a copy may have been that on its way.
_SMALLEST = 2.0**-24
#: A rounded copy of a rounded copy may land on the neighbouring number: in how many cases, and how
#: far in steps the two are apart then, at most.
_TWICE_ROUNDED, _FURTHEST = 0.1, 0.57
#: Rounding errors are spread evenly over a step: their mean is a quarter of it, within this.
_EVEN = 0.04
#: Singular values above rounding count: noise stays below this times its expected largest one.
_ABOVE_NOISE = 2.0
#: Neighbours in a row that share a grid in every format, groups of them that are looked at, those
#: whose different numbers are counted, and those that are looked at first.
_GROUP, _GROUPS, _COUNTED, _FIRST_GROUPS = 16, 2**13, 2**11, 2**7
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


def compare(base: Numbers, tuned: Numbers) -> dict[str, Any]:
    """Verdict, size and rank of a difference, as `TensorDiff` has them.

    Parameters
    ----------
    base, tuned : Numbers
        Floating-point numbers of one shape.

    Returns
    -------
    dict
        ``verdict``, ``size``, ``relative``, ``largest``, ``changed``, ``rank``,
        ``effective_rank``, ``sampled`` and ``top_share``.

    Raises
    ------
    ValueError
        If they differ, and a number is not finite.
    """
    one_type = base.dtype == tuned.dtype
    if one_type and all(itertools.starmap(_equal, _pieces(base, tuned))):
        return {"verdict": "same"}
    squared = norm = 0.0
    largest, changed = 0.0, 0
    size = math.prod(base.shape)
    sides = (base.dtype, tuned.dtype)
    roundings = [
        _Rounding(kind, sides[not swapped], swapped) for kind in _BITS for swapped in (False, True)
    ]
    held = np.empty((2, min(size, _PIECE)), dtype=np.float32)
    differs = np.empty(held.shape[1], dtype=bool)
    for first, second in _pieces(base, tuned):
        places = held[:, : len(first)]
        same = one_type and _equal(first, second)
        ours = theirs = as_float32(first, base.dtype, places[0], in_order=not one_type)
        norm += _square(ours)
        if not same:
            theirs = as_float32(second, tuned.dtype, places[1], in_order=not one_type)
        both = ((first, ours), (second, theirs))
        for rounding in roundings:
            (_, fine), (bits, coarse) = both[::-1] if rounding.swapped else both
            rounding.look(torch.from_numpy(fine), torch.from_numpy(coarse), bits)
        roundings = [rounding for rounding in roundings if rounding.possible]
        if same:
            continue
        apart = np.subtract(theirs, ours, out=places[1])
        squared += _square(apart)
        largest = max(largest, float(apart.max()), -float(apart.min()))
        changed += int(np.count_nonzero(np.not_equal(apart, 0, out=differs[: len(apart)])))
    if not changed:
        return {"verdict": "same"}
    if not math.isfinite(squared + norm):
        raise ValueError("it has numbers that are not finite")
    measures: dict[str, Any] = {
        "size": math.sqrt(squared),
        "relative": math.sqrt(squared / norm) if norm else math.inf,
        "largest": largest,
        "changed": changed / size,
    }
    matrix = len(base.shape) >= 2 and min(base.shape[-2:]) > 1
    if any(rounding.holds for rounding in roundings):
        return {"verdict": "precision", **measures} | ({"rank": 0} if matrix else {})
    verdict: TensorVerdict = "trained"
    if matrix:
        samples = _sample(base), _sample(tuned)
        noise = _noise(base.dtype, samples[0]) + _noise(tuned.dtype, samples[1])
        difference = samples[1] - samples[0]
        measures |= ranks(difference, noise) | {"sampled": difference.numel() < size}
        if quantised(base, tuned):
            verdict = "quantised"
    return {"verdict": verdict, **measures}


def _pieces(base: Numbers, tuned: Numbers) -> Iterator[tuple[Piece, Piece]]:
    return zip(base.pieces(_PIECE), tuned.pieces(_PIECE), strict=True)


def _square(numbers: npt.NDArray[np.float32]) -> float:
    """Sum of squares, in runs that BLAS does not hand out to threads."""
    rest = len(numbers) % _RUN
    runs, end = numbers[: len(numbers) - rest].reshape(-1, _RUN), numbers[len(numbers) - rest :]
    return float(np.vecdot(runs, runs).sum(dtype=np.float64)) + float(np.dot(end, end))


def _equal(first: Piece, second: Piece) -> bool:
    """Whether two pieces are the same; most that are not differ early."""
    rest, other = _words(first[_FIRST:]), _words(second[_FIRST:])
    return np.array_equal(first[:_FIRST], second[:_FIRST]) and np.array_equal(rest, other)


def _words(bits: Piece) -> Piece:
    """The same bits in longer words, of which fewer are compared."""
    return bits.view(np.uint64) if bits.nbytes % 8 == 0 else bits


class _Rounding:
    """Whether one tensor is the other, rounded to a number type."""

    def __init__(self, kind: torch.dtype, stored: torch.dtype, swapped: bool) -> None:
        self.kind = kind
        self.swapped = swapped
        self.possible = True
        self._short = stored == kind
        self._count = self._missed = self._measured = 0
        self._error = 0.0
        self._finer = False

    def look(self, fine: Tensor, coarse: Tensor, bits: Piece) -> None:
        """Look at a piece of both, of the coarse one at its bits as stored, too."""
        if not self._short and not _keeps(coarse, self.kind):
            self.possible = False
            return
        short = fine.to(self.kind)
        if not self._finer:
            self._finer = not torch.equal(short.float(), fine)
        self._count += fine.numel()
        if self._short and _equal(seen_by_numpy(short), bits):
            return
        rounded = short.float()
        if _equal(rounded.numpy(), coarse.numpy()):  # no further than half a step anywhere
            return
        # The power of two below each number is what its exponent bits say.
        below = (fine.view(torch.int32) & _EXPONENT).view(torch.float32)
        step = (below * 2.0 ** (1 - _BITS[self.kind])).clamp(min=_SMALLEST)
        apart = (fine - coarse).abs() / step
        self._missed += int((rounded != coarse).count_nonzero())
        self._measured += fine.numel()
        self._error += float(apart.sum())
        expected = _TWICE_ROUNDED * self._count
        missed = self._missed - expected > 3 * math.sqrt(expected)
        furthest = float((apart - _SMALLEST / 2 / step).max())
        self.possible = furthest <= _FURTHEST and not missed

    @property
    def holds(self) -> bool:
        """Whether nothing that was looked at speaks against it."""
        if not (self.possible and self._finer):
            return False
        if self._missed == 0:
            return True
        # Zeros, and numbers that were short before, have no error.
        mean, by_chance = self._error / self._measured, 0.5 / math.sqrt(self._measured)
        return abs(mean - 0.25) < _EVEN + by_chance


def _keeps(numbers: Tensor, kind: torch.dtype) -> bool:
    """Whether a number type has these numbers; most that it has not are seen early."""
    return all(
        torch.equal(part.to(kind).float(), part) for part in (numbers[:_FIRST], numbers[_FIRST:])
    )


def _noise(kind: torch.dtype, values: Tensor) -> float:
    """Mean square of the rounding errors of a number type."""
    step = torch.finfo(kind).eps
    return float(values.square().mean()) * step**2 / 24


def _sample(of: Numbers) -> Tensor:
    """Rows and columns spread over a matrix, float32: as many as its rank is worked out of."""
    rows, columns = (
        torch.linspace(0, size - 1, min(size, SAMPLE), dtype=torch.float64).long()
        for size in (math.prod(of.shape[:-1]), of.shape[-1])
    )
    return of.rows(rows)[:, columns].float()


def ranks(apart: Tensor, noise: float) -> dict[str, Any]:
    """Ranks of a difference in which each number has noise of some mean square.

    Returns
    -------
    dict
        ``rank``, ``effective_rank`` and ``top_share``, as `TensorDiff` has them.
    """
    energies = _energies(apart)
    share = energies / energies.sum().clamp(min=1e-300)
    # The largest singular value of white noise of this shape, of deviation one.
    white = math.sqrt(apart.shape[0]) + math.sqrt(apart.shape[1])
    floor = noise * (_ABOVE_NOISE * white) ** 2
    return {
        "rank": int((energies > max(floor, float(energies.max()) * 1e-10)).sum()),
        "effective_rank": float(torch.special.entr(share).sum().exp()),
        "top_share": float(share.max()),
    }


def _energies(matrix: Tensor) -> Tensor:
    """Squared singular values, float64."""
    matrix = matrix.double()
    matrix = matrix if matrix.shape[0] <= matrix.shape[1] else matrix.T
    energies: Tensor = torch.linalg.eigvalsh(matrix @ matrix.T)
    return energies.clamp(min=0)


def quantised(base: Numbers, tuned: Numbers) -> bool:
    """Whether one of two matrices is the other one, quantised: rounded to the numbers of a grid.

    Neither the grid nor how many neighbours in a row share it has to be known. Few neighbours share
    one in every format, and among these the copy follows from the original: what is equal stays
    equal, the order stays, and each number lies at the nearest one of the grid. Training does none
    of this, unless it is too small for the grid; then the change is small, too, against the steps
    of the grid, where rounding fills them. Copies that make up for one rounding with the next
    (GPTQ), or whose columns are scaled first (AWQ), do not follow from it.
    """
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
    told, broken = rule(*_in_order(given[:_FIRST_GROUPS], made[:_FIRST_GROUPS]))
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
