"""Tests and effect sizes against SciPy and worked numbers."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats
from twinlens.studies.analysis import equal_length, inference

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
    assert w.p == pytest.approx(stats.wilcoxon(B - A, method="exact").pvalue)


def test_rank_tests_against_scipy():
    generator = np.random.default_rng(3)
    for n, m in ((10, 14), (40, 25), (320, 500)):
        a, b = generator.normal(0, 1, n), generator.normal(0.4, 2, m)
        p, higher = inference.brunner_munzel(a, b)
        assert p == pytest.approx(stats.brunnermunzel(a, b).pvalue, rel=1e-9)
        assert higher == (np.median(b[:, None] - a) > 0)
        p, higher = inference.signed_rank(a, b[:1] + a * 2)
        how = {"method": "exact"} if n < 50 else {"method": "approx", "correction": True}
        assert p == pytest.approx(stats.wilcoxon(b[:1] + a, **how).pvalue, rel=1e-9)
    # All of one above all of the other: no less than a permutation can give.
    assert inference.brunner_munzel(a[:5], a[:5] + 100)[0] == pytest.approx(2 / 252)


@pytest.mark.parametrize(
    ("first", "second"), [([1.0], [2.0, 3.0]), ([1.0, 1.0], [1.0, 1.0]), ([], [])]
)
def test_too_little_gives_nan_and_no_error(first, second):
    assert all(math.isnan(test.p) for test in inference.welch(first, second, ("a", "b")))
    assert all(math.isnan(test.p) for test in inference.independent(first, second, ("a", "b")))
    assert math.isnan(inference.cohen_d([0.0], [1.0]))
    assert math.isnan(inference.two_sample_estimate(first, second).p)
    assert math.isnan(inference.paired_estimate([1.0, 1.0], [2.0, 2.0]).p)
    assert all(math.isnan(test.p) for test in inference.paired([1.0] * 2, [2.0] * 2, ("a", "b")))


def test_effect_sizes():
    assert inference.cohen_d([1, 2, 3], [3, 4, 5]) == pytest.approx(2.0)
    assert inference.paired_d([0, 0, 0], [1, 2, 3]) == pytest.approx(2.0)


DRAWS = {
    "normal": lambda rng, size: rng.normal(0.3, 1, size),
    "t3": lambda rng, size: rng.standard_t(3, size),
    "lognormal": lambda rng, size: rng.lognormal(0, 1, size),
    "difference of lognormals": lambda rng, size: (
        rng.lognormal(0, 1, size) - rng.lognormal(-0.5, 0.7, size)
    ),
    "mixture": lambda rng, size: np.where(
        rng.random(size) < 0.8, rng.normal(0, 0.3, size), rng.normal(3, 1, size)
    ),
    "a fifth tied at 0": lambda rng, size: np.where(
        rng.random(size) < 0.2, 0.0, rng.normal(0.3, 1, size)
    ),
}
RUNS = 2000


@pytest.mark.slow
@pytest.mark.parametrize("n", [10, 30, 100, 300])
@pytest.mark.parametrize("draw", DRAWS)
def test_intervals_of_pairs_hold_their_level(draw, n):
    """The interval is what the test does not reject: it covers what the test keeps."""
    generator = np.random.default_rng(n)
    truth = float(np.median(DRAWS[draw](generator, (2, 10**6)).mean(axis=0)))
    samples = DRAWS[draw](generator, (RUNS, n))
    # Every mean of two differences, without what is tested here.
    kept = np.array([_kept(np.sort(one) - truth) for one in samples])
    assert 0.93 < kept.mean() < 0.97
    for one in samples[:40]:
        found = inference.paired_estimate(np.zeros(n), one)
        assert (found.low <= truth <= found.high) == _kept(np.sort(one) - truth)


def _kept(ordered):
    return inference.signed_rank(np.zeros(ordered.size), ordered)[0] >= 0.05


@pytest.mark.slow
@pytest.mark.parametrize(("n", "m"), [(10, 10), (19, 60), (100, 100)])
@pytest.mark.parametrize("draw", ["normal", "t3", "lognormal", "mixture"])
def test_intervals_of_two_samples_hold_their_level(draw, n, m):
    """Of one shape or of two, with one spread or two."""
    generator = np.random.default_rng(n + m)
    for factor in (1.0, 3.0):

        def second(size, factor=factor):
            return 0.2 + factor * DRAWS[draw](generator, size)

        first = DRAWS["normal" if draw == "mixture" else draw]
        truth = float(np.median(second(10**6) - first(generator, 10**6)))
        kept = []
        for a, b in zip(first(generator, (RUNS, n)), second((RUNS, m)), strict=True):
            kept.append(inference.brunner_munzel(a, b - truth)[0] >= 0.05)
            if len(kept) <= 20:
                found = inference.two_sample_estimate(a, b)
                assert (found.low <= truth <= found.high) == kept[-1]
        assert 0.93 < np.mean(kept) < 0.97


@pytest.mark.slow
def test_coarse_numbers_are_covered_too():
    """Where values repeat, an interval that ends on one of them covers more, never less."""
    generator = np.random.default_rng(5)
    for n in (10, 100):
        samples = np.round(generator.normal(0.3, 1, (1000, n)) * 2) / 2
        assert np.mean([_kept(np.sort(one) - 0.25) for one in samples]) > 0.95
        found = [inference.paired_estimate(np.zeros(n), one) for one in samples[:200]]
        assert np.mean([one.low <= 0.25 <= one.high for one in found]) > 0.95


@pytest.mark.slow
@pytest.mark.parametrize(("n", "m"), [(10, 10), (19, 60)])
@pytest.mark.parametrize("draw", ["normal", "t3", "lognormal", "mixture"])
def test_intervals_at_equal_length_hold_their_level(draw, n, m):
    """Of one shape or of two, where lengths are alike or not; the interval is what p keeps."""
    generator = np.random.default_rng(n + m)
    is_second = np.repeat([False, True], [n, m])
    kept = []
    for factor in (1.0, 3.0):

        def second(size, factor=factor):
            return 0.2 + factor * DRAWS[draw](generator, size)

        first = DRAWS["normal" if draw == "mixture" and factor > 1 else draw]
        truth = float(np.median(second(10**6) - first(generator, 10**6)))
        for run in range(500):
            more = 10 * (run % 2)
            lengths = generator.integers(20, 120, n), generator.integers(20 + more, 120 + more, m)
            a, b = first(generator, n) + np.log(lengths[0]), second(m) + np.log(lengths[1])
            values, both = np.concatenate([a, b]), np.concatenate(lengths)
            kept.append(equal_length.without_length(values, is_second, both).p(truth) >= 0.05)
            if run < 4:
                found = equal_length.at_equal_length(a - truth, b - 2 * truth, *lengths)
                assert (found.estimate.p < 0.05) == (found.estimate.low * found.estimate.high > 0)
    assert 0.93 < np.mean(kept) < 0.97


def test_at_one_length_it_is_the_test_of_two_samples():
    found = equal_length.at_equal_length(A[:20], B, np.full(20, 7), np.full(30, 7))
    expected = inference.two_sample_estimate(A[:20], B)
    assert not found.lengths
    for name in ("n", "difference", "low", "high", "p", "smallest"):
        assert getattr(found.estimate, name) == pytest.approx(getattr(expected, name), rel=1e-6)


def test_intervals_and_tests_agree():
    generator = np.random.default_rng(2)
    decided = []
    for size in [*range(6, 30)] * 6:
        a, b = generator.exponential(1, size), generator.exponential(1.8, size)
        if size % 3 == 0:
            a, b = np.round(a), np.round(b)
        for one in (inference.paired_estimate(a, b), inference.two_sample_estimate(a, b)):
            decided.append(one.p < 0.05)
            assert (one.low > 0 or one.high < 0) == decided[-1]
            assert one.low <= one.difference <= one.high
    assert 40 < sum(decided) < len(decided) - 40


def test_estimates_against_all_pairs():
    half = np.add.outer(B - A, B - A)[np.triu_indices(A.size)] / 2
    found = inference.paired_estimate(A, B)
    assert found.difference == pytest.approx(np.median(half))
    # Ranks 138 and 328 of 465: the signed-rank test of 30 pairs at 0.05.
    assert (found.low, found.high) == pytest.approx(tuple(np.sort(half)[[137, 327]]))
    apart = np.subtract.outer(B, A[:20]).ravel()
    found = inference.two_sample_estimate(A[:20], B)
    assert found.difference == pytest.approx(np.median(apart))
    for end, inside in ((found.low, 1e-6), (found.high, -1e-6)):
        assert stats.brunnermunzel(A[:20], B - end - inside).pvalue > 0.05
        assert stats.brunnermunzel(A[:20], B - end + inside).pvalue < 0.05


def test_the_smallest_difference_is_found_in_four_of_five():
    generator = np.random.default_rng(4)
    found = []
    for _ in range(300):
        difference = generator.normal(0.7, 1, 20)
        found.append(inference.paired_estimate(np.zeros(20), difference))
    smallest = np.mean([one.smallest for one in found])
    assert smallest == pytest.approx(0.68, abs=0.04)  # Student's t: 0.66, of G*Power
    assert np.mean([one.p < 0.05 for one in found]) > 0.78


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
    for _ in range(150):
        short, long = generator.integers(20, 200, 30), generator.integers(60, 300, 90)
        scores = [curve(x) + generator.normal(0, 0.3, x.size) for x in (short, long)]
        called += equal_length.at_equal_length(*scores, short, long).estimate.p < 0.05
    assert called <= 14
    fit = equal_length.at_equal_length(scores[0], scores[1] + 1, short, long)
    assert fit.estimate.low < 1 < fit.estimate.high
    assert fit.estimate.p < 1e-6
    assert fit.spread == pytest.approx(0.3, rel=0.2)
    outside = (short < long.min()).sum() + (long > short.max()).sum()
    assert fit.left_out == outside
    assert fit.estimate.n == 120 - outside


def test_without_common_lengths_there_is_no_number():
    a, b = rng.normal(size=20), rng.normal(size=20)
    fit = equal_length.at_equal_length(a, b, np.arange(20), np.arange(40, 60))
    assert fit.lengths == "the answer lengths do not overlap"
    assert math.isnan(fit.estimate.difference)
    few = equal_length.at_equal_length(a, b, np.arange(20), np.arange(16, 36))
    assert few.lengths == "too few answers of a length that both have"
