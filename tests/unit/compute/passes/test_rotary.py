"""Rotary positions that depend on the length of the text, and how far scaled ones reach."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from transformers import PreTrainedModel
from twinlens.compute.concepts.neurons import neuron_ablation
from twinlens.compute.heads.effects import answer_logprobs, without_heads
from twinlens.compute.live.live import trace_pair
from twinlens.compute.models.architectures import sizes
from twinlens.compute.pair import load_pair
from twinlens.compute.passes.capture import capture
from twinlens.compute.passes.decoding import greedy_answers
from twinlens.compute.passes.reading import Reading
from twinlens.compute.passes.rotary import changes_within, rotary_of
from twinlens.compute.saliency import gradients
from twinlens.compute.saliency.occlusion import read_intact
from twinlens.contract.wire import Array

from tests.support import tiny
from tests.support.saliency import table

LONG = {
    "rope_type": "longrope",
    "rope_theta": 10000.0,
    "short_factor": [1.0] * 4,
    "long_factor": [4.0] * 4,
    "original_max_position_embeddings": 32,
}
DYNAMIC = {"rope_type": "dynamic", "rope_theta": 10000.0, "factor": 4.0}
PROMPT, LENGTH = 20, 52


@pytest.fixture(scope="module", params=["longrope", "dynamic"])
def model(request: pytest.FixtureRequest) -> PreTrainedModel:
    """Reads 32 tokens as they are, and more of them with other frequencies."""
    made = (
        tiny.model(
            "phi3", rope_parameters=LONG, original_max_position_embeddings=32, num_hidden_layers=2
        )
        if request.param == "longrope"
        else tiny.model(
            "llama", rope_parameters=DYNAMIC, max_position_embeddings=32, num_hidden_layers=2
        )
    )
    return made.requires_grad_(False)


def ids() -> list[int]:
    return np.random.default_rng(0).integers(2, 340, LENGTH).tolist()


def plain(model: PreTrainedModel, embedded: Tensor) -> Tensor:
    """Log-probabilities of the answer, read in one pass."""
    logits = model(inputs_embeds=embedded, use_cache=False).logits[0, PROMPT - 1 :]
    answer = torch.tensor(ids()[PROMPT:])[:, None]
    return logits.log_softmax(dim=-1).gather(-1, answer)[:, 0]


@pytest.mark.parametrize("ratio", [1e-9, 1e9], ids=["forward", "reverse"])
def test_answer_longer_than_prompt(
    model: PreTrainedModel, ratio: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gradients, "FORWARD_OVER_REVERSE", ratio)
    embedded = model.get_input_embeddings()(torch.tensor([ids()[:-1]])).requires_grad_()
    scores = plain(model, embedded)
    slopes = [torch.autograd.grad(score, embedded, retain_graph=True)[0] for score in scores]
    expected: Array = (torch.stack(slopes) * embedded).sum(-1)[:, 0, :PROMPT].T.detach().numpy()
    ours = table("gradient_x_input_logprob", Reading(model, ids(), PROMPT))
    np.testing.assert_allclose(ours, expected, atol=1e-4 * np.abs(expected).max())


def test_pieces_have_the_frequencies_of_the_whole(model: PreTrainedModel) -> None:
    rotary = model.model.rotary_emb
    kind = rotary.rope_type
    nothing, places = torch.zeros(()), torch.arange(LENGTH)[None]
    whole = rotary(nothing, places)[0]
    alone = rotary(nothing, places[:, :8])[0]
    assert not torch.allclose(alone, whole[:, :8])
    with rotary_of(model, LENGTH):
        torch.testing.assert_close(rotary(nothing, places[:, :8])[0], whole[:, :8])
    assert rotary.rope_type == kind
    torch.testing.assert_close(rotary(nothing, places[:, :8])[0], alone)


@pytest.mark.parametrize("length", [33, 40])
def test_a_pass_has_those_of_its_own_text(model: PreTrainedModel, length: int) -> None:
    """Whatever was read before, and without the last token, after which nothing is predicted."""
    rotary = model.model.rotary_emb
    read = ids()[:length]
    rotary(torch.zeros(()), torch.zeros(1, 1))
    with torch.no_grad():
        logits = model(torch.tensor([read[:-1]]), use_cache=False).logits[0, PROMPT - 1 :]
        rotary(torch.zeros(()), torch.full((1, 1), 70))
    captured = capture(model, read, PROMPT, side="base")
    torch.testing.assert_close(captured.logprobs, logits.log_softmax(-1), atol=1e-5, rtol=0)


def test_nothing_depends_on_what_was_read_before(model: PreTrainedModel) -> None:
    rotary, text = model.model.rotary_emb, Reading(model, ids(), PROMPT)
    size = model.config.hidden_size // model.config.num_attention_heads
    captured = capture(model, ids(), PROMPT, side="base")

    options = {"stop": (), "limit": 20, "vocabulary": 340, "side": "base"}
    for compute in (
        lambda: answer_logprobs(text),
        lambda: without_heads(text, captured, 1, [2], [torch.zeros(size)]),
        lambda: neuron_ablation(text, 0, 5, range(4)),
        lambda: read_intact(text).logprobs,
        lambda: table("attention_rollout", text),
        lambda: greedy_answers(model, [ids()[:PROMPT]], **options),
    ):
        found = []
        for longest in (0, 70):
            with torch.no_grad():
                rotary(torch.zeros(()), torch.full((1, 1), longest))
            found.append(np.asarray(compute()))
        np.testing.assert_array_equal(*found)


def test_whether_they_change_while_a_text_grows(model: PreTrainedModel) -> None:
    longrope = model.config.model_type == "phi3"
    assert changes_within(model, 28, 40)
    assert not changes_within(model, 20, 32)
    assert changes_within(model, 40, 52) != longrope  # of which there are two sets


def test_a_trace_says_that_they_changed(tmp_path: Path) -> None:
    sides = tiny.save_pair(
        tmp_path, "phi3", rope_parameters=LONG, original_max_position_embeddings=32
    )
    pair = load_pair(*sides)
    for length, response, says in ((3, "shared", False), (24, "shared", True), (3, "own", False)):
        trace = trace_pair(pair, tiny.PROMPT, response=response, max_new_tokens=length)
        assert ("rotary positions" in trace.manifest.pair.note) == says
    given = trace_pair(pair, tiny.PROMPT, answer=" plain words" * 12)
    assert given.manifest.length("tuned") > 33
    assert given.manifest.pair.note == ""


def test_answer_that_crosses_the_length_equals_generate(model: PreTrainedModel) -> None:
    prompts = [ids()[:28], ids()[:5]]
    ours = greedy_answers(model, prompts, stop=[], limit=8, vocabulary=340, side="base")
    model.generation_config.eos_token_id = None
    for prompt, answer in zip(prompts, ours, strict=True):
        made = model.generate(torch.tensor([prompt]), do_sample=False, max_new_tokens=8)
        assert answer == made[0, len(prompt) :].tolist()


@pytest.mark.parametrize(
    ("rope", "reach"),
    [
        ({"rope_type": "default"}, 128),
        ({"rope_type": "linear", "factor": 2.0}, 256),
        ({"rope_type": "dynamic", "factor": 4.0}, 512),
        ({"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 64}, 256),
        ({"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 32}, 128),
        (
            {
                "rope_type": "llama3",
                "factor": 8.0,
                "original_max_position_embeddings": 8,
                "low_freq_factor": 1.0,
                "high_freq_factor": 4.0,
            },
            128,
        ),
    ],
)
def test_scaled_positions_reach_as_far_as_they_say(rope: dict[str, Any], reach: int) -> None:
    config = tiny.config("llama", rope_parameters={"rope_theta": 10000.0, **rope})
    assert sizes(config).positions == reach
