"""Which pairs a page runs, and what is refused in one sentence."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import twinlens
from twinlens.compute.packed import packed_pair
from twinlens.compute.packed.packed_pair import (
    model_sizes,
    packed_template,
    packed_tokenizer,
    packed_weights,
)
from twinlens.errors import UnsupportedArchitectureError

from tests.support import tiny, tokenizer_kinds


def test_models_with_biases_or_of_other_families_are_refused() -> None:
    with pytest.raises(UnsupportedArchitectureError, match=r"mine cannot run in a page.*'gpt2'"):
        model_sizes(tiny.model("gpt2"), "mine")
    with pytest.raises(UnsupportedArchitectureError, match="its family is 'qwen2'"):
        model_sizes(tiny.model("qwen2"), "mine")


SHAPE = {"hidden_size": 64, "head_dim": 16, "intermediate_size": 96}


@pytest.mark.parametrize(
    ("family", "changes", "reason"),
    [
        ("mistral", {"sliding_window": 8}, "its attention has a sliding window"),
        ("llama", {"hidden_act": "gelu"}, "its feed-forward layers use 'gelu'"),
        ("llama", {"attention_bias": True}, "it has other weights, such as .*bias"),
        ("llama", {"intermediate_size": 100}, "its sizes are no multiples of 8"),
        ("llama", {"head_dim": 24}, "or those of its heads of 16"),
        (
            "llama",
            {"rope_parameters": {"rope_type": "dynamic", "rope_theta": 1e4, "factor": 2.0}},
            "its rotary positions are of the kind 'dynamic'",
        ),
    ],
)
def test_each_reason_for_which_a_model_is_refused_is_said(family, changes, reason) -> None:
    model = tiny.model(family, **(SHAPE | changes))
    with pytest.raises(UnsupportedArchitectureError, match=f"^mine cannot run in a page.*{reason}"):
        model_sizes(model, "mine")


def test_models_too_large_for_a_page_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    model = tiny.model("llama", **SHAPE)
    with torch.no_grad():
        model.model.norm.weight[0] = 1e6
    with pytest.raises(UnsupportedArchitectureError, match="do not fit into half precision"):
        model_sizes(model, "mine")
    monkeypatch.setattr(packed_pair, "MOST_PARAMETERS", 1000)
    with pytest.raises(UnsupportedArchitectureError, match=r"it has 0\.\d million parameters"):
        model_sizes(model, "mine")


def test_two_models_of_different_shape_are_refused(tmp_path: Path) -> None:
    for name, theta in (("base", 1e4), ("tuned", 1e5)):
        made = tiny.model("llama", **SHAPE)
        made.config.rope_parameters["rope_theta"] = theta
        made.save_pretrained(tmp_path / name)
        tiny.tokenizer().save_pretrained(tmp_path / name)
    pair = twinlens.load_pair(tmp_path / "base", tmp_path / "tuned")
    with pytest.raises(UnsupportedArchitectureError, match="two models of one shape"):
        twinlens.live_page(tmp_path / "page.html", pair)
    assert not (tmp_path / "page.html").exists()


def test_tokenizers_that_are_not_byte_level_are_refused() -> None:
    with pytest.raises(UnsupportedArchitectureError, match="runs byte-level BPE"):
        packed_tokenizer(tokenizer_kinds.unigram())


def test_every_weight_is_packed_in_two_bytes() -> None:
    model = tiny.model("llama", **SHAPE)
    count = sum(weight.numel() for weight in model.parameters())
    assert len(packed_weights(model)) == 2 * count


def test_a_template_is_what_it_puts_around_a_message() -> None:
    template = packed_template(tokenizer_kinds.unigram())
    assert template is not None
    assert template["before"] == "<|im_start|>user\n"
    assert template["behind"] == "<|im_end|>\n<|im_start|>assistant\n"
    assert template["trims"] is False
