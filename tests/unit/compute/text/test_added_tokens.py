"""A tuned model that added tokens for its chats, which base has no embedding for."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from twinlens.compute.live.live import trace_pair
from twinlens.compute.pair import Pair, load_pair
from twinlens.compute.saliency.batch import Attributed, attribute_prompts
from twinlens.compute.text.answers import choose_answers
from twinlens.compute.text.prompt import read_prompt
from twinlens.contract.words import PUBLISHED, Given
from twinlens.errors import AnswerError

from tests.support import tiny
from tests.support.tokenizer_kinds import byte_level, unloaded


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Base of 340 rows; tuned with two more, for the turns of its chat template."""
    place = tmp_path_factory.mktemp("added")
    base_tokenizer, tuned_tokenizer = byte_level(turns=False), byte_level()
    rows = len(base_tokenizer)
    base = tiny.model("llama", vocab_size=rows)
    tuned = tiny.tuned_copy(base)
    tuned.resize_token_embeddings(rows + 2, mean_resizing=False)
    for name, model, tokenizer in (
        ("base", base, base_tokenizer),
        ("tuned", tuned, tuned_tokenizer),
    ):
        model.save_pretrained(place / name)
        tokenizer.save_pretrained(place / name)
    return place / "base", place / "tuned"


@pytest.fixture(scope="module", params=["own tokenizers", "one tokenizer"])
def added(request: pytest.FixtureRequest, folders: tuple[Path, Path]) -> Pair:
    base, tuned = folders
    return load_pair(base, tuned, tokenizer=tuned if request.param == "one tokenizer" else None)


def test_base_reads_a_stand_in_and_it_is_said(added: Pair) -> None:
    trace = trace_pair(added, "Name a city.", template=True, response="tuned", max_new_tokens=4)
    m = trace.manifest
    rows = added.rows("base")
    ids = [token.id for token in m.prompt_tokens]
    assert {token.text for token in m.prompt_tokens if token.id >= rows} == {
        "<|im_start|>",
        "<|im_end|>",
    }
    assert m.pair.note == (
        "base does not know <|im_start|>, <|im_end|> and reads </s> in their place."
    )
    answer = [token.id for token in m.answers["tuned"].tokens]
    stand_in = 1
    read = [token if token < rows else stand_in for token in [*ids, *answer]]
    with added.model("base") as model, torch.no_grad():
        scores = model(torch.tensor([read])).logits[0, len(ids) - 1 : -1].log_softmax(dim=-1)
    np.testing.assert_allclose(
        trace.array("logprob/base"), scores[range(len(answer)), answer], atol=1e-5
    )
    assert np.isfinite(trace.array("saliency/base/gradient_x_input")).all()
    before = next(i for i, token in enumerate(ids[1:]) if token >= rows)
    assert trace.block(f"lens/base/{before}")["target"] == "</s>"
    assert trace.block(f"lens/tuned/{before}")["target"] in ("<|im_start|>", "<|im_end|>")
    assert isinstance(trace.own_answer("base"), str)


def test_an_end_that_only_tuned_knows_is_left_out_of_what_both_read(added: Pair) -> None:
    end = added.rows("base") + 1
    prompt = read_prompt(added, "Name a city.", template=True)
    kind, answers = choose_answers(
        added, prompt, "tuned", {"tuned": [70, 71, end]}, {"tuned": True}
    )
    assert kind == "tuned"
    assert [token.id for token in answers["base"].tokens] == [70, 71]
    assert answers["tuned"].stopped
    own = {"base": [70, 1], "tuned": [70, end]}
    _, answers = choose_answers(added, prompt, "own", own, dict.fromkeys(own, True))
    assert answers["tuned"].tokens[-1].text == "<|im_end|>"
    with pytest.raises(AnswerError, match=r"contains <\|im_end\|>, which base does not know: use"):
        choose_answers(added, prompt, Given("a<|im_end|>"), {}, {})


def test_a_study_reads_the_same(added: Pair) -> None:
    prompt = read_prompt(added, "Name a city.", template=True)
    (found,) = attribute_prompts(added, [prompt], responses="own", max_new_tokens=3)
    assert isinstance(found, Attributed)
    trace = trace_pair(added, "Name a city.", template=True, response="own", max_new_tokens=3)
    for side in ("base", "tuned"):
        np.testing.assert_allclose(
            found.values[side][PUBLISHED],
            trace.array(f"saliency/{side}/gradient_x_input"),
            rtol=1e-4,
            atol=1e-8,
        )


def test_an_embedding_that_was_never_trained_is_said() -> None:
    pair = unloaded(byte_level(), byte_level(turns=False))
    assert read_prompt(pair, "Name", template=True).note == (
        "base's tokenizer does not know <|im_start|>, <|im_end|>: the embedding that base has "
        "there may never have been trained."
    )
    assert read_prompt(pair, "Name").note == ""
