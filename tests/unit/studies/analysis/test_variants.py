"""Every combination of settings: the fast way agrees with the plain one; conclusions move."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from twinlens.measures import density
from twinlens.studies.analysis.scoring import score_pair
from twinlens.studies.analysis.statistics import analyse
from twinlens.studies.analysis.variants import (
    FORMULA_ALONE,
    ONE_LENGTH,
    Grid,
    histogram_density,
    level_histogram,
    robustness,
    score_variants,
    shares,
)
from twinlens.studies.analysis.variants import PUBLISHED as UNCHANGED
from twinlens.studies.data.cases import paired
from twinlens.studies.data.published import import_published

from tests.unit.studies.planted import Planted
from tests.unit.studies.published_data import PUBLISHED, RELEASE, needs_published, needs_release

SMALL = Grid(levels=(10,), thresholds=(7, 0), norms=(4.0,))


@settings(deadline=None)
@given(
    arrays(np.int64, array_shapes(min_dims=2, max_dims=2, max_side=8), elements=st.integers(0, 10)),
    st.sampled_from([0, 5, 7, 9]),
    st.sampled_from([2.0, 4.0, 10.0]),
)
def test_the_histogram_gives_the_density(levels, threshold, norm):
    found = histogram_density(level_histogram(levels, 10), threshold, norm)
    np.testing.assert_allclose(found, density.raw_density(levels, threshold, norm), rtol=1e-12)


def test_every_combination_is_the_plain_score():
    grid = Grid()
    variants = grid.settings()
    assert len(variants) == len(set(variants)) == 3 * 4 * 3 * 2 * 2 * 2 * 2
    pairing = next(paired(Planted(1, lengths=(20, 9))))
    fast = score_variants(pairing, variants)
    plain = [[score.score for score in score_pair(pairing, settings)] for settings in variants]
    np.testing.assert_allclose(np.array(fast).T, plain, rtol=1e-9, atol=1e-12)


def test_the_published_variant_is_the_analysis():
    cases = Planted(20, effect=0.5)
    analysis = analyse(cases)
    for outcome in robustness(cases, SMALL):
        if outcome.variant != UNCHANGED:
            continue
        found = analysis.comparison(outcome.question, outcome.group)
        assert outcome.difference == pytest.approx(found.difference)
        assert outcome.effect == pytest.approx(found.effect)
        assert outcome.verdict == found.plain
        assert outcome.p == pytest.approx(found.estimate.p, nan_ok=True)
        if outcome.question == "tuned against base":
            spread = found.difference / found.effect
            ends = (outcome.typical, outcome.low, outcome.high)
            estimate = found.estimate
            expected = (estimate.difference, estimate.low, estimate.high)
            assert ends == pytest.approx(tuple(end / spread for end in expected))


def verdicts(outcomes, group="all prompts", question="tuned against base"):
    return {
        outcome.variant: outcome.verdict
        for outcome in outcomes
        if (outcome.group, outcome.question) == (group, question)
        and outcome.variant != "combination"
    }


def test_an_effect_of_length_is_gone_at_one_length():
    found = verdicts(robustness(Planted(40, lengths=(60, 20)), SMALL))
    assert found[FORMULA_ALONE] == "turns"
    assert found[ONE_LENGTH] == "no difference shown"


def test_a_strong_effect_holds_everywhere():
    outcomes = robustness(Planted(40, effect=4.0), SMALL)
    totals = [share for share in shares(outcomes) if share.setting == "any"]
    together = next(
        s for s in totals if (s.question, s.group) == ("tuned against base", "all prompts")
    )
    assert together.combinations == len(SMALL.settings())
    assert together.turns == 0
    assert together.holds >= 0.7 * together.combinations
    by_value = [s for s in shares(outcomes) if s.setting == "normalisation"]
    assert {s.value for s in by_value} == {"raw", "prompt maximum"}
    assert sum(s.combinations for s in by_value) == sum(s.combinations for s in totals)


def test_outcomes_are_a_table():
    outcomes = robustness(Planted(20, effect=0.5), SMALL)
    table = outcomes.to_frame()
    assert len(table) == len(outcomes) > 0
    assert table["p"].tolist() == pytest.approx([outcome.p for outcome in outcomes], nan_ok=True)
    assert repr(outcomes) == f"<Outcomes: {len(outcomes)} conclusions>"


def test_no_cases_give_no_outcomes():
    assert robustness([]) == []


@needs_published
def test_the_sign_turns_on_the_published_cases_without_the_division():
    outcomes = robustness(import_published(PUBLISHED))
    found = verdicts(outcomes)
    assert next(o for o in outcomes if o.group == "all prompts").p == pytest.approx(
        0.03322, abs=1e-5
    )
    assert found[UNCHANGED] == "no difference shown"  # by Holm over the four groups
    turned = next(
        o
        for o in outcomes
        if o.variant == "not divided, mean over tokens (the formula alone)"
        and (o.question, o.group) == ("tuned against base", "all prompts")
    )
    assert turned.difference < 0
    assert turned.verdict == "turns"
    assert not any(variant.startswith("L =") for variant in found)


@needs_release
def test_the_complete_release():
    outcomes = robustness(import_published(RELEASE))
    for group in ("self-instruct", "lima", "all prompts"):
        found = verdicts(outcomes, group)
        assert found[UNCHANGED] == "holds"
        assert found[FORMULA_ALONE] == "turns"
    one_length = next(
        o
        for o in outcomes
        if o.variant == ONE_LENGTH
        and (o.question, o.group) == ("tuned against base", "all prompts")
    )
    assert one_length.verdict == "holds"
    assert f"{one_length.difference:.3f}" == "0.322"
