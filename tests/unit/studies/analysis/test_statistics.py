"""Planted data: the analysis finds what was put in, and says when length made it."""

from __future__ import annotations

import math
import statistics
import subprocess
import sys

import numpy as np
import pytest
from twinlens.measures.density import DensityParameters
from twinlens.studies.analysis.comparisons import verdict
from twinlens.studies.analysis.profiles import ANSWER, POSITION
from twinlens.studies.analysis.scoring import Settings, scores
from twinlens.studies.analysis.statistics import analyse

from tests.unit.studies.planted import Planted

RAW = Settings(DensityParameters(normalisation="raw", aggregation="mean"))


def overall(cases, settings=None, question="tuned against base"):
    return analyse(cases, settings, bootstrap=200).comparison(question, "all prompts")


def test_a_planted_effect_is_found():
    found = overall(Planted(effect=1.5))
    assert found.verdict == "holds"
    assert found.length.verdict == "holds"
    assert not found.length.explained
    assert 0 < found.effect_low < found.effect < found.effect_high


def test_a_planted_opposite_effect_is_found():
    assert overall(Planted(effect=-0.6)).verdict == "turns"


@pytest.mark.slow
def test_no_effect_is_found_at_the_nominal_rate():
    """Without an effect, 5 % of the samples are called different."""
    false_alarms = sum(
        overall(Planted(30, seed=seed), RAW).verdict != "vanishes" for seed in range(40)
    )
    assert false_alarms <= 6


def test_longer_answers_alone_are_called_what_they_are():
    found = overall(Planted(lengths=(60, 20)), RAW)
    assert found.verdict == "turns"
    assert found.length.verdict == "vanishes"
    assert found.length.explained
    assert found.first.answer_length > 2 * found.second.answer_length
    turned_round = overall(Planted(lengths=(20, 60)), RAW)
    assert turned_round.verdict == "holds"
    assert turned_round.length.explained


def test_a_true_effect_survives_the_length_check():
    found = overall(Planted(effect=3.0, lengths=(30, 60)), RAW)
    assert found.verdict == "holds"
    assert not found.length.explained


def test_longer_followed_answers_alone_are_called_what_they_are():
    question = "followed against unfollowed"
    found = overall(Planted(60, longer_when_followed=30, lengths=(30, 12)), RAW, question)
    assert found.verdict == "holds"
    assert found.length.explained
    real = overall(Planted(60, followed_effect=3.0), RAW, question)
    assert real.verdict == "holds"
    assert not real.length.explained


def test_groups_come_with_corrected_p_values():
    analysis = analyse(Planted(effect=0.5), bootstrap=50)
    pair = [c for c in analysis.comparisons if c.question == "tuned against base"]
    assert [(c.level, c.group) for c in pair] == [
        ("group", "one"),
        ("group", "two"),
        ("all", "all prompts"),
    ]
    p = sorted(c.test("paired t, two-sided").p for c in pair[:2])
    holm = sorted(c.test("paired t, two-sided").p_holm for c in pair[:2])
    assert holm == pytest.approx([min(1, 2 * p[0]), max(2 * p[0], p[1])])
    alone = pair[2].test("paired t, two-sided")
    assert alone.p_holm == pytest.approx(alone.p)


def test_short_answers_are_left_out_of_the_judged_only():
    analysis = analyse(Planted(30, lengths=(30, 5)), bootstrap=50)
    judged = analysis.comparison("followed against unfollowed", "all prompts")
    assert judged.first.n + judged.second.n < 30
    assert analysis.comparison("tuned against base", "all prompts").first.n == 30


def test_every_number_carries_its_settings():
    analysis = analyse(Planted(6), RAW, bootstrap=20)
    for name, records in analysis.records().items():
        assert records, name
        for record in records:
            assert (record["threshold"], record["normalisation"]) == (7, "raw")
            assert all(
                value is None or isinstance(value, (str, int, float, bool))
                for value in record.values()
            )


def test_settings_change_scores():
    cases = list(Planted(4))
    published = [score.score for score in scores(cases)]
    for settings in (
        RAW,
        Settings(spans="marked"),
        Settings(cut="shorter"),
        Settings(DensityParameters(levels=20, threshold=14)),
        Settings(DensityParameters(answer_cut=5)),
    ):
        assert [score.score for score in scores(cases, settings)] != published
    equal = Settings(DensityParameters(answer_cut=10**6))
    assert [score.score for score in scores(cases, equal)] == published


def test_profiles_find_a_planted_edge():
    cases = []
    for case in Planted(10):
        case.values[1:3] *= 20
        cases.append(case)
    analysis = analyse(cases, bootstrap=20)
    along = next(p for p in analysis.profiles if (p.name, p.side) == (POSITION, "tuned"))
    assert along.ids == tuple(f"p{i}" for i in range(10))
    curve = [point.mean for point in along.points]
    assert len(curve) == 10
    assert int(np.argmax(curve)) == 0
    for point, values in zip(along.points, along.values.T, strict=True):
        assert point.mean == pytest.approx(statistics.fmean(values))
        assert point.standard_error == pytest.approx(statistics.stdev(values) / math.sqrt(10))
    driven = [p for p in analysis.profiles if p.name == ANSWER]
    assert {p.side for p in driven} == {"base", "tuned"}
    assert all(((p.values >= 0) & (p.values <= 1)).all() for p in driven)


def test_verdicts():
    assert verdict(1, 0.01) == "holds"
    assert verdict(-1, 0.01) == "turns"
    assert verdict(1, 0.05) == "vanishes"
    assert verdict(1, math.nan) == "unknown"


@pytest.mark.slow
def test_statistics_load_no_models_and_no_charts():
    code = (
        "import sys, twinlens.studies.analysis.statistics;"
        "import twinlens.studies.analysis.variants;"
        "bad = {'torch', 'transformers', 'bokeh', 'pandas', 'pyarrow'} & set(sys.modules);"
        "sys.exit(' '.join(bad) or None)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
