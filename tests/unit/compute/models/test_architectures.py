"""The table points at the right weights: the blocks can be rebuilt from them."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import PretrainedConfig, PreTrainedModel
from twinlens.compute.models import architectures
from twinlens.compute.passes.capture import Capture, capture
from twinlens.errors import UnsupportedArchitectureError

from tests.support import tiny

IDS = [0, 300, 17, 45, 260, 310, 45, 99]


def _bias(module: Any) -> Tensor | float:
    return 0.0 if getattr(module, "bias", None) is None else module.bias.detach()


def _kept(model: PreTrainedModel) -> tuple[Capture, list[Tensor]]:
    """A capture, and what goes into the attention block of each layer."""
    inputs: list[Tensor] = []
    parts = architectures.architecture_of(model.config)
    handles = [
        layer.get_submodule(parts.query_key_value[0]).register_forward_pre_hook(
            lambda _, arguments: inputs.append(arguments[0].detach()[0])
        )
        for layer in architectures.layers(model)
    ]
    kept = capture(model, IDS, 4, side="base", attention_dtype=torch.float32)
    for handle in handles:
        handle.remove()
    return kept, inputs


def test_attention_block_is_rebuilt_from_patterns_and_weights(model: PreTrainedModel) -> None:
    kept, inputs = _kept(model)
    shape = architectures.sizes(model.config)
    for layer, into in enumerate(inputs):
        _, _, value = architectures.head_weights(model, layer)
        value = value.repeat_interleave(shape.heads // shape.kv_heads, dim=0)
        out = architectures.output_weights(model, layer)
        # Biases of the fused projection, where a family has one.
        parts = architectures.architecture_of(model.config)
        module = architectures.layers(model)[layer].get_submodule(parts.query_key_value[-1])
        bias = _value_bias(module, parts.fused, shape)
        values = torch.einsum("td,hkd->htk", into, value) + bias[:, None]
        heads = kept.attention[layer] @ values
        torch.testing.assert_close(
            kept.heads[layer].unflatten(-1, (shape.heads, -1)).transpose(0, 1),
            heads,
            atol=1e-5,
            rtol=1e-4,
        )
        rebuilt = torch.einsum("htk,hdk->td", heads, out)
        rebuilt = rebuilt + _bias(architectures.attention_out(model, layer))
        torch.testing.assert_close(kept.attention_out[layer], rebuilt, atol=1e-5, rtol=1e-4)


def _value_bias(module: Any, fused: str, shape: architectures.Sizes) -> Tensor:
    bias = _bias(module)
    if isinstance(bias, float):
        return torch.zeros(shape.heads, 1)
    if fused == "interleaved":
        return bias.reshape(shape.heads, 3, -1)[:, 2]
    if fused == "stacked":
        bias = bias[-shape.kv_heads * (len(bias) // (shape.heads + 2 * shape.kv_heads)) :]
    per_head = bias.reshape(shape.kv_heads, -1)
    return per_head.repeat_interleave(shape.heads // shape.kv_heads, dim=0)


@pytest.mark.parametrize(
    "architecture", ["llama", "mistral", "gemma", "gemma2", "phi3", "gpt2", "gpt_neox"]
)
def test_query_and_key_weights_give_the_scores(architecture: str) -> None:
    """Rotary position turns nothing at position 0 (families that do not norm queries and keys)."""
    zero_bias = tiny.model(architecture)
    with torch.no_grad():
        for name, parameter in zero_bias.named_parameters():
            if name.endswith("bias"):
                parameter.zero_()
    seen: list[tuple[Tensor, Tensor]] = []
    module = __import__("sys").modules[type(zero_bias).__module__]
    eager = module.eager_attention_forward

    def watch(owner: Any, query: Tensor, key: Tensor, *rest: Any, **named: Any) -> Any:
        seen.append((query[0, :, 0], key[0, :, 0]))
        return eager(owner, query, key, *rest, **named)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "eager_attention_forward", watch)
        _, inputs = _kept(zero_bias)
    for layer, into in enumerate(inputs):
        query, key, _ = architectures.head_weights(zero_bias, layer)
        torch.testing.assert_close(query @ into[0], seen[layer][0], atol=1e-5, rtol=1e-4)
        torch.testing.assert_close(key @ into[0], seen[layer][1], atol=1e-5, rtol=1e-4)


def test_feed_forward_is_rebuilt_from_neurons_and_value_vectors(model: PreTrainedModel) -> None:
    kept, _ = _kept(model)
    shape = architectures.sizes(model.config)
    for layer in range(shape.layers):
        values = architectures.value_vectors(model, layer)
        assert values.shape == (shape.intermediate, shape.hidden)
        rebuilt = kept.neurons[layer] @ values
        rebuilt = rebuilt + _bias(architectures.feed_forward_out(model, layer))
        torch.testing.assert_close(kept.feed_forward_out[layer], rebuilt, atol=1e-5, rtol=1e-4)


def test_logits_of_the_last_residual_are_the_models_own(model: PreTrainedModel) -> None:
    kept, _ = _kept(model)
    with torch.no_grad():
        ours = architectures.logits(model, kept.residual[-1])
        model.set_attn_implementation("eager")
        theirs = model(torch.tensor([IDS])).logits[0]
    torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-4)
    assert architectures.unembedding(model).shape == (340, 32)


def test_attention_norm_is_in_front_of_the_attention(model: PreTrainedModel) -> None:
    kept, inputs = _kept(model)
    name = architectures.architecture_of(model.config).attention_norm
    for layer, into in enumerate(inputs):
        before = kept.residual[layer]
        if name:
            before = architectures.layers(model)[layer].get_submodule(name)(before).detach()
        torch.testing.assert_close(before, into, atol=1e-6, rtol=1e-5)


def test_soft_cap_of_the_logits_is_applied() -> None:
    model = tiny.model("gemma2", final_logit_softcapping=0.5)
    assert model(torch.tensor([IDS])).logits.abs().max() <= 0.5
    kept, _ = _kept(model)
    assert architectures.logits(model, kept.residual[-1]).abs().max() <= 0.5


def test_unknown_architecture_is_named() -> None:
    config = PretrainedConfig()
    config.model_type = "mamba"
    with pytest.raises(
        UnsupportedArchitectureError,
        match="'mamba' cannot be shown, because none of",
    ):
        architectures.architecture_of(config)
