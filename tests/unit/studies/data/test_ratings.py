"""Ratings that come after the answers."""

from __future__ import annotations

import pytest
from twinlens.errors import DataError
from twinlens.studies.analysis.statistics import analyse
from twinlens.studies.data.ratings import rate

from tests.unit.studies.planted import Planted

QUESTION = "followed against unfollowed"


def judged(cases):
    return {case.id: (case.rating, case.followed) for case in cases if case.side == "tuned"}


def test_ratings_replace_what_was_known_of_tuned_answers_only():
    cases = rate(Planted(6), {"p1": 1, "p2": False, "p3": True})
    expected = {**judged(Planted(6)), "p1": (1, False), "p2": (None, False), "p3": (None, True)}
    assert judged(cases) == expected
    assert all(case.rating is None for case in cases if case.side == "base")
    assert cases.trace("p1").manifest.prompt == Planted(6).trace("p1").manifest.prompt


def test_ratings_decide_who_is_compared():
    followed = Planted(30).both
    high = {
        f"p{i}": followed(i)[1].values.sum() > followed(i + 30)[1].values.sum() for i in range(30)
    }
    ratings = {name: bool(value) for name, value in high.items()}
    found = analyse(rate(Planted(30), ratings)).comparison(QUESTION, "all prompts")
    assert set(found.second.ids) == {name for name, value in ratings.items() if value}


def test_ratings_from_a_file(tmp_path):
    path = tmp_path / "ratings.csv"
    path.write_text("id,rating,followed\np0,4,\np1,,no\np2,-1,\n")
    found = judged(rate(Planted(4), path))
    assert found["p0"] == (4, True)
    assert found["p1"] == (None, False)
    assert found["p2"] == judged(Planted(4))["p2"]


@pytest.mark.parametrize(
    ("ratings", "message"),
    [({"p0": 5}, "5"), ({"p0": "good"}, "good"), ({"nobody": 1}, "'nobody'")],
)
def test_wrong_ratings_are_named(ratings, message):
    with pytest.raises(DataError, match=message):
        rate(Planted(2), ratings)


def test_a_file_without_ids_is_named(tmp_path):
    path = tmp_path / "ratings.csv"
    path.write_text("rating\n4\n")
    with pytest.raises(DataError, match=r"row 1 of ratings\.csv has no id"):
        rate(Planted(2), path)
