"""Reading weights layer by layer, from models and from their files."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from torch import nn
from twinlens.compute.models.weights import Weights
from twinlens.errors import HeadIndexError, ModelLoadError, UnsupportedArchitectureError

from tests.support import tiny

FIELDS = ("query", "key", "value", "output", "norm")


def _attention_by_hand(model, layer: int, hidden: torch.Tensor) -> torch.Tensor:
    """Queries of every head at one position, [heads, head_dim], computed from `LayerWeights`."""
    weights = Weights(model).layer(layer)
    return torch.einsum("hdk,k->hd", weights.query * weights.norm, hidden)


@pytest.mark.parametrize("architecture", tiny.ALL)
@pytest.mark.parametrize("max_shard_size", ["5GB", "20KB"])
def test_files_give_what_the_loaded_model_gives(
    tmp_path: Path, architecture: str, max_shard_size: str
) -> None:
    model = tiny.model(architecture)
    model.save_pretrained(tmp_path, max_shard_size=max_shard_size)
    assert (len(list(tmp_path.glob("*.safetensors"))) > 1) == (max_shard_size == "20KB")
    loaded, stored = Weights(model), Weights(tmp_path)
    for layer in range(3):
        for field in FIELDS:
            torch.testing.assert_close(
                getattr(stored.layer(layer), field), getattr(loaded.layer(layer), field)
            )
    torch.testing.assert_close(stored.input_embeddings(), loaded.input_embeddings())
    torch.testing.assert_close(stored.output_embeddings(), loaded.output_embeddings())
    assert stored.input_embeddings().shape == (340, 32)
    # Nothing stays in the skeleton.
    assert all(parameter.is_meta for parameter in stored._model.parameters())


@pytest.mark.parametrize("architecture", ["llama", "gemma2", "phi3"])
def test_norm_and_query_reproduce_what_the_attention_block_computes(architecture: str) -> None:
    model = tiny.model(architecture)
    block = model.model.layers[1]
    hidden = torch.randn(32)
    hidden /= hidden.square().mean().sqrt()  # so that the norm only multiplies by its weight
    seen = {}
    name = "qkv_proj" if architecture == "phi3" else "q_proj"
    module = getattr(block.self_attn, name)
    hook = module.register_forward_hook(lambda _m, _i, out: seen.update(q=out))
    module(block.input_layernorm(hidden[None]))
    hook.remove()
    expected = seen["q"][0]
    got = _attention_by_hand(model, 1, hidden).flatten()
    torch.testing.assert_close(got, expected[: len(got)], rtol=1e-4, atol=1e-4)


def test_single_file_beside_its_configuration(tmp_path: Path) -> None:
    model = tiny.model("llama")
    model.save_pretrained(tmp_path)
    weights = Weights(tmp_path / "model.safetensors")
    torch.testing.assert_close(weights.layer(2).value, Weights(model).layer(2).value)


def test_checkpoint_of_the_headless_model(tmp_path: Path) -> None:
    model = tiny.model("gpt2")
    model.transformer.save_pretrained(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config | {"architectures": ["GPT2Model"]}))
    torch.testing.assert_close(Weights(tmp_path).layer(0).key, Weights(model).layer(0).key)


def test_bad_sources(tmp_path: Path) -> None:
    with pytest.raises(ModelLoadError, match="there is no model folder or file 'nowhere'"):
        Weights(tmp_path / "nowhere")
    with pytest.raises(ModelLoadError, match=r"no \.safetensors file"):
        Weights(tmp_path)
    model = tiny.model("llama")
    model.save_pretrained(tmp_path / "model")
    shutil.copytree(tmp_path / "model", tmp_path / "bare")
    (tmp_path / "bare" / "config.json").unlink()
    with pytest.raises(ModelLoadError, match=r"no config\.json"):
        Weights(tmp_path / "bare")
    (tmp_path / "bare" / "config.json").write_text(
        json.dumps(
            json.loads((tmp_path / "model" / "config.json").read_text()) | {"hidden_size": 64}
        )
    )
    with pytest.raises(ModelLoadError, match="not a plain weight of shape"):
        Weights(tmp_path / "bare").layer(0)
    (tmp_path / "bare" / "model.safetensors").write_bytes(b"no weights")
    with pytest.raises(ModelLoadError, match="no safetensors file"):
        Weights(tmp_path / "bare")
    with pytest.raises(HeadIndexError, match=r"no layer 3: .* has 3 layers"):
        Weights(model).layer(3)


def test_weights_that_are_missing_are_named(tmp_path: Path) -> None:
    model = tiny.model("llama")
    model.save_pretrained(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config | {"num_hidden_layers": 4}))
    with pytest.raises(ModelLoadError, match=r"lacks 'model\.layers\.3\.self_attn"):
        Weights(tmp_path).layer(3)
    packed = nn.Parameter(torch.zeros(32, 16, dtype=torch.uint8), requires_grad=False)
    model.model.layers[1].self_attn.q_proj.weight = packed
    with pytest.raises(UnsupportedArchitectureError, match="are quantised"):
        Weights(model).layer(1)
    del model.model.layers[0].self_attn.k_proj
    with pytest.raises(UnsupportedArchitectureError, match="lacks an attention weight"):
        Weights(model).layer(0)
