"""Tests, effect sizes, intervals and corrections, each with its hypothesis in words."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import numpy as np
import numpy.typing as npt
from scipy import special, stats

from twinlens.measures.density import FloatArray

Correction: TypeAlias = Literal["holm", "benjamini-hochberg"]

#: Smaller samples get no bootstrap interval: they hold too few different resamples.
SMALLEST_RESAMPLED = 5


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


def interval(
    draw: Callable[[np.random.Generator, int], FloatArray],
    *,
    count: int = 2000,
    level: float = 0.95,
    seed: int = 0,
) -> tuple[float, float]:
    """Percentile bootstrap interval of what `draw` returns for `count` resamples."""
    found = draw(np.random.default_rng(seed), count)
    found = found[np.isfinite(found)]
    if found.size < count / 2:
        return math.nan, math.nan
    low, high = np.quantile(found, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def cohen_interval(
    first: npt.ArrayLike, second: npt.ArrayLike, *, count: int = 2000, seed: int = 0
) -> tuple[float, float]:
    """95 % bootstrap interval of Cohen's d; both samples are drawn anew."""
    a, b = np.asarray(first, dtype=np.float64), np.asarray(second, dtype=np.float64)
    if min(a.size, b.size) < SMALLEST_RESAMPLED:
        return math.nan, math.nan
    return interval(
        lambda rng, k: _cohen_d(rng.choice(a, (k, a.size)), rng.choice(b, (k, b.size))),
        count=count,
        seed=seed,
    )


def paired_interval(
    first: npt.ArrayLike, second: npt.ArrayLike, *, count: int = 2000, seed: int = 0
) -> tuple[float, float]:
    """95 % bootstrap interval of the paired d; pairs are drawn anew."""
    difference = np.asarray(second, dtype=np.float64) - np.asarray(first, dtype=np.float64)
    if difference.size < SMALLEST_RESAMPLED:
        return math.nan, math.nan
    return interval(
        lambda rng, k: _paired_d(rng.choice(difference, (k, difference.size))),
        count=count,
        seed=seed,
    )


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


def difference_at_equal_length(
    first: npt.ArrayLike,
    second: npt.ArrayLike,
    first_length: npt.ArrayLike,
    second_length: npt.ArrayLike,
) -> tuple[float, float]:
    """Difference of two samples once the logarithm of the answer length is accounted for.

    Least squares of ``score ~ 1 + is_second + log(length)``.

    Returns
    -------
    difference : float
        Coefficient of ``is_second``; NaN where it is not determined.
    p : float
        Two-sided, of its t test with n - 3 degrees of freedom.
    """
    y = np.concatenate([np.ravel(first), np.ravel(second)]).astype(np.float64)
    lengths = np.concatenate([np.ravel(first_length), np.ravel(second_length)])
    is_second = np.repeat([0.0, 1.0], [np.size(first), np.size(second)])
    design = np.column_stack([np.ones_like(y), is_second, np.log(np.maximum(lengths, 1.0))])
    df = y.size - 3
    if df < 1 or np.linalg.matrix_rank(design) < 3:
        return math.nan, math.nan
    coefficients, *_ = np.linalg.lstsq(design, y, rcond=None)
    residual = y - design @ coefficients
    variance = float(residual @ residual) / df * np.linalg.inv(design.T @ design)[1, 1]
    difference = float(coefficients[1])
    if not variance > 0:
        return difference, math.nan
    return difference, float(2 * stats.t.sf(abs(difference) / math.sqrt(variance), df))
