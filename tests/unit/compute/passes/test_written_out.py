"""Backward passes that are written out are those of automatic differentiation, or not taken."""

from __future__ import annotations

import pytest
import torch
from twinlens.compute.models import architectures
from twinlens.compute.passes.folding import Texts
from twinlens.compute.passes.reading import Reading, log_probability
from twinlens.compute.passes.written_out import can_be_written_out, written_out

from tests.support import tiny
from tests.support.saliency import IDS, answer_logits, embed


@pytest.mark.parametrize(
    ("family", "options"),
    [("llama", {}), ("mistral", {"sliding_window": 4}), ("qwen2", {}), ("llama", {"layers": 1})],
)
def test_texts_of_several_lengths(family: str, options: dict[str, int]) -> None:
    named = {"layers": "num_hidden_layers"}
    shape = {named.get(name, name): value for name, value in options.items()}
    model = tiny.model(family, **shape).double()
    assert can_be_written_out(model)
    texts = [(IDS, 8), (IDS[2:9], 4), (IDS[:6], 5), (IDS[1:], 6)]
    together = Texts.together([Reading(model, ids, prompt) for ids, prompt in texts])
    columns = [0, 1, 3]
    whole = written_out(together, log_probability, columns)
    found = whole.backward([2, 0, 1])
    directions = torch.randn_like(together.prompts)
    torch.testing.assert_close(
        whole.slopes([2, 0, 1], directions), (found * directions).sum(dim=-1), rtol=1e-6, atol=1e-9
    )
    assert found.shape == (3, len(texts), 8, model.config.hidden_size)
    for row, (ids, prompt) in enumerate(texts):
        for place, column in enumerate((3, 0, 1)):
            gradient = found[place, row]
            if column >= len(ids) - prompt:
                assert not gradient.any()
                continue
            point = embed(model, ids).requires_grad_()
            said = answer_logits(model, point, prompt)[0, column].log_softmax(dim=-1)
            (expected,) = torch.autograd.grad(said[ids[prompt + column]], point)
            torch.testing.assert_close(
                gradient[8 - prompt :], expected[0, :prompt], rtol=1e-5, atol=1e-6
            )  # norms reckon in single precision
            assert not gradient[: 8 - prompt].any()


@pytest.mark.parametrize("family", ["gpt2", "gemma2", "qwen3", "cohere", "mixtral", "olmo2"])
def test_other_families_are_left_to_automatic_differentiation(family: str) -> None:
    assert not can_be_written_out(tiny.model(family))


def test_what_only_looks_like_it_is_tried_out() -> None:
    hooked = tiny.model("llama")
    architectures.feed_forward_out(hooked, 1).register_forward_hook(lambda *given: 2 * given[2])
    assert not can_be_written_out(hooked)
    assert not can_be_written_out(tiny.model("llama").bfloat16())


def test_what_transformers_leaves_behind_is_in_nobodys_way() -> None:
    model = tiny.model("llama")
    model(torch.tensor([IDS]), output_hidden_states=True)
    assert any(layer._forward_hooks for layer in architectures.layers(model))
    assert can_be_written_out(model)
    handle = architectures.attention_out(model, 0).register_forward_hook(lambda *given: given[2])
    assert not can_be_written_out(model)
    handle.remove()
    assert can_be_written_out(model)
