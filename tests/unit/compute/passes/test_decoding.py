"""Answers equal transformers' own greedy ones, whatever a model's generation settings ask for."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from transformers import PreTrainedModel
from twinlens.compute.passes.decoding import greedy_answers
from twinlens.compute.passes.guessing import guessed, right
from twinlens.compute.passes.steps_written_out import Continued
from twinlens.errors import Interrupted, NotFiniteError

from tests.support import tiny

PROMPTS = [[0, 300, 17, 45, 260, 310], [0, 9], [0, 45, 45, 45, 99, 300, 17, 200, 5]]
SETTINGS: dict[str, dict[str, Any]] = {
    "none": {},
    "sampling": {"do_sample": True, "temperature": 0.6, "top_p": 0.8, "top_k": 20},
    "repetition_penalty": {"repetition_penalty": 3.0},
    "no_repeat_ngram_size": {"no_repeat_ngram_size": 1},
    "min_new_tokens": {"min_new_tokens": 5},
    "forced_eos_token_id": {"forced_eos_token_id": 7},
    "bad_words_ids": {"bad_words_ids": [[204, 88], [329]]},
}
LIMIT = 9


@pytest.fixture(scope="module")
def shared() -> PreTrainedModel:
    return tiny.model("llama").requires_grad_(False)


@pytest.fixture
def model(shared: PreTrainedModel) -> Iterator[PreTrainedModel]:
    """A model whose generation settings a test may change."""
    before = copy.deepcopy(shared.generation_config)
    yield shared
    shared.generation_config = before


def answers(model: PreTrainedModel, stop: list[int] | None = None, **options: Any) -> Any:
    given = {"prompts": PROMPTS, "limit": LIMIT, "vocabulary": 340, "side": "base"} | options
    return greedy_answers(model, stop=stop or [], **given)


def generated(model: PreTrainedModel, stop: list[int] | None = None) -> list[list[int]]:
    """By transformers, one prompt at a time."""
    model.generation_config.eos_token_id = stop
    options = {"do_sample": False, "max_new_tokens": LIMIT, "pad_token_id": 1}
    return [
        model.generate(torch.tensor([prompt]), **options)[0, len(prompt) :].tolist()
        for prompt in PROMPTS
    ]


@pytest.mark.parametrize("name", SETTINGS)
def test_answers_equal_generate(model: PreTrainedModel, name: str) -> None:
    free = answers(model)
    # Stop where answers would come by, so that settings about the end matter.
    stop = [free[0][2], free[1][6]]
    model.generation_config.update(**SETTINGS[name])
    expected = generated(model, stop)
    assert answers(model, stop) == expected
    if name not in ("none", "sampling"):
        model.generation_config = type(model.generation_config)(eos_token_id=stop)
        assert expected != generated(model, stop)


@pytest.mark.parametrize("family", ["llama", "mistral", "qwen3", "gpt2"])
@pytest.mark.parametrize("prompt", [*PROMPTS, [0, 45, 99] * 5])
def test_answers_that_are_guessed_equal_generate(family: str, prompt: list[int]) -> None:
    model, limit = tiny.model(family), 24
    model.generation_config.eos_token_id = None
    options = {"do_sample": False, "max_new_tokens": limit, "pad_token_id": 1}
    expected = model.generate(torch.tensor([prompt]), **options)[0, len(prompt) :].tolist()
    told: list[int] = []
    given = {"prompts": [prompt], "limit": limit, "report": lambda done, *_: told.append(done)}
    assert answers(model, **given) == [expected]
    assert told == [*range(1, limit + 1)]
    for stop in {expected[1], expected[6], expected[-1]}:
        ends = expected.index(stop) + 1
        assert answers(model, [stop], **given) == [expected[:ends]]
    for shorter in (1, 2, 17):
        assert answers(model, **given | {"limit": shorter}) == [expected[:shorter]]


def test_an_answer_that_repeats_itself_takes_few_passes(
    model: PreTrainedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    passes: list[int] = []
    scores = Continued.scores
    monkeypatch.setattr(Continued, "scores", lambda *given: [passes.append(1), scores(*given)][1])
    prompt = PROMPTS[0]
    ((*_, last),) = answers(model, prompts=[prompt], limit=40)
    del passes[:]
    # What says one token only, once it is biased to.
    with torch.no_grad():
        before = model.lm_head.weight[last].clone()
        model.lm_head.weight[last] *= 100
        (loop,) = answers(model, prompts=[prompt], limit=40)
        model.lm_head.weight[last] = before
    assert len({*loop[-20:]}) <= 2
    assert len(passes) < 30


def test_guesses_are_what_came_next_the_last_time() -> None:
    assert guessed([1, 2, 3, 4, 1, 2], 3) == [3, 4, 1]
    assert guessed([1, 2, 3, 1, 2, 5, 1, 2], 1) == [5]
    assert guessed([7, 7, 7], 3) == [7]
    assert guessed([1, 2, 3], 3) == guessed([1], 3) == guessed([1, 2, 3, 4, 1, 2], 0) == []
    assert [right([3, 4, 5], chosen) for chosen in ([3, 4, 5, 6], [3, 9, 5, 6], [1, 4, 5])] == [
        3,
        1,
        0,
    ]


def test_suppressed_tokens_are_not_chosen(model: PreTrainedModel) -> None:
    free = answers(model)
    model.generation_config.suppress_tokens = sorted({token for row in free for token in row[:2]})
    model.generation_config.begin_suppress_tokens = [5]
    ours = answers(model)
    assert ours == generated(model)
    assert not set(model.generation_config.suppress_tokens) & {t for row in ours for t in row}


def test_settings_do_not_reach_rows_without_a_token(model: PreTrainedModel) -> None:
    model.generation_config.repetition_penalty = 3.0
    small = max(token for row in answers(model) for token in row)
    bounded = answers(model, vocabulary=small)
    assert max(token for row in bounded for token in row) < small
    assert model.generation_config.repetition_penalty == 3.0


def test_work_with_settings_is_interrupted_and_checked(model: PreTrainedModel) -> None:
    model.generation_config.repetition_penalty = 1.1
    seen: list[tuple[int, int, str]] = []

    def report(*state: Any) -> None:
        seen.append(state)
        if len(seen) == 3:
            raise Interrupted("enough")

    with pytest.raises(Interrupted):
        answers(model, report=report)
    assert seen[-1] == (3, LIMIT, "answer of base")
    broken = copy.deepcopy(model)
    broken.lm_head.weight[3, 0] = torch.nan
    with pytest.raises(NotFiniteError, match=r"base model .* its output"):
        answers(broken)
