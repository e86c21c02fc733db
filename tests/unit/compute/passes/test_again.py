"""What is too large to keep is computed again, with the same numbers."""

from __future__ import annotations

from contextlib import nullcontext
from functools import partial

import pytest
import torch
from transformers import PreTrainedModel
from twinlens.compute.live.live import trace_pair
from twinlens.compute.pair import Pair
from twinlens.compute.passes import capture as capture_module
from twinlens.compute.passes.capture import NeuronsAgain, PatternsAgain, capture
from twinlens.contract import blocks

from tests.support import tiny
from tests.support.saliency import IDS, PROMPT


@pytest.fixture
def nothing_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(capture_module, "KEPT", 0)


def same_again(model: PreTrainedModel) -> None:
    # Transformers leaves hooks of its own behind where another test asked for hidden states.
    before = [(*module._forward_hooks, *module._forward_pre_hooks) for module in model.modules()]
    kept = capture(model, IDS, PROMPT, side="base")
    again = capture(model, IDS, PROMPT, side="base", again=partial(nullcontext, model))
    assert isinstance(again.attention, PatternsAgain)
    assert isinstance(again.neurons, NeuronsAgain)
    assert len(again.attention) == len(kept.attention)
    for layer in (1, 0, 2):
        torch.testing.assert_close(again.attention[layer], kept.attention[layer], atol=0, rtol=0)
        torch.testing.assert_close(again.neurons[layer], kept.neurons[layer], atol=0, rtol=0)
    assert torch.equal(again.attention[2, 1], kept.attention[2, 1])
    for module, hooks in zip(model.modules(), before, strict=True):
        assert (*module._forward_hooks, *module._forward_pre_hooks) == hooks
        assert "forward" not in module.__dict__


def test_every_layer_alone_equals_the_pass(model: PreTrainedModel, nothing_is_kept: None) -> None:
    same_again(model)


@pytest.mark.parametrize("architecture", ["falcon", "opt", "gptj", "mixtral", "gpt_oss", "cohere2"])
def test_other_kinds_of_layers(architecture: str, nothing_is_kept: None) -> None:
    same_again(tiny.model(architecture))


def test_blocks_are_the_same(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    options = {"instruction": tiny.INSTRUCTION, "response": "shared", "max_new_tokens": 3}
    kept = trace_pair(pair, tiny.PROMPT, **options)
    monkeypatch.setattr(capture_module, "KEPT", 0)
    again = trace_pair(pair, tiny.PROMPT, **options)
    for key in (
        blocks.attention("tuned", 2, 3),
        blocks.head_change(),
        *(blocks.head_sink(side) for side in ("base", "tuned")),
        blocks.head_entropy("base"),
        blocks.head_instruction("tuned"),
        blocks.neuron_activations("base", 1, 7),
    ):
        assert (again.array(key) == kept.array(key)).all()
    assert again.block(blocks.neurons(None, None)) == kept.block(blocks.neurons(None, None))
