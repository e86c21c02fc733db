"""PEFT adapters: one base in memory, numbers of the merged model."""

from __future__ import annotations

import json
import pickle
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from huggingface_hub import constants
from peft import (
    IA3Config,
    LNTuningConfig,
    LoraConfig,
    OFTConfig,
    PeftConfig,
    PromptTuningConfig,
    get_peft_model,
)
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM
from twinlens.api import word_pairs
from twinlens.compute.live.live import trace_pair
from twinlens.compute.models import architectures
from twinlens.compute.models.weights import Weights
from twinlens.compute.pair import Pair, load_pair
from twinlens.contract.words import SIDES
from twinlens.errors import ArgumentError, ModelLoadError

from tests.support import tiny

LORA = LoraConfig(r=4, target_modules=["q_proj", "v_proj", "o_proj", "down_proj"])
KINDS: dict[str, PeftConfig] = {
    "lora": LORA,
    "dora": LoraConfig(r=4, use_dora=True, target_modules=["q_proj", "o_proj", "down_proj"]),
    "trained whole": LoraConfig(
        r=4, target_modules=["down_proj"], modules_to_save=["lm_head", "embed_tokens"]
    ),
    "new tokens": LoraConfig(
        r=4, target_modules=["o_proj"], trainable_token_indices={"embed_tokens": [1, 5]}
    ),
    "biases": LoraConfig(r=4, target_modules=["q_proj", "down_proj"], bias="all"),
    "pissa": LoraConfig(r=4, target_modules=["q_proj", "down_proj"], init_lora_weights="pissa"),
    "ia3": IA3Config(target_modules=["k_proj", "down_proj"], feedforward_modules=["down_proj"]),
    "oft": OFTConfig(r=0, oft_block_size=4, target_modules=["q_proj", "down_proj"]),
    "norms": LNTuningConfig(target_modules=["input_layernorm", "norm"]),
}
#: These change weights of the base for good, and get a copy of their own.
APART = ("biases", "pissa")
KEYS = ("heads/change", "saliency/tuned/gradient_x_input", "shift/residual", "heads/circuits")


def adapt(folder: Path, base: Path, config: PeftConfig) -> Any:
    """Write a random adapter over a model folder, and give the model with it."""
    torch.manual_seed(0)
    model = get_peft_model(AutoModelForCausalLM.from_pretrained(base), config)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.requires_grad:
                size = 0.05 if "magnitude" in name or parameter.ndim < 2 else 0.2
                parameter.add_(torch.randn_like(parameter) * size)
    model.save_pretrained(folder)
    return model.eval()


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models") / "base"
    tiny.model("llama", attention_bias=True).save_pretrained(folder)
    tiny.tokenizer().save_pretrained(folder)
    return folder


def merged_pair(adapted: Any, base: Path, folder: Path) -> Pair:
    merged = adapted.merge_and_unload()
    merged.save_pretrained(folder)
    tiny.tokenizer().save_pretrained(folder)
    return load_pair(base, folder)


@pytest.mark.parametrize("kind", KINDS)
def test_an_adapter_gives_what_the_merged_model_gives(
    base: Path, tmp_path: Path, kind: str
) -> None:
    adapted = adapt(tmp_path / "adapter", base, KINDS[kind])
    pair = load_pair(base, tmp_path / "adapter")
    reference = merged_pair(adapted, base, tmp_path / "merged")
    assert (pair._resident["base"] is pair._resident["tuned"]) == (kind not in APART)
    for side in (*SIDES, "tuned"):
        with pair.model(side) as ours, reference.model(side) as theirs:
            for layer in range(3):
                expected = architectures.value_vectors(theirs, layer)
                torch.testing.assert_close(
                    architectures.value_vectors(ours, layer), expected, atol=1e-5, rtol=1e-5
                )
            for matrix in ("input_embeddings", "output_embeddings"):
                torch.testing.assert_close(
                    getattr(Weights(ours), matrix)(), getattr(Weights(theirs), matrix)()
                )
            ids = torch.arange(12)[None]
            with torch.no_grad():
                torch.testing.assert_close(
                    ours(ids).logits, theirs(ids).logits, atol=2e-5, rtol=1e-4
                )
    traces = [
        trace_pair(p, tiny.PROMPT, response=" plain", max_new_tokens=3) for p in (pair, reference)
    ]
    for key in KEYS:
        ours, theirs = (trace.array(key) for trace in traces)
        np.testing.assert_allclose(ours, theirs, atol=2e-3 * np.abs(theirs).max(), err_msg=key)
    if kind == "new tokens":
        noise = [trace.block("null")["scrambled"] for trace in traces]
        np.testing.assert_allclose(*noise, rtol=1e-2, atol=1e-5)
    if kind == "lora":
        shares = [
            {(b["kind"], b["layer"]): b["share"] for b in trace.block("carried/answer")["blocks"]}
            for trace in traces
        ]
        assert shares[0] == pytest.approx(shares[1], abs=1e-3)


def test_one_base_in_memory(base: Path, tmp_path: Path) -> None:
    adapted = adapt(tmp_path / "adapter", base, LORA)
    shutil.copy(base / "config.json", tmp_path / "adapter")  # as some trainers leave it there
    pair = load_pair(base, tmp_path / "adapter")
    extra = sum(p.numel() for n, p in adapted.named_parameters() if "lora_" in n)
    assert pair.info.base.parameters == load_pair(base, base).info.base.parameters
    assert pair.info.tuned.parameters == pair.info.base.parameters + extra
    with pair.model("tuned") as model:
        assert sum(p.numel() for p in model.parameters()) == pair.info.tuned.parameters
    assert pair.info.tuned.name == "adapter"
    assert pair.info.tuned.revision.startswith(f"{pair.info.base.revision}+sha256:")
    assert pair.info.note == ""
    # Its base is found by its configuration, where it is not given.
    other = load_pair(tmp_path / "adapter", base)
    ids = torch.arange(9)[None]
    with pair.model("tuned") as tuned, torch.no_grad():
        expected = tuned(ids).logits
    with other.model("base") as adapter, torch.no_grad():
        torch.testing.assert_close(adapter(ids).logits, expected, atol=0, rtol=0)
    alone = load_pair(tmp_path / "adapter")
    assert alone.info == pair.info
    assert alone._resident["base"] is alone._resident["tuned"]
    elsewhere = shutil.copytree(base, tmp_path / "elsewhere")
    assert "was trained over" in load_pair(elsewhere, tmp_path / "adapter").info.note


def test_a_model_with_an_adapter_in_memory(base: Path, tmp_path: Path) -> None:
    adapted = adapt(tmp_path / "adapter", base, LORA)
    inner = adapted.get_base_model()
    trainable = [p.requires_grad for p in adapted.parameters()]
    ids = torch.arange(9)[None]
    with torch.no_grad():
        on = adapted(ids).logits
        with adapted.disable_adapter():
            off = adapted(ids).logits
    pair = load_pair(inner, adapted, tokenizer=base)
    from_files = load_pair(base, tmp_path / "adapter")
    for side, expected in (("base", off), ("tuned", on), ("base", off)):
        with pair.model(side) as model, torch.no_grad():
            torch.testing.assert_close(model(ids).logits, expected, atol=1e-5, rtol=1e-4)
        assert (getattr(pair.info, side).parameters) == getattr(from_files.info, side).parameters
    assert pair.info.base.revision != pair.info.tuned.revision
    assert load_pair(adapted, tokenizer=base).info == pair.info
    alone = AutoModelForCausalLM.from_pretrained(base)
    assert load_pair(alone, adapted, tokenizer=base).info.base.revision == pair.info.base.revision
    np.testing.assert_allclose(
        pair.head_weights.circuits()[..., 2],
        from_files.head_weights.circuits()[..., 2],
        rtol=1e-5,
    )
    assert [p.requires_grad for p in adapted.parameters()] == trainable
    with torch.no_grad():
        assert torch.equal(adapted(ids).logits, on)


def test_weights_are_read_layer_by_layer_from_either_side(base: Path, tmp_path: Path) -> None:
    adapted = adapt(tmp_path / "adapter", base, LORA)
    reference = merged_pair(adapted, base, tmp_path / "merged")
    words = ["plain", "words", "sentence", "garden", "dog", "the"]
    ours, theirs = (
        pair.word_pairs(words, top=2, cache=False)
        for pair in (load_pair(base, tmp_path / "adapter"), reference)
    )
    for side in SIDES:
        assert len(getattr(ours, side).layers) == 3
        for layer, found in getattr(ours, side).layers.items():
            for field, value in vars(found).items():
                expected = vars(getattr(theirs, side).layers[layer])[field]
                np.testing.assert_allclose(value, expected, atol=1e-5)
    with pytest.raises(ModelLoadError, match="'adapter' is a PEFT adapter, whose weights"):
        word_pairs(base, tmp_path / "adapter")


def test_adapters_that_do_not_fit(base: Path, tmp_path: Path) -> None:
    adapt(tmp_path / "good", base, LORA)
    stored = load_file(tmp_path / "good" / "adapter_model.safetensors")

    def changed(name: str, tensors: dict[str, torch.Tensor] | None = None, **config: Any) -> Path:
        folder = shutil.copytree(tmp_path / "good", tmp_path / name)
        if tensors is not None:
            save_file(tensors, folder / "adapter_model.safetensors")
        known = json.loads((folder / "adapter_config.json").read_text())
        (folder / "adapter_config.json").write_text(json.dumps(known | config))
        return folder

    half = {name: value for name, value in stored.items() if "layers.1" not in name}
    with pytest.raises(ModelLoadError, match=r"adapter 'half' does not fit.*lacks '.*lora_A"):
        load_pair(base, changed("half", half))
    other = {name.replace("q_proj", "k_proj"): value for name, value in stored.items()}
    with pytest.raises(ModelLoadError, match=r"adapter.* 'other' (does not fit|cannot be loaded)"):
        load_pair(base, changed("other", other))
    wide = {name: torch.ones(*value.shape, 2).flatten(1) for name, value in stored.items()}
    with pytest.raises(ModelLoadError, match=r"adapter of 'wide' cannot be loaded.*size mismatch"):
        load_pair(base, changed("wide", wide))
    renamed = {
        name.replace("model.layers", "_orig_mod.model.layers"): v for name, v in stored.items()
    }
    load_pair(base, changed("renamed", renamed))
    with pytest.raises(ModelLoadError, match="does not say which model it changes"):
        load_pair(changed("lost", base_model_name_or_path=None), base)
    with pytest.raises(ModelLoadError, match="does not say which model it changes"):
        load_pair(tmp_path / "lost")
    with pytest.raises(ModelLoadError, match=r"'moved' names '/gone' as its base .*there is no"):
        load_pair(changed("moved", base_model_name_or_path="/gone"))
    with pytest.raises(ArgumentError, match=r"'base' is no PEFT adapter.* two models"):
        load_pair(base)
    (tmp_path / "lost" / "adapter_model.safetensors").unlink()
    with pytest.raises(ModelLoadError, match="the adapter 'lost' has no weights"):
        load_pair(base, tmp_path / "lost")
    adapt(
        tmp_path / "prompt", base, PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=2)
    )
    with pytest.raises(ModelLoadError, match="change what the model reads"):
        load_pair(base, tmp_path / "prompt")


def test_models_of_the_hub(base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As its cache holds them: an adapter names its base, and both their commits."""
    adapt(tmp_path / "adapter", base, LORA)
    file = tmp_path / "adapter" / "adapter_config.json"
    known = json.loads(file.read_text()) | {"base_model_name_or_path": "org/base"}
    file.write_text(json.dumps(known))
    for name, folder, letter in (("base", base, "b"), ("lora", tmp_path / "adapter", "c")):
        cached = tmp_path / "hub" / f"models--org--{name}"
        shutil.copytree(folder, cached / "snapshots" / (letter * 40))
        (cached / "refs").mkdir()
        (cached / "refs" / "main").write_text(letter * 40)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    for sources in (("org/base", "org/lora"), ("org/lora", "org/base"), ("org/lora",)):
        pair = load_pair(*sources)
        revisions = {pair.info.base.revision, pair.info.tuned.revision}
        assert revisions == {"b" * 40, f"{'b' * 40}+{'c' * 40}"}
        assert pair.info.note == ""
        assert pair._resident["base"] is pair._resident["tuned"]
    again = pickle.loads(pickle.dumps(pair))
    assert again.info == pair.info
    with pytest.raises(ModelLoadError, match="'org/lora' is a PEFT adapter, whose weights"):
        word_pairs("org/base", "org/lora")
