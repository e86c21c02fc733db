"""Hiding groups in answers to several prompts at once is hiding them in each alone."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from twinlens.compute.passes.decoding import greedy_answers
from twinlens.compute.passes.reading import Reading
from twinlens.compute.passes.steps_written_out import ReadPrompt
from twinlens.compute.saliency import several_answers
from twinlens.compute.saliency.several_answers import (
    Answered,
    filling_rows,
    hidden_in_answers,
)
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
        (found,) = hidden_in_answers([Answered(readings, GROUPS)])
        for ours, alone, answer in zip(found, expected, ANSWERS, strict=True):
            assert ours.shape == (len(GROUPS), len(answer))
            np.testing.assert_allclose(ours, alone, atol=1e-6)
    assert max(np.abs(one).max() for one in expected) > 0.01


@pytest.mark.parametrize("family", ["llama", "mistral", "gpt2"])
def test_of_several_prompts_in_one_row(family: str, monkeypatch: pytest.MonkeyPatch) -> None:
    options = {"sliding_window": 4} if family == "mistral" else {}
    model = tiny.model(family, **options).double()
    read = list[ReadPrompt]()
    settings = {"stop": [], "limit": 5, "vocabulary": 400, "side": "base"}
    (own,) = greedy_answers(model, [IDS[2:8]], **settings, read=read)
    known = [None, *(read or [None])]
    prompts = {
        0: Answered([Reading(model, [*IDS[:8], *answer], 8) for answer in ANSWERS], GROUPS),
        3: Answered([Reading(model, [*IDS[:3], 40], 3)], [[0], [1, 2]]),
        4: Answered(
            [Reading(model, [*IDS[2:8], *answer], 6) for answer in (ANSWERS[0], own)],
            [[0, 2], [5]],
            known,
        ),
    }
    expected = [
        [hidden_together([reading], [prompt.groups])[0] for reading in prompt.readings]
        for prompt in prompts.values()
    ]
    sizes = [prompt.size for prompt in prompts.values()]
    for most, count in ((sum(sizes), 1), (sum(sizes[:2]), 2), (20, 3)):
        monkeypatch.setattr(several_answers, "_ON_CPU", most)
        for ours, alone in zip(hidden_in_answers([*prompts.values()]), expected, strict=True):
            for table, reference in zip(ours, alone, strict=True):
                np.testing.assert_allclose(table, reference, atol=1e-6)
        rows = filling_rows(prompts)
        assert [place for row in rows for place in row] == [0, 3, 4]
        assert len(rows) == count


@pytest.mark.parametrize(("family", "options"), [("llama", {}), ("mistral", {"sliding_window": 4})])
@pytest.mark.parametrize("place", [0, 2])
def test_what_was_read_for_an_answer_is_not_read_again(
    family: str, options: dict[str, int], place: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = tiny.model(family, **options).double()
    read = list[ReadPrompt]()
    prompts = [IDS[:5], IDS[:8], IDS[1:8]]
    settings = {"stop": [], "limit": 40, "vocabulary": 400, "side": "base"}
    own = greedy_answers(model, prompts, **settings, read=read)[1]
    answers = [*ANSWERS[:2]]
    answers.insert(place, own[:6])
    readings = [Reading(model, [*IDS[:8], *answer], 8) for answer in answers]
    groups = [*GROUPS, GROUPS[1]]
    known = [read[1] if each == place else None for each in range(3)]
    (expected,) = hidden_in_answers([Answered(readings, groups)])
    for most in (512, 20):
        monkeypatch.setattr(several_answers, "_ON_CPU", most)
        (found,) = hidden_in_answers([Answered(readings, groups, known)])
        for ours, alone in zip(found, expected, strict=True):
            np.testing.assert_allclose(ours, alone, atol=1e-6)
    # It is used: where it is wrong, so is what comes of it.
    wrong = [part and replace(part, logprobs=part.logprobs + 1) for part in known]
    (without,) = hidden_in_answers([Answered(readings, groups, wrong)])
    np.testing.assert_allclose(without[place], expected[place] + 1, atol=1e-6)


def test_families_whose_attention_is_not_reached_one_by_one() -> None:
    model = tiny.model("qwen3_5_text")
    readings = [Reading(model, [*IDS[:8], *answer], 8) for answer in ANSWERS[:2]]
    (found,) = hidden_in_answers([Answered(readings, GROUPS[:2])])
    for ours, reading in zip(found, readings, strict=True):
        np.testing.assert_allclose(ours, _one_by_one(reading, GROUPS[:2], None), atol=1e-6)
