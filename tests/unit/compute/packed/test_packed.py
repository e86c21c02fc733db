"""Which pairs a page runs, and what is refused in one sentence."""

from __future__ import annotations

import pytest
from twinlens.compute.packed.packed_weights import model_sizes, packed_weights
from twinlens.compute.packed.text import packed_template, packed_tokenizer
from twinlens.errors import UnsupportedArchitectureError

from tests.support import tiny, tokenizer_kinds


def test_models_with_biases_or_of_other_families_are_refused() -> None:
    with pytest.raises(UnsupportedArchitectureError, match=r"mine cannot run in a page.*'gpt2'"):
        model_sizes(tiny.model("gpt2"), "mine")
    with pytest.raises(UnsupportedArchitectureError, match="its family is 'qwen2'"):
        model_sizes(tiny.model("qwen2"), "mine")


def test_tokenizers_that_are_not_byte_level_are_refused() -> None:
    with pytest.raises(UnsupportedArchitectureError, match="runs byte-level BPE"):
        packed_tokenizer(tokenizer_kinds.unigram())


def test_every_weight_is_packed_in_two_bytes() -> None:
    model = tiny.model("llama", hidden_size=64, head_dim=16, intermediate_size=96)
    count = sum(weight.numel() for weight in model.parameters())
    assert len(packed_weights(model)) == 2 * count


def test_a_template_is_what_it_puts_around_a_message() -> None:
    template = packed_template(tokenizer_kinds.unigram())
    assert template is not None
    assert template["before"] == "<|im_start|>user\n"
    assert template["behind"] == "<|im_end|>\n<|im_start|>assistant\n"
    assert template["trims"] is False
