from __future__ import annotations

import numpy as np
import pytest
from twinlens.measures.head_table import head_table

from tests.support.made_up import MadeUpTrace, manifest


def test_rows_are_heads_and_numbers_those_of_the_blocks(trace):
    n = trace.manifest.prompt_length
    table = head_table(trace, n + 2).set_index(["layer", "head"])
    assert len(table) == 32
    row = table.loc[(3, 6)]
    assert row["divergence"] == pytest.approx(trace.array("heads/change")[n + 1, 3, 6])
    assert row["sink_tuned"] == pytest.approx(trace.array("heads/sink/tuned")[n + 1, 3, 6])
    assert row["effect_base"] == pytest.approx(trace.array("heads/effect/base/2")[3, 6])
    assert row["ov_cosine"] == pytest.approx(trace.array("heads/circuits")[3, 6, 3])


def test_without_a_token_the_answer_is_averaged(trace):
    n = trace.manifest.prompt_length
    table = head_table(trace)
    entropy = trace.array("heads/entropy/base").astype(np.float32)[n - 1 : -1].mean(axis=0)
    np.testing.assert_allclose(table["entropy_base"], entropy.ravel(), rtol=1e-5)
    whole = trace.array("heads/effect/tuned/answer").ravel()
    np.testing.assert_allclose(table["effect_tuned"], whole, rtol=1e-6)


def test_a_prompt_token_has_no_effect(trace):
    assert "effect_base" not in head_table(trace, 4)


def test_only_shared_tokens(trace):
    own = MadeUpTrace(manifest(shared=False))
    assert len(head_table(own)) == 32
    with pytest.raises(IndexError, match="they share 0 to 15"):
        head_table(own, 16)


def test_effects_by_name(trace):
    for found, key in (
        (trace.head_effect("base"), "heads/effect/base/answer"),
        (trace.head_effect("tuned", 2), "heads/effect/tuned/2"),
        (trace.head_effect("base", 0, exact="mean"), "heads/ablation/base/mean/0"),
    ):
        np.testing.assert_array_equal(found, trace.array(key))
