"""Hiding groups in several answers to one prompt at once is hiding them in each alone."""

from __future__ import annotations

import numpy as np
import pytest
from twinlens.compute.passes.reading import Reading
from twinlens.compute.saliency import several_answers
from twinlens.compute.saliency.several_answers import hidden_in_answers
from twinlens.compute.saliency.together import _one_by_one, hidden_together

from tests.support import tiny
from tests.support.saliency import IDS

GROUPS = [[0, 1], [3, 5], [6, 7], [7], list(range(8))]
ANSWERS = [IDS[8:10], [17], IDS[8:], [45, 5, 300]]


@pytest.mark.parametrize("family", ["llama", "gemma2", "gpt2", "phi3"])
def test_as_each_alone(family: str, monkeypatch: pytest.MonkeyPatch) -> None:
    options = {"sliding_window": 4} if family == "gemma2" else {}
    model = tiny.model(family, **options).double()
    readings = [Reading(model, [*IDS[:8], *answer], 8) for answer in ANSWERS]
    expected = [hidden_together([reading], [GROUPS])[0] for reading in readings]
    for most in (512, 20):
        monkeypatch.setattr(several_answers, "_ON_CPU", most)
        found = hidden_in_answers(readings, GROUPS)
        for ours, alone, answer in zip(found, expected, ANSWERS, strict=True):
            assert ours.shape == (len(GROUPS), len(answer))
            np.testing.assert_allclose(ours, alone, atol=1e-6)
    assert max(np.abs(one).max() for one in expected) > 0.01


def test_families_whose_attention_is_not_reached_one_by_one() -> None:
    model = tiny.model("qwen3_5_text")
    readings = [Reading(model, [*IDS[:8], *answer], 8) for answer in ANSWERS[:2]]
    for ours, reading in zip(hidden_in_answers(readings, GROUPS[:2]), readings, strict=True):
        np.testing.assert_allclose(ours, _one_by_one(reading, GROUPS[:2], None), atol=1e-6)
