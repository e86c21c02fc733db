"""Two samples compared at equal answer length."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt
from scipy import interpolate, special

from twinlens.measures.density import FloatArray
from twinlens.studies.analysis.inference import (
    SMALLEST_SAMPLE,
    Estimate,
    crossing,
    estimate_by,
    fewest,
    no_estimate,
)


@dataclass(frozen=True)
class LengthFit:
    """Two samples once a smooth curve of answer length is taken out; see `at_equal_length`.

    Attributes
    ----------
    estimate : Estimate
        Its n counts the answers whose length occurs in both samples.
    left_out : int
        Answers longer or shorter than any of the other sample.
    spread : float
        sd of what neither the curve nor the difference accounts for.
    lengths : str
        Whether the lengths overlap, in words; empty if they do.
    """

    estimate: Estimate
    left_out: int
    spread: float
    lengths: str = ""


def at_equal_length(
    first: npt.ArrayLike,
    second: npt.ArrayLike,
    first_length: npt.ArrayLike,
    second_length: npt.ArrayLike,
) -> LengthFit:
    """Difference of two samples at equal answer length, where their lengths overlap.

    Brunner and Munzel's test of what a cubic spline of log(length) leaves of the scores, and the
    shifts that it does not reject (`Aligned`). Answers beyond the shortest or the longest of the
    other sample are left out.

    Returns
    -------
    LengthFit
        All NaN where too few lengths overlap: nothing then separates the two.
    """
    values = np.concatenate([np.ravel(first), np.ravel(second)]).astype(np.float64)
    lengths = np.concatenate([np.ravel(first_length), np.ravel(second_length)]).astype(np.float64)
    is_second = np.repeat([False, True], [np.size(first), np.size(second)])
    a, b = lengths[~is_second], lengths[is_second]
    none = no_estimate(0)
    if not (a.size and b.size):
        return LengthFit(none, values.size, math.nan, "one sample is empty")
    low, high = max(a.min(), b.min()), min(a.max(), b.max())
    in_range = (lengths >= low) & (lengths <= high)
    left_out = int((~in_range).sum())
    shared = min(int((in_range & is_second).sum()), int((in_range & ~is_second).sum()))
    if shared < SMALLEST_SAMPLE:
        few = "too few answers of a length that both have"
        apart = "the answer lengths do not overlap"
        return LengthFit(none, left_out, math.nan, few if in_range.any() else apart)
    samples = without_length(values[in_range], is_second[in_range], lengths[in_range])
    if samples.df < 3 or not samples.separable:
        return LengthFit(none, left_out, math.nan, "length and sample cannot be told apart")
    reach = float(np.ptp(values[in_range])) * 2
    # Between two numbers the statistic is 0, but for rounding.
    low_end = crossing(lambda shift: samples.lean(shift) <= 1e-9, -reach, reach)
    high_end = crossing(lambda shift: samples.lean(shift) <= -1e-9, -reach, reach)
    centre = (low_end + high_end) / 2
    estimate = estimate_by(int(in_range.sum()), centre, reach, samples.p, samples.df)
    left = samples.residual(centre)
    return LengthFit(estimate, left_out, math.sqrt(float(left @ left) / samples.df))


def without_length(
    values: FloatArray, is_second: npt.NDArray[np.bool_], lengths: npt.NDArray[np.generic]
) -> Aligned:
    """Two samples without a cubic spline of the logarithm of their answer lengths."""
    return Aligned(values, is_second, _spline(np.log(np.maximum(lengths, 1.0))))


@dataclass(frozen=True)
class Aligned:
    """Two samples whose numbers are ranked once a curve is taken out of them.

    The statistic is that of Brunner and Munzel with weights that no such curve can imitate: what
    is left of the samples' own indicator. So an error in the curve does not move it. With no
    curve but a constant it is their test.

    Attributes
    ----------
    values : float array [n]
    is_second : bool array [n]
    curve : float array [n, columns]
        Whose sums are taken out.
    """

    values: FloatArray
    is_second: npt.NDArray[np.bool_]
    curve: FloatArray

    @cached_property
    def _basis(self) -> FloatArray:
        left, sizes, _ = np.linalg.svd(self.curve, full_matrices=False)
        return np.asarray(left[:, sizes > 1e-9 * sizes[0]])

    @cached_property
    def _weights(self) -> FloatArray:
        return self._without_curve(self.is_second.astype(np.float64))

    def _without_curve(self, numbers: FloatArray) -> FloatArray:
        return np.asarray(numbers - self._basis @ (self._basis.T @ numbers))

    @property
    def df(self) -> int:
        """Numbers less the columns, and one for the difference."""
        return int(self.values.size) - int(self._basis.shape[1]) - 1

    @property
    def separable(self) -> bool:
        """Whether the curve leaves anything of the samples."""
        return bool(np.abs(self._weights).max() > 1e-6)

    def residual(self, shift: float) -> FloatArray:
        """What the curve leaves, with the second sample moved down by `shift`."""
        return self._without_curve(self.values - shift * self.is_second)

    def lean(self, shift: float) -> float:
        """Above 0 where the second is still the higher one; falls as `shift` rises."""
        return self._placed(shift)[0]

    def _placed(self, shift: float) -> tuple[float, FloatArray]:
        """The statistic, and what each number adds to it."""
        left, n = self.residual(shift), self.values.size
        order = np.argsort(left, kind="stable")
        ordered = left[order]
        below, up_to = ordered.searchsorted(left, "left"), ordered.searchsorted(left, "right")
        total = np.concatenate([[0.0], np.cumsum(self._weights[order])])
        ranks = (below + up_to - n) / n
        others = (total[-1] - total[up_to] - total[below]) / n
        return float(self._weights @ ranks), self._weights * ranks + others

    def p(self, shift: float) -> float:
        """Two-sided p that the two differ by something else; not below what ranks can give."""
        lean, parts = self._placed(shift)
        both = [parts[~self.is_second], parts[self.is_second]]
        sizes = np.array([sample.size for sample in both])
        errors = np.array([sample.var(ddof=1) for sample in both]) * sizes
        least = fewest(*sizes.tolist())
        if not errors.sum() > 1e-12:
            return least if abs(lean) > 1e-9 else 1.0
        columns = self.values.size - 2 - self.df  # beyond a constant
        df = float(errors.sum() ** 2 / (errors**2 / (sizes - 1)).sum()) - columns
        error = math.sqrt(float(errors.sum()) * (self.values.size - 2) / self.df)
        return max(least, 2 * float(special.stdtr(max(df, 2.0), -abs(lean) / error)))


def _spline(x: FloatArray) -> FloatArray:
    """Columns that add up to any cubic spline of x; knots at quantiles, more of them for more x."""
    ends = float(x.min()), float(x.max())
    if ends[1] - ends[0] < 1e-9:
        return np.ones((x.size, 1))
    inner = np.quantile(x, np.linspace(0, 1, min(x.size // 15, 4) + 2)[1:-1])
    inner = np.unique(inner[(inner > ends[0]) & (inner < ends[1])])
    knots = np.concatenate([[ends[0]] * 4, inner, [ends[1]] * 4])
    return np.asarray(interpolate.BSpline.design_matrix(x, knots, 3).toarray())
