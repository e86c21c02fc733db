"""Agreement with the truth, on made-up tables."""

from __future__ import annotations

import json

import numpy as np
import pytest
from scipy import stats
from twinlens.contract.forms import Faithfulness
from twinlens.contract.words import UNITS
from twinlens.measures.differences import faithfulness
from twinlens.measures.effect_shares import effect_shares
from twinlens.traces.marks import groups

from tests.support.made_up import MadeUpTrace, tokens


def tables(seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    exact = np.round(rng.normal(size=(9, 5)) * 2, 1)  # ties
    return exact + rng.normal(size=exact.shape), exact


def test_correlations_are_means_over_answer_tokens() -> None:
    estimate, exact = tables()
    found = faithfulness(estimate, exact)
    spearman = [stats.spearmanr(a, b).statistic for a, b in zip(estimate.T, exact.T, strict=True)]
    pearson = [stats.pearsonr(a, b).statistic for a, b in zip(estimate.T, exact.T, strict=True)]
    assert found.spearman == pytest.approx(np.mean(spearman))
    assert found.pearson == pytest.approx(np.mean(pearson))
    assert (found.n, found.cells, found.columns) == (45, 45, 5)
    assert found.above_noise == pytest.approx((np.abs(exact) >= 0.1).mean())


def test_a_column_may_be_scaled_and_the_truth_agrees_with_itself() -> None:
    estimate, exact = tables()
    scaled = faithfulness(estimate * [1, 2, 30, 0.1, 5], exact)
    assert scaled.spearman == pytest.approx(faithfulness(estimate, exact).spearman)
    assert scaled.pearson == pytest.approx(faithfulness(estimate, exact).pearson)
    itself = faithfulness(exact, exact)
    assert itself.spearman == pytest.approx(1)
    assert itself.pearson == pytest.approx(1)
    assert faithfulness(-exact, exact).spearman == pytest.approx(-1)


def test_top1_counts_only_answer_tokens_that_depend_on_the_prompt() -> None:
    exact = np.array([[2.0, 0.3, 0.9], [0.5, 0.9, 1.5], [0.1, -4.0, 0.0]])
    estimate = np.array([[5.0, 0.0, 9.0], [4.0, 9.0, 8.0], [0.0, 1.0, 0.0]])
    found = faithfulness(estimate, exact)
    assert found.top1 == pytest.approx(1 / 2), "the second column has no effect of 1 nat"
    assert found.columns_top1 == 2


def test_only_scored_tokens_and_exact_cells_count() -> None:
    estimate, exact = tables()
    partial = exact.copy()
    partial[[1, 4], :] = np.nan
    rows = [0, 2, 3, 5, 6, 7, 8]
    some, same = faithfulness(estimate, partial), faithfulness(estimate, exact, rows)
    assert (some.spearman, some.pearson) == pytest.approx((same.spearman, same.pearson))
    assert (some.n, some.cells) == (35, 45)
    assert some.columns_top1 == 0, "the largest effect is not known yet"
    assert same.columns_top1 > 0
    assert some.top1 is None


@pytest.mark.parametrize(
    "exact", [np.full((4, 3), np.nan), np.zeros((4, 3)), np.zeros((1, 3)), np.zeros((4, 0))]
)
def test_too_little_to_say_anything(exact: np.ndarray) -> None:
    found = faithfulness(np.ones(exact.shape), exact)
    assert found.spearman is found.pearson is found.top1 is None
    assert (found.above_noise is None) == (found.n == 0)
    again = Faithfulness(**json.loads(json.dumps(found.to_json(), allow_nan=False)))
    assert again == found


PROMPT = (
    ("<s>", "special"),
    ("user", "template"),
    ("\n", "template"),
    ("Re", "instruction"),
    ("write", "instruction"),
    (" it", "instruction"),
    (".", "instruction"),
    (" Keep", "instruction"),
    (' "x', "instruction"),
    ('."', "instruction"),
    ("\n\n", "other"),
    ("The", "context"),
    (" end", "context"),
    ("<e>", "special"),
)


def test_words_sentences_and_segments() -> None:
    made = tokens(PROMPT)
    assert groups(made, "token") == [[i] for i in range(14)]
    assert groups(made, "word") == [
        [0], [1], [2], [3, 4], [5, 6], [7], [8, 9], [10], [11], [12], [13],
    ]  # fmt: skip
    assert groups(made, "sentence") == [
        [0], [1, 2], [3, 4, 5, 6], [7, 8, 9], [10], [11, 12], [13],
    ]  # fmt: skip
    assert groups(made, "segment") == [[0, 13], [1, 2], [3, 4, 5, 6, 7, 8, 9], [10], [11, 12]]
    for unit in UNITS:
        assert sorted(i for group in groups(made, unit) for i in group) == list(range(14))
        assert groups((), unit) == []


class Given(MadeUpTrace):
    values = np.zeros((14, 2), dtype=np.float32)

    def block(self, key, report=None):  # type: ignore[no-untyped-def]
        return self.values if key.startswith("saliency/") else super().block(key, report)


def given(values: np.ndarray) -> Given:
    import dataclasses

    trace = Given()
    trace.manifest = dataclasses.replace(trace.manifest, prompt_tokens=tokens(PROMPT))
    trace.values = values
    return trace


def test_shares_of_effect() -> None:
    values = np.zeros((14, 2))
    values[[0, 2, 4, 7], 0] = [1, 2, 4, -9]
    values[[5, 11], 1] = [2, 1]
    shares = effect_shares(given(values), "tuned", "occlusion")
    assert shares.overall == {
        "special": 0.1, "template": 0.2, "instruction": 0.6, "context": 0.1, "other": 0.0,
    }  # fmt: skip
    np.testing.assert_allclose(shares.along["instruction"], [4 / 7, 2 / 3])
    np.testing.assert_allclose(shares.along["context"], [0, 1 / 3])
    assert not shares.covers_everything


def test_shares_of_other_segments_without_the_models() -> None:
    values = np.zeros((14, 2))
    values[[3, 11]] = 1
    trace = given(values)
    marked = ["instruction"] * 12 + ["other"] * 2
    shares = effect_shares(trace, "tuned", "occlusion", segments=marked)
    assert shares.overall["instruction"] == 1
    everything = effect_shares(trace, "tuned", "occlusion", segments=["instruction"] * 14)
    assert everything.covers_everything
    with pytest.raises(ValueError, match="14 prompt tokens"):
        effect_shares(trace, "tuned", "occlusion", segments=["other"])


def test_answer_tokens_without_positive_effect_have_no_share() -> None:
    shares = effect_shares(given(np.full((14, 2), -1.0)), "base", "occlusion")
    assert set(shares.overall.values()) == {0.0}
    assert all(np.array_equal(row, [0, 0]) for row in shares.along.values())
