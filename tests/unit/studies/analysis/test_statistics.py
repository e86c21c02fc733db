"""Planted data: the analysis finds what was put in, and says when length made it."""

from __future__ import annotations

import math
import statistics
import subprocess
import sys

import numpy as np
import pytest
from twinlens.errors import StudyError
from twinlens.measures.density import DensityParameters
from twinlens.studies.analysis import inference
from twinlens.studies.analysis.comparisons import difference_verdict
from twinlens.studies.analysis.profiles import ANSWER, POSITION
from twinlens.studies.analysis.scoring import Settings, scores
from twinlens.studies.analysis.statistics import analyse

from tests.unit.studies.planted import Planted

RAW = Settings(DensityParameters(normalisation="raw", aggregation="mean"))


def test_one_table_is_one_family():
    analysis = analyse(Planted(effect=0.5))
    pair = [c for c in analysis.comparisons if c.question == "tuned against base"]
    assert [(c.level, c.group) for c in pair] == [
        ("group", "one"),
        ("group", "two"),
        ("all", "all prompts"),
    ]
    plain = [c.test("paired t, two-sided") for c in pair]
    corrected = inference.adjust([test.p for test in plain], "holm")
    assert [test.p_holm for test in plain] == corrected
    ranked = [c.test("signed-rank, two-sided") for c in pair]
    assert [(c.estimate.p, c.estimate.p_holm) for c in pair] == [(t.p, t.p_holm) for t in ranked]
    at_equal = [c.length.estimate for c in pair]
    corrected = inference.adjust([one.p for one in at_equal], "holm")
    assert [one.p_holm for one in at_equal] == corrected
    assert any(one.p_holm > one.p for one in at_equal)


def test_short_answers_are_left_out_of_the_judged_only():
    analysis = analyse(Planted(30, lengths=(30, 5)))
    judged = analysis.comparison("followed against unfollowed", "all prompts")
    assert judged.first.n + judged.second.n < 30
    assert analysis.comparison("tuned against base", "all prompts").first.n == 30


def test_every_number_carries_its_settings():
    analysis = analyse(Planted(6), RAW)
    for name, records in analysis.records().items():
        # These cases hold saliency, but no exact effects of segments.
        assert bool(records) == (name not in ("effects", "exact")), name
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
    analysis = analyse(cases)
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


def test_verdicts_on_a_difference():
    assert difference_verdict(1, 0.01) == "holds"
    assert difference_verdict(-1, 0.01) == "turns"
    assert difference_verdict(1, 0.05) == "no difference shown"
    assert difference_verdict(0, math.nan) == "no difference shown"
    assert difference_verdict(1, math.nan) == "too few"
    assert difference_verdict(1, 0.01, enough=False) == "too few"


def test_tables_are_frames():
    pytest.importorskip("pandas")
    analysis = analyse(Planted(12))
    frame = analysis.to_frame("comparisons")
    assert list(frame["verdict"]) == [c.verdict for c in analysis.comparisons]
    assert frame["beyond_rest_difference"].notna().all()
    for name, records in analysis.records().items():
        assert len(analysis.to_frame(name)) == len(records)
    with pytest.raises(StudyError, match="one of scores, comparisons, tests, profiles, effects"):
        analysis.to_frame("groups")


def test_a_notebook_shows_the_findings():
    analysis = analyse(Planted(12, groups=("<b>",)))
    text = analysis._repr_html_()
    assert "Mean score" in text
    assert "12 prompts, each with an answer of base and one of tuned" in text
    assert "<b>" not in text


@pytest.mark.slow
def test_statistics_load_no_models_and_no_charts():
    code = (
        "import sys, twinlens.studies.analysis.statistics;"
        "import twinlens.studies.analysis.variants;"
        "bad = {'torch', 'transformers', 'bokeh', 'pandas', 'pyarrow'} & set(sys.modules);"
        "sys.exit(' '.join(bad) or None)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
