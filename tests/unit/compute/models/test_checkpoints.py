"""A checkpoint gives the weights of its model, under whatever names, or is refused."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from twinlens.compute.models import architectures
from twinlens.compute.models.weights import Weights
from twinlens.compute.pair import load_pair
from twinlens.errors import ModelLoadError

from tests.support import tiny

Stored = dict[str, Tensor]


@pytest.fixture(scope="module")
def untied(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("untied")
    tiny.model("llama", tie_word_embeddings=False).save_pretrained(folder)
    tiny.tokenizer().save_pretrained(folder)
    return folder


def rewritten(folder: Path, to: Path, change: Callable[[Stored], Stored]) -> Path:
    """The folder with its tensors changed."""
    copied = shutil.copytree(folder, to)
    stored = load_file(copied / "model.safetensors")
    changed = {name: value.clone() for name, value in change(stored).items()}
    save_file(changed, copied / "model.safetensors", metadata={"format": "pt"})
    return copied


@pytest.mark.parametrize(
    "rename",
    [
        lambda name: f"_orig_mod.{name}",
        lambda name: f"module._orig_mod.{name}",
        lambda name: name.replace("layers.1.", "layers.1._orig_mod."),
        lambda name: f"_fsdp_wrapped_module.{name}".replace(
            "layers.1.", "layers.1._fsdp_wrapped_module._checkpoint_wrapped_module."
        ),
    ],
)
def test_names_from_training_are_read(
    untied: Path, tmp_path: Path, rename: Callable[[str], str]
) -> None:
    tuned = rewritten(untied, tmp_path / "t", lambda s: {rename(k): v for k, v in s.items()})
    expected = load_file(untied / "model.safetensors")["model.layers.1.self_attn.q_proj.weight"]
    with load_pair(untied, tuned).model("tuned") as model:
        torch.testing.assert_close(model.model.layers[1].self_attn.q_proj.weight, expected)
    from_file = Weights(tuned).layer(1).query.flatten(0, 1)
    torch.testing.assert_close(from_file, expected)


def adapted(stored: Stored) -> Stored:
    name = "model.layers.0.self_attn.q_proj."
    stored[f"{name}base_layer.weight"] = stored.pop(f"{name}weight")
    return stored | {f"{name}lora_A.default.weight": torch.ones(4, 32)}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda s: {k: v for k, v in s.items() if "layers.0.self_attn.q_proj" not in k},
            r"lacks 'model\.layers\.0\.self_attn\.q_proj\.weight'.*; it is incomplete",
        ),
        (
            lambda s: {f"student.{k}": v for k, v in s.items()},
            r"lacks 'lm_head\.weight'.* and 27 more.*names, such as 'student\.lm_head",
        ),
        (adapted, r"lacks 'model\.layers\.0\.self_attn\.q_proj\.weight'.*adapter in it: merge it"),
        (
            lambda s: s | {"model.layers.0.self_attn.q_proj.lora_A.weight": torch.ones(4, 32)},
            r"no place for '.*lora_A\.weight'; it was saved with an adapter",
        ),
        (
            lambda s: s | {"model.layers.0.mlp.up_proj.weight_scale": torch.ones(1)},
            r"no place for '.*weight_scale'; its weights are quantised",
        ),
        (
            lambda s: s | {"model.layers.0.self_attn.q_proj.bias": torch.ones(32)},
            r"no place for 'model\.layers\.0\.self_attn\.q_proj\.bias'",
        ),
    ],
    ids=["missing", "other names", "not merged", "adapter beside", "scales", "bias"],
)
def test_weights_are_never_made_up(
    untied: Path, tmp_path: Path, change: Callable[[Stored], Stored], message: str
) -> None:
    tuned = rewritten(untied, tmp_path / "t", change)
    with pytest.raises(ModelLoadError, match=message) as caught:
        load_pair(untied, tuned)
    assert "\n" not in str(caught.value)


def test_a_missing_unembedding_that_is_not_tied(untied: Path, tmp_path: Path) -> None:
    def change(stored: Stored) -> Stored:
        return {name: value for name, value in stored.items() if name != "lm_head.weight"}

    tuned = rewritten(untied, tmp_path / "t", change)
    for read in (lambda: load_pair(untied, tuned), lambda: Weights(tuned).output_embeddings()):
        with pytest.raises(ModelLoadError, match=r"lacks 'lm_head\.weight'"):
            read()


def test_another_shape(untied: Path, tmp_path: Path) -> None:
    def change(stored: Stored) -> Stored:
        return stored | {"model.layers.0.self_attn.k_proj.weight": torch.ones(8, 32)}

    tuned = rewritten(untied, tmp_path / "t", change)
    with pytest.raises(ModelLoadError, match=r"k_proj\.weight' has another shape than its config"):
        load_pair(untied, tuned)


def test_what_a_model_does_not_need_may_be_there(untied: Path, tmp_path: Path) -> None:
    def change(stored: Stored) -> Stored:
        extra = ("model.layers.0.self_attn.rotary_emb.inv_freq", "model.layers.0.self_attn.k_scale")
        heads = ("score.weight", "model.layers.3.eh_proj.weight")
        return stored | dict.fromkeys([*extra, *heads], torch.ones(1))

    load_pair(untied, rewritten(untied, tmp_path / "t", change))


@pytest.mark.parametrize("given", ["lm_head.weight", "model.embed_tokens.weight"])
def test_tied_embeddings_stored_once_under_either_name(
    untied: Path, tmp_path: Path, given: str
) -> None:
    def change(stored: Stored) -> Stored:
        other = {"lm_head.weight", "model.embed_tokens.weight"} - {given}
        return {name: value for name, value in stored.items() if name not in other}

    tuned = rewritten(untied, tmp_path / "t", change)
    tie(tuned)
    with load_pair(untied, tuned).model("tuned") as model:
        torch.testing.assert_close(
            Weights(tuned).output_embeddings(), architectures.unembedding(model)
        )
        torch.testing.assert_close(
            Weights(tuned).input_embeddings(), model.get_input_embeddings().weight
        )


def test_two_embeddings_under_a_flag_that_ties_them(untied: Path, tmp_path: Path) -> None:
    tuned = tie(shutil.copytree(untied, tmp_path / "t"))
    stored = load_file(untied / "model.safetensors")
    with load_pair(untied, tuned).model("tuned") as model:
        for unembedding in (architectures.unembedding(model), Weights(tuned).output_embeddings()):
            torch.testing.assert_close(unembedding, stored["lm_head.weight"])


def tie(folder: Path) -> Path:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"tie_word_embeddings": True}))
    return folder


def test_eight_bit_floats_in_blocks_are_unpacked(untied: Path, tmp_path: Path) -> None:
    """As DeepSeek and Qwen publish them; without a GPU transformers unpacks them."""
    block = 16

    def pack(stored: Stored) -> Stored:
        changed: Stored = {}
        for name, value in stored.items():
            changed[name] = value
            if "_proj" in name:
                blocks = value.unflatten(1, (-1, block)).unflatten(0, (-1, block))
                scales = blocks.abs().amax(dim=(1, 3)) / 448
                packed = (blocks / scales[:, None, :, None]).to(torch.float8_e4m3fn)
                changed[name] = packed.reshape(value.shape)
                changed[name.replace("weight", "weight_scale_inv")] = scales
        return changed

    folder = rewritten(untied, tmp_path / "fp8", pack)
    config = json.loads((folder / "config.json").read_text())
    config["quantization_config"] = {
        "quant_method": "fp8",
        "weight_block_size": [block, block],
        "activation_scheme": "dynamic",
        "modules_to_not_convert": ["lm_head"],
    }
    (folder / "config.json").write_text(json.dumps(config))
    name = "model.layers.1.mlp.down_proj"
    with load_pair(untied, folder).model("tuned") as model:
        assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}
        weight = model.get_submodule(name).weight
    expected = load_file(untied / "model.safetensors")[f"{name}.weight"]
    assert 0 < (weight - expected).norm() < 0.05 * expected.norm()
