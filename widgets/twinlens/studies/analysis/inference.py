"""Tests, effect sizes, intervals and corrections, each with its hypothesis in words."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import numpy as np
import numpy.typing as npt
from scipy import interpolate, special, stats

from twinlens.measures.density import FloatArray

Correction: TypeAlias = Literal["holm", "benjamini-hochberg"]

#: Of intervals, and of the smallest difference that is said to be found.
LEVEL, POWER = 0.95, 0.8
#: With fewer answers in a sample, or `SMALLEST_PAIRED` prompts, nothing is concluded.
SMALLEST_SAMPLE, SMALLEST_PAIRED = 5, 10


@dataclass(frozen=True)
class Test:
    """A significance test.

    Attributes
    ----------
    name : str
        Such as ``Welch t``.
    hypothesis : str
        The alternative that a small p speaks for, in words.
    statistic : float
    df : float
        Degrees of freedom; NaN where the test has none.
    p : float
        NaN where there are too few or only equal numbers.
    p_holm, p_bh : float
        p corrected over the groups of one question (Holm; Benjamini-Hochberg).
    """

    __test__ = False  # not a test of this package, whatever its name says

    name: str
    hypothesis: str
    statistic: float
    df: float
    p: float
    p_holm: float = math.nan
    p_bh: float = math.nan


def welch_t(first: npt.ArrayLike, second: npt.ArrayLike) -> tuple[float, float, float, float]:
    """Welch's t test of two independent samples.

    Returns
    -------
    t, df : float
        t of first minus second; NaN with fewer than two numbers in one, or no spread at all.
    p_less, p_two : float
        For first < second, and two-sided.
    """
    a, b = np.asarray(first, dtype=np.float64), np.asarray(second, dtype=np.float64)
    if min(a.size, b.size) < 2:
        return math.nan, math.nan, math.nan, math.nan
    errors = float(a.var(ddof=1)) / a.size, float(b.var(ddof=1)) / b.size
    if not sum(errors) > 0:
        return math.nan, math.nan, math.nan, math.nan
    t = float(a.mean() - b.mean()) / math.sqrt(sum(errors))
    df = sum(errors) ** 2 / (errors[0] ** 2 / (a.size - 1) + errors[1] ** 2 / (b.size - 1))
    return t, df, float(special.stdtr(df, t)), 2 * float(special.stdtr(df, -abs(t)))


def paired_t(first: npt.ArrayLike, second: npt.ArrayLike) -> tuple[float, float, float]:
    """Paired t test of second - first: t, degrees of freedom, two-sided p; NaN without spread."""
    difference = np.asarray(second, dtype=np.float64) - np.asarray(first, dtype=np.float64)
    df = difference.size - 1.0
    spread = float(difference.std(ddof=1)) if df > 0 else 0.0
    if not spread > 0:
        return math.nan, df, math.nan
    t = float(difference.mean()) * math.sqrt(difference.size) / spread
    return t, df, 2 * float(special.stdtr(df, -abs(t)))


def welch(first: npt.ArrayLike, second: npt.ArrayLike, names: tuple[str, str]) -> list[Test]:
    """Welch's t test of two independent samples: one-sided (first < second) and two-sided."""
    t, df, less, two = welch_t(first, second)
    return [
        Test("Welch t, one-sided", f"mean of {names[0]} < mean of {names[1]}", t, df, less),
        Test("Welch t, two-sided", f"means of {names[0]} and {names[1]} differ", t, df, two),
    ]


def paired(first: npt.ArrayLike, second: npt.ArrayLike, names: tuple[str, str]) -> list[Test]:
    """Paired t test and Wilcoxon signed-rank test of second - first, both two-sided."""
    t, df, p = paired_t(first, second)
    w = p_rank = math.nan
    if math.isfinite(p):
        difference = np.asarray(second, dtype=np.float64) - np.asarray(first, dtype=np.float64)
        ranked = stats.wilcoxon(difference)
        w, p_rank = float(ranked.statistic), float(ranked.pvalue)
    between = f"{names[1]} - {names[0]} of the same prompt"
    return [
        Test("paired t, two-sided", f"mean of {between} is not 0", t, df, p),
        Test("Wilcoxon, two-sided", f"{between} is not centred on 0", w, math.nan, p_rank),
    ]


def cohen_d(first: npt.ArrayLike, second: npt.ArrayLike) -> float:
    """Cohen's d of second against first: difference of means over the pooled sd (n - 1)."""
    return float(_cohen_d(np.atleast_2d(first), np.atleast_2d(second))[0])


def paired_d(first: npt.ArrayLike, second: npt.ArrayLike) -> float:
    """Paired d: mean of second - first over the sd (n - 1) of these differences."""
    difference = np.asarray(second, dtype=np.float64) - np.asarray(first, dtype=np.float64)
    return float(_paired_d(np.atleast_2d(difference))[0])


def _cohen_d(first: Any, second: Any) -> FloatArray:
    n, m = first.shape[1], second.shape[1]
    if n + m < 3:
        return np.full(len(first), math.nan)
    spread = (n * first.var(axis=1) + m * second.var(axis=1)) / (n + m - 2)
    return _ratio(second.mean(axis=1) - first.mean(axis=1), np.sqrt(spread))


def _paired_d(difference: Any) -> FloatArray:
    if difference.shape[1] < 2:
        return np.full(len(difference), math.nan)
    return _ratio(difference.mean(axis=1), difference.std(axis=1, ddof=1))


def _ratio(above: FloatArray, below: FloatArray) -> FloatArray:
    empty = np.full_like(above, math.nan)
    return np.asarray(np.divide(above, below, out=empty, where=below > 1e-12))


def cohen_interval(first: npt.ArrayLike, second: npt.ArrayLike) -> tuple[float, float]:
    """95 % interval of Cohen's d; it excludes 0 if and only if Welch's two-sided p is below 0.05.

    The noncentral t distributions of which Welch's t is the 2.5 and the 97.5 % point, in units of
    the pooled sd. NaN where the test has no p.
    """
    a, b = np.asarray(first, dtype=np.float64), np.asarray(second, dtype=np.float64)
    t, df, *_ = welch_t(a, b)
    if not math.isfinite(t):
        return math.nan, math.nan
    error = math.sqrt(float(a.var(ddof=1)) / a.size + float(b.var(ddof=1)) / b.size)
    pooled = math.sqrt((a.size * a.var() + b.size * b.var()) / (a.size + b.size - 2))
    low, high = _noncentral(-t, df)
    return low * error / pooled, high * error / pooled


def paired_interval(first: npt.ArrayLike, second: npt.ArrayLike) -> tuple[float, float]:
    """95 % interval of the paired d; it excludes 0 if and only if p of `paired_t` is below 0.05.

    From the noncentral t distribution, exact for normal differences. NaN where there is no p.
    """
    t, df, _ = paired_t(first, second)
    if not math.isfinite(t):
        return math.nan, math.nan
    low, high = _noncentral(t, df)
    return low / math.sqrt(df + 1), high / math.sqrt(df + 1)


def _noncentral(t: float, df: float) -> tuple[float, float]:
    tail = (1 - LEVEL) / 2
    low, high = special.nctdtrinc(df, [1 - tail, tail], t)
    return float(low), float(high)


@dataclass(frozen=True)
class Estimate:
    """A difference of means with its test and its interval, which agree.

    Attributes
    ----------
    n : int
        Prompts, or answers of both samples.
    difference, low, high : float
        Second minus first, with its 95 % interval.
    p : float
        Two-sided. NaN where there are too few or only equal numbers.
    smallest : float
        The smallest true difference that would be found (p < 0.05) in four of five such samples.
    p_holm : float
        p corrected over what stands in one table (Holm).
    """

    n: int
    difference: float
    low: float
    high: float
    p: float
    smallest: float
    p_holm: float = math.nan


def _estimate(n: int, difference: float, error: float, df: float) -> Estimate:
    if not (error > 0 and df > 0):
        return Estimate(n, difference, math.nan, math.nan, math.nan, math.nan)
    reach = float(special.stdtrit(df, (1 + LEVEL) / 2))
    p = 2 * float(special.stdtr(df, -abs(difference) / error))
    smallest = float(special.nctdtrinc(df, 1 - POWER, reach)) * error
    return Estimate(
        n, difference, difference - reach * error, difference + reach * error, p, smallest
    )


def paired_estimate(first: npt.ArrayLike, second: npt.ArrayLike) -> Estimate:
    """Mean of second - first of the same prompts; paired t."""
    difference = np.asarray(second, dtype=np.float64) - np.asarray(first, dtype=np.float64)
    n = difference.size
    mean = float(difference.mean()) if n else math.nan
    error = float(difference.std(ddof=1)) / math.sqrt(n) if n > 1 else 0.0
    return _estimate(n, mean, error, n - 1)


def welch_estimate(first: npt.ArrayLike, second: npt.ArrayLike) -> Estimate:
    """Difference of the means of two independent samples; Welch t."""
    a, b = np.asarray(first, dtype=np.float64), np.asarray(second, dtype=np.float64)
    n, t_df = a.size + b.size, welch_t(a, b)[1]
    if not min(a.size, b.size):
        return _estimate(n, math.nan, 0.0, 0.0)
    difference = float(b.mean() - a.mean())
    if not math.isfinite(t_df):
        return _estimate(n, difference, 0.0, 0.0)
    error = math.sqrt(float(a.var(ddof=1)) / a.size + float(b.var(ddof=1)) / b.size)
    return _estimate(n, difference, error, t_df)


def adjust(p_values: Sequence[float], method: Correction) -> list[float]:
    """Correct p-values of one family for multiple tests; NaN stays NaN and does not count."""
    values = np.asarray(p_values, dtype=np.float64)
    known = np.isfinite(values)
    adjusted = np.full(values.shape, math.nan)
    chosen = values[known]
    if not chosen.size:
        return list(adjusted.tolist())
    if method == "benjamini-hochberg":
        adjusted[known] = stats.false_discovery_control(chosen, method="bh")
    else:
        order = np.argsort(chosen, kind="stable")
        steps = chosen[order] * np.arange(chosen.size, 0, -1)
        holm = np.empty_like(chosen)
        holm[order] = np.minimum(np.maximum.accumulate(steps), 1.0)
        adjusted[known] = holm
    return list(adjusted.tolist())


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
    none = Estimate(0, math.nan, math.nan, math.nan, math.nan, math.nan)
    if not (a.size and b.size):
        return LengthFit(none, values.size, math.nan, "one sample is empty")
    low, high = max(a.min(), b.min()), min(a.max(), b.max())
    kept = (lengths >= low) & (lengths <= high)
    left_out = int((~kept).sum())
    shared = min(int((kept & is_second).sum()), int((kept & ~is_second).sum()))
    if shared < SMALLEST_SAMPLE:
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
    return LengthFit(_estimate(y.size, float(inverse[-1] @ y), error, df), left_out, spread)


def _spline(x: FloatArray) -> FloatArray:
    """Columns that add up to any cubic spline of x; knots at quantiles, more of them for more x."""
    ends = float(x.min()), float(x.max())
    if ends[1] - ends[0] < 1e-9:
        return np.ones((x.size, 1))
    inner = np.quantile(x, np.linspace(0, 1, min(x.size // 15, 4) + 2)[1:-1])
    inner = np.unique(inner[(inner > ends[0]) & (inner < ends[1])])
    knots = np.concatenate([[ends[0]] * 4, inner, [ends[1]] * 4])
    return np.asarray(interpolate.BSpline.design_matrix(x, knots, 3).toarray())
