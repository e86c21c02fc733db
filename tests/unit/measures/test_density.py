"""The paper's numbers: worked examples, published matrices, properties."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from twinlens.measures import density
from twinlens.measures.density import DensityParameters

from tests.support.places import DATA, PUBLISHED

EXAMPLES = json.loads((DATA / "worked_examples.json").read_text())


def test_worked_levels():
    example = EXAMPLES["density"]
    assert density.levels(example["I"]).tolist() == example["levels"]
    tiny = EXAMPLES["density_tiny_column"]
    assert density.levels(tiny["I"]).tolist() == tiny["levels"]


@pytest.mark.parametrize("threshold", [7, 0])
def test_worked_density_and_score(threshold):
    example = EXAMPLES["density"]
    expected = example[f"b{threshold}"]
    raw = density.raw_density(example["levels"], threshold)
    relative = density.relative_density(raw)
    np.testing.assert_allclose(raw, expected["raw_density"], atol=1e-6)
    np.testing.assert_allclose(relative, expected["density"], atol=1e-6)
    assert density.instruction_score(relative, [0, 1]) == pytest.approx(expected["score"], abs=1e-6)
    settings = DensityParameters(threshold=threshold)
    np.testing.assert_allclose(
        density.density_of_importance(example["I"], settings), expected["density"], atol=1e-6
    )


@pytest.mark.skipif(not PUBLISHED.is_dir(), reason="the published matrices are not here")
@pytest.mark.parametrize("model", ["llama-7b", "vicuna-7b"])
def test_published_matrices(model):
    expected = json.loads((PUBLISHED / "expected.json").read_text())["cases"]
    per_token = np.load(PUBLISHED / "expected_density.npz", allow_pickle=False)
    levels = np.load(PUBLISHED / f"{model}.npz", allow_pickle=False)
    cases = [json.loads(line) for line in (PUBLISHED / f"{model}.jsonl").open()]
    assert len(cases) == 40
    for case in cases:
        numbers = expected[case["id"]][model.split("-")[0]]
        instruction = case["instruction_token_indices"]
        matrix = levels[case["id"]]
        found = density.density_of_levels(matrix)
        np.testing.assert_allclose(found, per_token[f"{model}/{case['id']}"], atol=1e-6)
        raw = density.density_of_levels(matrix, DensityParameters(normalisation="raw"))
        wide = density.density_of_levels(matrix, DensityParameters(threshold=0))
        assert {
            "score": density.instruction_score(found, instruction),
            "score_b0": density.instruction_score(wide, instruction),
            "mean_raw_density_b7": density.instruction_score(raw, instruction, "mean"),
            "max_raw_density_b7": raw.max(),
            "mean_norm_density_b7": density.instruction_score(found, instruction, "mean"),
        } == pytest.approx({key: numbers[key] for key in EXPECTED_KEYS}, abs=1e-6)


EXPECTED_KEYS = (
    "score",
    "score_b0",
    "mean_raw_density_b7",
    "max_raw_density_b7",
    "mean_norm_density_b7",
)

matrices = arrays(
    np.float64,
    array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=6),
    elements=st.floats(-10, 10, allow_subnormal=False),
)


@given(matrices)
def test_levels_lie_on_the_scale(matrix):
    found = density.levels(matrix)
    assert found.min() >= 0
    assert found.max() <= 10
    assert (found[matrix <= 0] == 0).all()
    column_maximum = matrix.max(axis=0)
    assert (found.max(axis=0)[column_maximum > 1e-3] == 10).all()


@given(matrices, st.floats(0.5, 100))
def test_a_positive_factor_per_column_changes_no_level(matrix, factor):
    """Why probability and log-probability give the same levels, up to eps."""
    large = np.where(np.abs(matrix) < 1e-2, 0, matrix)
    difference = density.levels(large) - density.levels(large * factor)
    assert np.abs(difference).max() <= 1


@given(matrices, st.sampled_from([0, 5, 7]), st.floats(1.5, 8))
def test_raw_density_is_zero_or_between_one_and_its_bound(matrix, threshold, norm):
    raw = density.raw_density(density.levels(matrix), threshold, norm)
    bound = matrix.shape[1] ** (1 - 1 / norm)
    assert ((raw == 0) | ((raw > 1 - 1e-6) & (raw < bound + 1e-6))).all()


def test_rows_that_are_not_scored_do_not_set_the_maximum():
    importance = np.array([[100.0, 50.0], [1.0, 2.0], [0.5, 0.1]])
    found = density.levels(importance, scored=[1, 2])
    assert found.tolist() == [[10, 10], [10, 10], [5, 1]]


def test_answers_cut_to_one_length():
    importance = np.random.default_rng(0).normal(size=(5, 9))
    cut = density.density_of_importance(importance, DensityParameters(answer_cut=4))
    np.testing.assert_allclose(cut, density.density_of_importance(importance[:, :4]))


def test_no_instruction_scores_zero():
    assert density.instruction_score([0.5, 1.0], []) == 0.0
