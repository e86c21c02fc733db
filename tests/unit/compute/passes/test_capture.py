"""What is captured equals what transformers itself reports, for every architecture."""

from __future__ import annotations

import pytest
import torch
from transformers import PreTrainedModel
from twinlens.compute.models import architectures
from twinlens.compute.passes.capture import capture
from twinlens.compute.passes.decoding import greedy_answers
from twinlens.errors import Interrupted, NotFiniteError

from tests.support import tiny

IDS = [0, 300, 17, 45, 260, 310, 45, 99, 300, 17, 200, 5]
PROMPT = 8


def test_attention_equals_output_attentions(model: PreTrainedModel) -> None:
    kept = capture(model, IDS, PROMPT, side="base", attention_dtype=torch.float32)
    model.set_attn_implementation("eager")
    with torch.no_grad():
        reference = model(torch.tensor([IDS]), output_attentions=True).attentions
    assert len(reference) == len(kept.attention) == 3
    for ours, theirs in zip(kept.attention, reference, strict=True):
        torch.testing.assert_close(ours, theirs[0], atol=1e-6, rtol=0)
    rows = torch.stack(list(kept.attention)).sum(dim=-1)
    torch.testing.assert_close(rows, torch.ones_like(rows), atol=1e-6, rtol=0)


def test_half_precision_patterns_stay_within_the_stated_error(model: PreTrainedModel) -> None:
    exact = capture(model, IDS, PROMPT, side="base", attention_dtype=torch.float32).attention
    kept = capture(model, IDS, PROMPT, side="base").attention
    for ours, layer in zip(kept, exact, strict=True):
        assert ours.dtype == torch.float16
        assert ((ours.float() - layer).abs() <= layer / 2048 + 6e-8).all()


def test_residual_and_predictions_equal_the_plain_model(model: PreTrainedModel) -> None:
    kept = capture(model, IDS, PROMPT, side="base")
    model.set_attn_implementation("eager")
    with torch.no_grad():
        plain = model(torch.tensor([IDS]), output_hidden_states=True)
    for ours, theirs in zip(kept.residual[:-1], plain.hidden_states[:-1], strict=True):
        torch.testing.assert_close(ours, theirs[0], atol=1e-6, rtol=1e-5)
    # transformers' last hidden state is normed already; ours is not.
    normed = architectures.final_norm(model)(kept.residual[-1])
    torch.testing.assert_close(normed, plain.hidden_states[-1][0], atol=1e-6, rtol=1e-5)
    expected = plain.logits[0, PROMPT - 1 : -1].log_softmax(dim=-1)
    torch.testing.assert_close(kept.logprobs, expected, atol=1e-5, rtol=0)


def test_model_is_left_as_it_was() -> None:
    model = tiny.model("llama")
    model.set_attn_implementation("sdpa")
    with torch.no_grad():
        before = model(torch.tensor([IDS])).logits
    capture(model, IDS, PROMPT, side="base")
    assert model.config._attn_implementation == "sdpa"
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())
    with torch.no_grad():
        torch.testing.assert_close(model(torch.tensor([IDS])).logits, before, atol=0, rtol=0)


def test_model_is_restored_after_an_error() -> None:
    model = tiny.model("llama")
    model.set_attn_implementation("sdpa")
    with pytest.raises(IndexError):
        capture(model, [0, 10_000], 1, side="base")
    assert model.config._attn_implementation == "sdpa"
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())


def test_sdpa_and_eager_models_give_the_same_capture() -> None:
    model = tiny.model("llama")
    model.set_attn_implementation("eager")
    eager = capture(model, IDS, PROMPT, side="base")
    model.set_attn_implementation("sdpa")
    sdpa = capture(model, IDS, PROMPT, side="base")
    assert torch.equal(eager.attention.packed, sdpa.attention.packed)
    assert torch.equal(eager.residual, sdpa.residual)


@pytest.mark.parametrize(("layer", "where"), [(0, "layer 0"), (2, "layer 2")])
def test_numbers_that_are_not_finite_name_the_layer(layer: int, where: str) -> None:
    model = tiny.model("llama")
    with torch.no_grad():
        architectures.feed_forward_out(model, layer).weight[0, 0] = torch.nan
    with pytest.raises(NotFiniteError, match=f"tuned model .* {where}:"):
        capture(model, IDS, PROMPT, side="tuned")


def test_greedy_answer_equals_generate(model: PreTrainedModel) -> None:
    model.set_attn_implementation("eager")
    (ours,) = greedy_answers(model, [IDS], stop=[], limit=9, vocabulary=340, side="base")
    theirs = model.generate(
        torch.tensor([IDS]), do_sample=False, max_new_tokens=9, min_new_tokens=9, eos_token_id=None
    )
    assert ours == theirs[0, len(IDS) :].tolist()


def test_answer_stops_at_and_keeps_the_stop_token() -> None:
    model = tiny.model("llama")
    (free,) = greedy_answers(model, [IDS], stop=[], limit=6, vocabulary=340, side="base")
    stop = free[3]
    (stopped,) = greedy_answers(model, [IDS], stop=[stop], limit=6, vocabulary=340, side="base")
    assert stopped == free[: free.index(stop) + 1]


def test_answer_never_uses_padding_of_the_vocabulary() -> None:
    model = tiny.model("llama")
    (free,) = greedy_answers(model, [IDS], stop=[], limit=4, vocabulary=340, side="base")
    small = max(free)
    (bounded,) = greedy_answers(model, [IDS], stop=[], limit=4, vocabulary=small, side="base")
    assert max(bounded) < small


def test_answer_can_be_interrupted() -> None:
    def report(done: int, _total: int, _what: str) -> None:
        if done == 2:
            raise Interrupted("enough")

    with pytest.raises(Interrupted):
        greedy_answers(
            tiny.model("llama"), [IDS], stop=[], limit=5, vocabulary=340, side="base", report=report
        )
