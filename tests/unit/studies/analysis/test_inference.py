"""Tests and effect sizes against SciPy and worked numbers."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats
from twinlens.studies.analysis import inference

rng = np.random.default_rng(1)
A, B = rng.normal(0, 1, 30), rng.normal(0.6, 2, 30)


def test_welch_names_its_hypotheses():
    one, two = inference.welch(A, B, ("base", "tuned"))
    expected = stats.ttest_ind(A, B, equal_var=False, alternative="less")
    assert one.p == pytest.approx(expected.pvalue, rel=1e-12)
    assert one.statistic == pytest.approx(expected.statistic)
    assert one.hypothesis == "mean of base < mean of tuned"
    assert two.p == pytest.approx(stats.ttest_ind(A, B, equal_var=False).pvalue, rel=1e-12)
    far = inference.welch(A, B + 1000, ("base", "tuned"))[1]
    assert far.p == pytest.approx(stats.ttest_ind(A, B + 1000, equal_var=False).pvalue, rel=1e-9)
    assert 0 < inference.welch(A + 20, A, ("x", "y"))[1].p < 1e-40


def test_paired_tests():
    t, w = inference.paired(A, B, ("base", "tuned"))
    assert (t.statistic, t.p) == pytest.approx(tuple(stats.ttest_rel(B, A)))
    assert (w.statistic, w.p) == pytest.approx(tuple(stats.wilcoxon(B - A)))


@pytest.mark.parametrize(
    ("first", "second"), [([1.0], [2.0, 3.0]), ([1.0, 1.0], [1.0, 1.0]), ([], [])]
)
def test_too_little_gives_nan_and_no_error(first, second):
    assert all(math.isnan(test.p) for test in inference.welch(first, second, ("a", "b")))
    assert math.isnan(inference.cohen_d([0.0], [1.0]))
    assert all(math.isnan(x) for x in inference.paired_interval([1.0, 1.0], [1.0, 1.0]))
    assert all(math.isnan(x) for x in inference.cohen_interval(first, second))
    assert math.isnan(inference.welch_estimate(first, second).p)
    assert math.isnan(inference.paired([1.0, 1.0], [2.0, 2.0], ("a", "b"))[0].p)


def test_effect_sizes():
    assert inference.cohen_d([1, 2, 3], [3, 4, 5]) == pytest.approx(2.0)
    assert inference.paired_d([0, 0, 0], [1, 2, 3]) == pytest.approx(2.0)


def coverage(find, truth, draws=2000):
    found = np.array([find() for _ in range(draws)])
    return float(((found[:, 0] < truth) & (truth < found[:, 1])).mean())


def bounds(estimate):
    return estimate.low, estimate.high


@pytest.mark.parametrize("n", [10, 20, 80])
@pytest.mark.parametrize("mean", [0.0, 0.5])
def test_intervals_of_pairs_hold_their_level(n, mean):
    draw = np.random.default_rng(n).normal
    zeros = np.zeros(n)
    effect = coverage(lambda: inference.paired_interval(zeros, draw(mean, 1, n)), mean)
    plain = coverage(lambda: bounds(inference.paired_estimate(zeros, draw(mean, 2, n))), mean)
    assert 0.93 < effect < 0.97
    assert 0.93 < plain < 0.97


@pytest.mark.parametrize(("n", "m"), [(5, 5), (10, 10), (19, 60)])
def test_intervals_of_two_samples_hold_their_level(n, m):
    draw = np.random.default_rng(n).normal

    def samples(spread):
        return draw(0, 1, n), draw(0.5, spread, m)

    assert 0.93 < coverage(lambda: inference.cohen_interval(*samples(1)), 0.5) < 0.97
    assert 0.93 < coverage(lambda: bounds(inference.welch_estimate(*samples(2))), 0.5) < 0.97


def test_intervals_and_tests_agree():
    generator = np.random.default_rng(2)
    decided = []
    for size in [*range(3, 30)] * 4:
        a, b = generator.exponential(1, size), generator.exponential(1.6, size)
        for interval, estimate, p in (
            (
                inference.paired_interval(a, b),
                inference.paired_estimate(a, b),
                stats.ttest_rel(b, a).pvalue,
            ),
            (
                inference.cohen_interval(a, b),
                inference.welch_estimate(a, b),
                stats.ttest_ind(b, a, equal_var=False).pvalue,
            ),
        ):
            assert estimate.p == pytest.approx(p)
            decided.append(p < 0.05)
            for low, high in (interval, bounds(estimate)):
                assert (low > 0 or high < 0) == decided[-1]
    assert 10 < sum(decided) < len(decided) - 10


def test_intervals_against_scipy():
    whole = stats.ttest_rel(B, A).confidence_interval()
    assert bounds(inference.paired_estimate(A, B)) == pytest.approx(tuple(whole))
    whole = stats.ttest_ind(B, A, equal_var=False).confidence_interval()
    assert bounds(inference.welch_estimate(A, B)) == pytest.approx(tuple(whole))
    low, high = inference.paired_interval(A, B)
    t = stats.ttest_rel(B, A).statistic
    root = math.sqrt(A.size)
    assert stats.nct.sf(t, A.size - 1, low * root) == pytest.approx(0.025, abs=1e-4)
    assert stats.nct.cdf(t, A.size - 1, high * root) == pytest.approx(0.025, abs=1e-4)


def test_the_smallest_difference_is_found_in_four_of_five():
    generator = np.random.default_rng(4)
    found = []
    for _ in range(1500):
        difference = generator.normal(0.7, 1, 20)
        found.append(inference.paired_estimate(np.zeros(20), difference))
    smallest = np.mean([one.smallest for one in found])
    assert smallest == pytest.approx(0.66, abs=0.03)  # G*Power: n 20, two-sided 0.05, power 0.8
    assert np.mean([one.p < 0.05 for one in found]) > 0.8


def test_corrections():
    p = [0.01, 0.04, math.nan, 0.03]
    holm = inference.adjust(p, "holm")
    assert holm[0] == pytest.approx(0.03)
    assert holm[1] == holm[3] == pytest.approx(0.06)
    assert math.isnan(holm[2])
    known = [value for value in inference.adjust(p, "benjamini-hochberg") if value == value]
    assert known == pytest.approx(stats.false_discovery_control([0.01, 0.04, 0.03]).tolist())


@pytest.mark.parametrize(
    "curve",
    [np.log, lambda x: np.sqrt(x) / 5, lambda x: x / 50, lambda x: 5 * (1 - np.exp(-x / 40))],
    ids=["log", "root", "line", "saturating"],
)
def test_length_of_any_shape_is_taken_out(curve):
    """Where only length differs, a difference is called in 5 % whatever length does."""
    generator = np.random.default_rng(0)
    called = 0
    for _ in range(400):
        short, long = generator.integers(20, 200, 30), generator.integers(60, 300, 90)
        scores = [curve(x) + generator.normal(0, 0.3, x.size) for x in (short, long)]
        called += inference.at_equal_length(*scores, short, long).estimate.p < 0.05
    assert called <= 32
    fit = inference.at_equal_length(scores[0], scores[1] + 1, short, long)
    assert fit.estimate.low < 1 < fit.estimate.high
    assert fit.estimate.p < 1e-6
    assert fit.spread == pytest.approx(0.3, rel=0.2)
    outside = (short < long.min()).sum() + (long > short.max()).sum()
    assert fit.left_out == outside
    assert fit.estimate.n == 120 - outside


def test_without_common_lengths_there_is_no_number():
    a, b = rng.normal(size=20), rng.normal(size=20)
    fit = inference.at_equal_length(a, b, np.arange(20), np.arange(40, 60))
    assert fit.lengths == "the answer lengths do not overlap"
    assert math.isnan(fit.estimate.difference)
    few = inference.at_equal_length(a, b, np.arange(20), np.arange(16, 36))
    assert few.lengths == "too few answers of a length that both have"
    equal = inference.at_equal_length(a, b, np.full(20, 7), np.full(20, 7))
    assert equal.estimate.difference == pytest.approx(b.mean() - a.mean())
    assert not equal.lengths
