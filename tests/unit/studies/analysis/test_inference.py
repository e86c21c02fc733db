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
    assert math.isnan(inference.paired([1.0, 1.0], [2.0, 2.0], ("a", "b"))[0].p)


def test_effect_sizes():
    assert inference.cohen_d([1, 2, 3], [3, 4, 5]) == pytest.approx(2.0)
    assert inference.paired_d([0, 0, 0], [1, 2, 3]) == pytest.approx(2.0)


def test_intervals_are_seeded_and_cover():
    assert inference.cohen_interval(A, B, seed=3) == inference.cohen_interval(A, B, seed=3)
    assert inference.cohen_interval(A, B, seed=3) != inference.cohen_interval(A, B, seed=4)
    low, high = inference.paired_interval(A, B)
    assert low < inference.paired_d(A, B) < high
    covered = 0
    for seed in range(60):
        x = np.random.default_rng(seed).normal(0.5, 1, 40)
        low, high = inference.paired_interval(np.zeros(40), x, count=300, seed=seed)
        covered += low < 0.5 < high
    assert covered >= 50


def test_corrections():
    p = [0.01, 0.04, math.nan, 0.03]
    holm = inference.adjust(p, "holm")
    assert holm[0] == pytest.approx(0.03)
    assert holm[1] == holm[3] == pytest.approx(0.06)
    assert math.isnan(holm[2])
    known = [value for value in inference.adjust(p, "benjamini-hochberg") if value == value]
    assert known == pytest.approx(stats.false_discovery_control([0.01, 0.04, 0.03]).tolist())


def test_length_is_taken_out():
    lengths = np.concatenate([np.full(50, 40), np.full(50, 80)]) + rng.integers(-20, 20, 100)
    scores = np.log(lengths) + rng.normal(0, 0.1, 100)
    difference, p = inference.difference_at_equal_length(
        scores[:50], scores[50:], lengths[:50], lengths[50:]
    )
    assert abs(difference) < 0.1
    assert p > 0.01
    difference, p = inference.difference_at_equal_length(
        scores[:50], scores[50:] + 1, lengths[:50], lengths[50:]
    )
    assert difference == pytest.approx(1, abs=0.15)
    assert p < 1e-6
