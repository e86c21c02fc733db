"""Noise as long as the update: its length, its place, and that nothing of it stays."""

from __future__ import annotations

import math
from contextlib import nullcontext

import numpy as np
import pytest
import torch
from transformers import PreTrainedModel
from twinlens.compute.exchange.null import FEW_DRAWS, _noise, changed_weights, noise_lengths, null
from twinlens.contract.words import SIDES

from tests.support import tiny
from tests.support.saliency import ANSWER, IDS, reading

FREE = {side: nullcontext() for side in SIDES}


def weights(model: PreTrainedModel) -> dict[str, torch.Tensor]:
    return {name: weight.detach().clone() for name, weight in model.named_parameters()}


@pytest.mark.parametrize("tied", [False, True])
def test_the_weights_of_a_pass_are_changed_and_put_back(tied: bool) -> None:
    model = tiny.model("llama", tie_word_embeddings=tied)
    before, seen = weights(model), {}
    handle = model.lm_head.register_forward_hook(
        lambda module, *_: seen.update(head=module.weight.detach().clone())
    )
    ids = torch.tensor([IDS])
    with changed_weights(model, lambda _, weight: weight * 2), torch.no_grad():
        model(ids)
        with pytest.raises(TypeError):
            model.model.layers[0].self_attn.q_proj("no tensor")
    handle.remove()
    assert all(torch.equal(weight, before[name]) for name, weight in weights(model).items())
    assert (model.lm_head.weight is model.model.embed_tokens.weight) == tied
    twice = tiny.model("llama", tie_word_embeddings=tied)
    with torch.no_grad():
        for parameter in twice.parameters():
            parameter *= 2
        expected = twice(ids).logits
        with changed_weights(model, lambda _, weight: weight * 2):
            np.testing.assert_allclose(model(ids).logits, expected, atol=1e-4)


def test_noise_is_as_long_as_the_update_and_the_same_each_time() -> None:
    base = tiny.model("llama")
    tuned = tiny.tuned_copy(base)
    lengths = noise_lengths(base, tuned, FREE)
    pairs = zip(base.parameters(), tuned.parameters(), strict=True)
    update = torch.cat([(other - own).detach().ravel() for own, other in pairs])
    assert math.hypot(*lengths.values()) == pytest.approx(float(update.norm()), rel=1e-5)
    name, weight = next(iter(base.named_parameters()))
    whole = torch.cat([own.detach().ravel() for own in base.parameters()])
    share = float(weight.detach().norm() / whole.norm())
    assert lengths[name] == pytest.approx(float(update.norm()) * share, rel=1e-5)
    change = _noise(lengths, 3)
    noised = change(name, weight.detach())
    assert float((noised - weight).detach().norm()) == pytest.approx(lengths[name], rel=1e-4)
    assert torch.equal(noised, change(name, weight.detach()))
    assert not torch.equal(noised, _noise(lengths, 4)(name, weight.detach()))


def test_a_model_beside_itself_has_no_noise() -> None:
    model = tiny.model("llama")
    found = null(reading(model), reading(model), FREE)
    assert len(found["noise"]) == FEW_DRAWS
    assert all(draw["kl"] == pytest.approx([0] * ANSWER, abs=1e-9) for draw in found["noise"])
    assert 0 < max(found["rounding"]) < 0.1
