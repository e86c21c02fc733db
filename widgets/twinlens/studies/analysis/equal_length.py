"""Two samples compared at equal answer length."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import interpolate, special

from twinlens.measures.density import FloatArray
from twinlens.studies.analysis.inference import LEVEL, Estimate, no_estimate, smallest_difference

#: Answers of each sample that a curve of length is fitted to at least.
_SMALLEST_FIT = 5


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
        sd of what neither the curve nor the samples account for.
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

    Least squares of ``score ~ is_second + cubic spline of log(length)``, with standard errors
    that allow for a spread that differs from answer to answer (HC3). Answers beyond the shortest
    or the longest of the other sample are left out.

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
    kept = (lengths >= low) & (lengths <= high)
    left_out = int((~kept).sum())
    shared = min(int((kept & is_second).sum()), int((kept & ~is_second).sum()))
    if shared < _SMALLEST_FIT:
        few = "too few answers of a length that both have"
        apart = "the answer lengths do not overlap"
        return LengthFit(none, left_out, math.nan, few if kept.any() else apart)
    y, second_one = values[kept], is_second[kept]
    curve = _spline(np.log(np.maximum(lengths[kept], 1.0)))
    design = np.column_stack([curve, second_one.astype(np.float64)])
    df = y.size - int(np.linalg.matrix_rank(design))
    if df < 3 or np.linalg.matrix_rank(curve) == np.linalg.matrix_rank(design):
        return LengthFit(none, left_out, math.nan, "length and sample cannot be told apart")
    inverse = np.linalg.pinv(design)
    residual = y - design @ (inverse @ y)
    leverage = np.minimum(np.einsum("ij,ji->i", design, inverse), 1 - 1e-6)
    error = float(np.sqrt(((inverse[-1] * residual / (1 - leverage)) ** 2).sum()))
    spread = math.sqrt(float(residual @ residual) / df)
    difference = float(inverse[-1] @ y)
    if not error > 0:
        return LengthFit(no_estimate(y.size, difference), left_out, spread)
    reach = float(special.stdtrit(df, (1 + LEVEL) / 2)) * error
    p = 2 * float(special.stdtr(df, -abs(difference) / error))
    ends = difference - reach, difference + reach
    estimate = Estimate(y.size, difference, *ends, p, smallest_difference(error, df))
    return LengthFit(estimate, left_out, spread)


def _spline(x: FloatArray) -> FloatArray:
    """Columns that add up to any cubic spline of x; knots at quantiles, more of them for more x."""
    ends = float(x.min()), float(x.max())
    if ends[1] - ends[0] < 1e-9:
        return np.ones((x.size, 1))
    inner = np.quantile(x, np.linspace(0, 1, min(x.size // 15, 4) + 2)[1:-1])
    inner = np.unique(inner[(inner > ends[0]) & (inner < ends[1])])
    knots = np.concatenate([[ends[0]] * 4, inner, [ends[1]] * 4])
    return np.asarray(interpolate.BSpline.design_matrix(x, knots, 3).toarray())
