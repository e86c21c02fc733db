"""Log-probabilities by parts of the vocabulary against those of all logits at once."""

from __future__ import annotations

import pytest
import torch
from twinlens.compute.models import architectures
from twinlens.compute.passes import answer_scores
from twinlens.compute.passes.answer_scores import logprobs

from tests.support import tiny

PLACES = 7


@pytest.mark.parametrize("size", [1, 30])
# As they are, multiplied, divided, with a bound, and in half the precision.
@pytest.mark.parametrize("name", ["llama", "cohere", "granite", "gemma2", "bfloat16"])
def test_they_are_those_of_all_logits(
    name: str, size: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(answer_scores, "_TOKENS", 100)
    monkeypatch.setattr(answer_scores, "_PLACES", 3)
    monkeypatch.setattr(answer_scores, "_OF_FEW", 1)
    monkeypatch.setattr(answer_scores, "_OF_FEW_HALVES", 1)
    model = tiny.model("llama" if name == "bfloat16" else name)
    if name == "bfloat16":
        model.to(torch.bfloat16)
    hidden = architectures.sizes(model.config).hidden
    states = (size * torch.randn(PLACES, hidden)).to(model.dtype)
    with torch.no_grad():
        logits = architectures.scores(model, states)
    # The likeliest ones, which are next to certain where states are large, and any others.
    targets = logits.argmax(dim=-1)
    targets[1], targets[2], targets[3] = 0, 339, 100
    expected = logits.double().log_softmax(dim=-1).gather(-1, targets[:, None])[:, 0]
    ours = logprobs(model, states, targets)
    assert ours.dtype == torch.float32
    scale = logits.abs().max().item()
    near = 2e-2 if name == "bfloat16" else 1e-6
    torch.testing.assert_close(ours.double(), expected, atol=near * scale, rtol=near)
    if size > 1 and name == "llama":
        certain = (expected > -1e-3) & (expected < -1e-30)
        assert bool(certain.any())
        # Little is lost of what is missing to certainty, however large the logits.
        torch.testing.assert_close(ours.double()[certain], expected[certain], atol=1e-9, rtol=1e-2)


def test_an_unembedding_that_somebody_listens_to_is_called() -> None:
    model = tiny.model("llama")
    states, targets = torch.randn(PLACES, 32), torch.arange(PLACES)
    before = logprobs(model, states, targets)
    head = architectures.output_embeddings(model)
    handle = head.register_forward_hook(lambda _, __, scores: scores.flip(-1))
    after = logprobs(model, states, targets)
    handle.remove()
    torch.testing.assert_close(after, logprobs(model, states, 339 - targets))
    torch.testing.assert_close(before, logprobs(model, states, targets))
    assert not torch.allclose(before, after)
