"""What differs between two tensors: by how much, in how many directions, and of what kind.

A difference is of one of three kinds. *Precision*: one tensor is the other, rounded to a shorter
number type. *Quantised*: one lies on a coarser grid (its numbers recur), and the difference is as
white as the rounding to that grid. *Trained*: anything else.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from twinlens.compute.update.stored_numbers import Numbers, Piece, as_float32
from twinlens.weights.model_diff import SAMPLE, TensorVerdict

#: Numbers compared at a time: two pieces of this length stay in a core's cache.
_PIECE = 2**16
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
#: Numbers in a block in which values are counted, blocks looked at, and the share of different
#: values, against the other tensor, below which one lies on a coarser grid.
_BLOCK, _BLOCKS, _RECURRING = 32, 2**12, 0.97
#: Energy of the leading direction over that of white noise: trained above it.
_WHITE = 4.0
#: Singular values above rounding count: noise stays below this times its expected largest one.
_ABOVE_NOISE = 2.0


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
    """
    squared = norm = 0.0
    largest, changed = 0.0, 0
    ways = [(kind, swap) for kind in _BITS for swap in (False, True)]
    roundings = {way: _Rounding(way[0]) for way in ways}
    size = math.prod(base.shape)
    held = np.empty((3, min(size, _PIECE)), dtype=np.float32)
    differs = np.empty(held.shape[1], dtype=bool)
    for first, second in zip(base.pieces(_PIECE), tuned.pieces(_PIECE), strict=True):
        ours, theirs, apart = held[:, : len(first)]
        as_float32(first, base.dtype, ours)
        norm += _square(ours)
        if base.dtype == tuned.dtype and _equal(first, second):
            theirs = ours
        else:
            as_float32(second, tuned.dtype, theirs)
            np.subtract(theirs, ours, out=apart)
            squared += _square(apart)
            largest = max(largest, float(apart.max()), -float(apart.min()))
            flags = np.not_equal(apart, 0, out=differs[: len(apart)])
            changed += int(np.count_nonzero(flags))
        looked_at = [way for way, rounding in roundings.items() if rounding.possible]
        if looked_at:
            both = torch.from_numpy(ours), torch.from_numpy(theirs)
            for way in looked_at:
                roundings[way].look(*(both[::-1] if way[1] else both))
    if not changed:
        return {"verdict": "same"}
    measures: dict[str, Any] = {
        "size": math.sqrt(squared),
        "relative": math.sqrt(squared / norm) if norm else math.inf,
        "largest": largest,
        "changed": changed / size,
    }
    verdict: TensorVerdict = "trained"
    if any(rounding.holds for rounding in roundings.values()):
        verdict = "precision"
    if len(base.shape) >= 2 and min(base.shape[-2:]) > 1:
        samples = _sample(base), _sample(tuned)
        noise = _noise(base.dtype, samples[0]) + _noise(tuned.dtype, samples[1])
        difference = samples[1] - samples[0]
        measures |= _ranks(difference, noise) | {"sampled": difference.numel() < size}
        if verdict == "trained" and _coarser(base, tuned) and _white(difference):
            verdict = "quantised"
    return {"verdict": verdict, **measures}


def _square(numbers: npt.NDArray[np.float32]) -> float:
    """Sum of squares, in runs that BLAS does not hand out to threads."""
    rest = len(numbers) % _RUN
    runs, end = numbers[: len(numbers) - rest].reshape(-1, _RUN), numbers[len(numbers) - rest :]
    return float(np.vecdot(runs, runs).sum(dtype=np.float64)) + float(np.dot(end, end))


def _equal(first: Piece, second: Piece) -> bool:
    """Whether two pieces are the same; most that are not differ early."""
    early = np.array_equal(first[:_FIRST], second[:_FIRST])
    return early and np.array_equal(first, second)


class _Rounding:
    """Whether one tensor is the other, rounded to a number type."""

    def __init__(self, kind: torch.dtype) -> None:
        self.kind = kind
        self.possible = True
        self._count = self._missed = self._measured = 0
        self._error = 0.0
        self._finer = False

    def look(self, fine: Tensor, coarse: Tensor) -> None:
        """Look at a piece of both."""
        if not torch.equal(coarse.to(self.kind).float(), coarse):
            self.possible = False
            return
        rounded = fine.to(self.kind).float()
        self._finer = self._finer or not torch.equal(rounded, fine)
        self._count += fine.numel()
        if torch.equal(rounded, coarse):  # no further than half a step anywhere
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


def _ranks(apart: Tensor, noise: float) -> dict[str, Any]:
    """Ranks of a difference in which each number has noise of some mean square."""
    energies = _energies(apart)
    share = energies / energies.sum().clamp(min=1e-300)
    positive = share[share > 0]
    floor = noise * (_ABOVE_NOISE * _white_size(apart)) ** 2
    return {
        "rank": int((energies > max(floor, float(energies.max()) * 1e-10)).sum()),
        "effective_rank": float(torch.exp(-(positive * positive.log()).sum())),
        "top_share": float(share.max()),
    }


def _white(apart: Tensor) -> bool:
    """Whether a difference has no direction that stands out, rows taken as equally long."""
    even = torch.nn.functional.normalize(apart, dim=1)
    lead = float(_energies(even).max())
    return lead <= _WHITE * _white_size(apart) ** 2 / apart.shape[1]


def _energies(matrix: Tensor) -> Tensor:
    """Squared singular values, float64."""
    matrix = matrix.double()
    matrix = matrix if matrix.shape[0] <= matrix.shape[1] else matrix.T
    energies: Tensor = torch.linalg.eigvalsh(matrix @ matrix.T)
    return energies.clamp(min=0)


def _white_size(matrix: Tensor) -> float:
    """Largest singular value of white noise of this shape, of deviation one."""
    return math.sqrt(matrix.shape[0]) + math.sqrt(matrix.shape[1])


def _noise(kind: torch.dtype, values: Tensor) -> float:
    """Mean square of the rounding errors of a number type."""
    step = torch.finfo(kind).eps
    return float(values.square().mean()) * step**2 / 24


def _sample(of: Numbers) -> Tensor:
    """Rows and columns spread over a matrix, float32: as many as its rank is worked out of."""
    rows, columns = (
        torch.linspace(0, size - 1, min(size, SAMPLE), dtype=torch.float64).long()
        for size in _as_matrix(of)
    )
    return of.rows(rows)[:, columns].float()


def _as_matrix(of: Numbers) -> tuple[int, int]:
    return math.prod(of.shape[:-1]), of.shape[-1]


def _coarser(base: Numbers, tuned: Numbers) -> bool:
    """Whether the numbers of one recur much more often than those of the other."""
    if base.shape[-1] < _BLOCK:
        return False
    shorter = min(base.dtype, tuned.dtype, key=lambda kind: (kind.itemsize, -torch.finfo(kind).eps))
    counts = []
    for numbers in (base, tuned):
        height, width = _as_matrix(numbers)
        step = -(-height * width // (_BLOCK * _BLOCKS))
        matrix = numbers.rows(torch.arange(0, height, step))
        blocks = matrix[:, : matrix.shape[1] // _BLOCK * _BLOCK].reshape(-1, _BLOCK)
        values = np.sort(blocks.to(shorter).float().numpy(), axis=1)
        counts.append(1 + int(np.count_nonzero(values[:, 1:] != values[:, :-1])) / len(values))
    return min(counts) < _RECURRING * max(counts)
