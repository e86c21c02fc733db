"""Loading: what can be compared, and one clear sentence for everything else."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from huggingface_hub import constants
from transformers.utils import logging
from twinlens.compute.live.live import trace_pair
from twinlens.compute.models import checks, loading
from twinlens.compute.models import models as models_module
from twinlens.compute.pair import Pair, demo_pair, load_pair
from twinlens.errors import (
    MemoryNeededError,
    ModelLoadError,
    PairMismatchError,
    UnsupportedArchitectureError,
)

from tests.support import tiny


def save(folder: Path, architecture: str = "llama", **changes: Any) -> Path:
    tiny.model(architecture, **changes).save_pretrained(folder)
    tiny.tokenizer().save_pretrained(folder)
    return folder


def test_facts_about_the_pair(pair: Pair, folders: tuple[Path, Path]) -> None:
    info = pair.info
    assert (info.architecture, info.layers, info.heads, info.kv_heads) == ("llama", 3, 4, 2)
    assert (info.hidden, info.intermediate) == (32, 48)
    assert info.base.name == "base"
    assert info.base.dtype == "float32"
    assert info.base.parameters == sum(p.numel() for p in tiny.model("llama").parameters())
    content = (folders[0] / "model.safetensors").read_bytes()
    assert info.base.revision == f"sha256:{hashlib.sha256(content).hexdigest()[:16]}"
    assert info.tuned.revision != info.base.revision
    assert info.note == ""
    with pair.model("base") as model:
        assert not model.training
        assert not any(p.requires_grad for p in model.parameters())


def test_dtype(folders: tuple[Path, Path]) -> None:
    loaded = load_pair(*folders, dtype=torch.float64)
    assert loaded.info.base.dtype == "float64"


def test_bars_only_where_loading_lasts(
    folders: tuple[Path, Path], capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logging, "_tqdm_active", True)
    load_pair(*folders)
    assert capfd.readouterr().err == ""
    monkeypatch.setattr(loading, "PATIENCE", 0.0)
    load_pair(*folders)
    assert "loading base" in capfd.readouterr().err


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"num_hidden_layers": 2}, "number of layers differs: base has 3, tuned has 2"),
        ({"num_attention_heads": 8}, "number of attention heads differs: base has 4, tuned has 8"),
        ({"num_key_value_heads": 4}, "key and value heads differs: base has 2, tuned has 4"),
        ({"hidden_size": 64}, "hidden size differs: base has 32, tuned has 64"),
        ({"intermediate_size": 64}, "feed-forward size differs: base has 48, tuned has 64"),
    ],
)
def test_different_shapes(
    folders: tuple[Path, Path], tmp_path: Path, changes: dict[str, int], message: str
) -> None:
    tiny.config("llama", **changes).save_pretrained(tmp_path)
    # Found from the configuration: these weights could not even be read.
    (tmp_path / "model.safetensors").write_bytes(b"broken")
    with pytest.raises(PairMismatchError, match=message):
        load_pair(folders[0], tmp_path)


def test_different_architectures(folders: tuple[Path, Path], tmp_path: Path) -> None:
    other = save(tmp_path, "qwen2")
    with pytest.raises(PairMismatchError, match="base is llama, tuned is qwen2"):
        load_pair(folders[0], other)


def test_unsupported_architecture(folders: tuple[Path, Path], tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "mamba"}))
    (tmp_path / "model.safetensors").write_bytes(b"")
    with pytest.raises(UnsupportedArchitectureError, match="'mamba' cannot be shown, because none"):
        load_pair(folders[0], tmp_path)


def test_tokenizers_that_give_a_piece_different_ids(
    folders: tuple[Path, Path], tmp_path: Path
) -> None:
    other = shutil.copytree(folders[1], tmp_path / "tuned")
    text = (other / "tokenizer.json").read_text()
    ids = tiny.tokenizer().get_vocab()
    a, b = sorted(("Rewrite", "Output"), key=lambda piece: ids[piece])
    text = text.replace(f'"{a}": {ids[a]}', f'"{a}": {ids[b]}').replace(
        f'"{b}": {ids[b]}', f'"{b}": {ids[a]}'
    )
    (other / "tokenizer.json").write_text(text)
    with pytest.raises(PairMismatchError, match=f"token {ids[a]} in base and {ids[b]} in tuned"):
        load_pair(folders[0], other)


def test_tokenizers_that_cut_differently(folders: tuple[Path, Path], tmp_path: Path) -> None:
    other = shutil.copytree(folders[1], tmp_path / "tuned")
    data = json.loads((other / "tokenizer.json").read_text())
    data["model"]["merges"] = data["model"]["merges"][:20]
    (other / "tokenizer.json").write_text(json.dumps(data))
    with pytest.raises(PairMismatchError, match="'Rewrite the sentence in plain ' becomes"):
        load_pair(folders[0], other)
    assert load_pair(folders[0], other, tokenizer=folders[0])


def test_one_tokenizer_may_have_extra_tokens(folders: tuple[Path, Path], tmp_path: Path) -> None:
    other = shutil.copytree(folders[1], tmp_path / "tuned")
    made = tiny.tokenizer()
    made.add_special_tokens({"additional_special_tokens": ["<|user|>"]})
    made.save_pretrained(other)
    assert load_pair(folders[0], other).vocabulary == len(tiny.tokenizer())


def test_a_folder_that_is_no_model(folders: tuple[Path, Path], tmp_path: Path) -> None:
    with pytest.raises(ModelLoadError, match=f"{tmp_path.name!r} is not a model folder: it has no"):
        load_pair(folders[0], tmp_path)


def test_a_folder_that_is_not_there(folders: tuple[Path, Path], tmp_path: Path) -> None:
    with pytest.raises(ModelLoadError, match="there is no folder"):
        load_pair(tmp_path / "missing", folders[1])
    with pytest.raises(ModelLoadError, match="there is no GGUF file"):
        load_pair(folders[0], tmp_path / "missing.gguf")


def test_pickled_weights_are_refused(folders: tuple[Path, Path], tmp_path: Path) -> None:
    tiny.config("llama").save_pretrained(tmp_path)
    torch.save({}, tmp_path / "pytorch_model.bin")
    with pytest.raises(ModelLoadError, match=r"only as pickle \(pytorch_model.bin\)"):
        load_pair(folders[0], tmp_path)
    (tmp_path / "pytorch_model.bin").unlink()
    with pytest.raises(ModelLoadError, match="has no weights"):
        load_pair(folders[0], tmp_path)


def test_damaged_weights(folders: tuple[Path, Path], tmp_path: Path) -> None:
    other = shutil.copytree(folders[1], tmp_path / "tuned")
    content = (other / "model.safetensors").read_bytes()
    (other / "model.safetensors").write_bytes(content[: len(content) // 2])
    with pytest.raises(ModelLoadError, match="the weights of 'tuned' cannot be loaded") as caught:
        load_pair(folders[0], other)
    assert "\n" not in str(caught.value)


def test_damaged_configuration_and_missing_tokenizer(
    folders: tuple[Path, Path], tmp_path: Path
) -> None:
    other = shutil.copytree(folders[1], tmp_path / "tuned")
    (other / "tokenizer.json").unlink()
    (other / "tokenizer_config.json").unlink()
    with pytest.raises(ModelLoadError, match="the tokenizer of 'tuned' cannot be loaded"):
        load_pair(folders[0], other)
    (other / "config.json").write_text("{")
    with pytest.raises(ModelLoadError, match="the configuration of 'tuned' cannot be loaded"):
        load_pair(folders[0], other)


def test_a_hub_model_without_network(
    folders: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(ModelLoadError, match=r"'nobody/no-model' cannot be loaded.*network"):
        load_pair(folders[0], "nobody/no-model")


def test_memory_is_checked_before_weights_are_read(
    folders: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    count = sum(p.numel() for p in tiny.model("llama").parameters())
    one = count * 4 * 1.15
    loaded: list[Any] = []
    monkeypatch.setattr(checks, "_parameters", lambda *_: count * 1_000_000)
    monkeypatch.setattr(models_module, "load_weights", lambda *_: loaded.append(_))
    monkeypatch.setattr(checks, "free_memory", lambda _: int(one * 1_000_000 * 1.5))
    with pytest.raises(MemoryNeededError) as caught:
        load_pair(*folders)
    numbers = [float(x) for x in re.findall(r"([\d.]+) GB", str(caught.value))]
    gigabytes = one / 1000
    assert numbers == pytest.approx(
        [2 * gigabytes, 1.5 * gigabytes, gigabytes, gigabytes], abs=0.051
    )
    for way in ('memory="sequential"', "dtype=torch.bfloat16", 'device_map="auto"'):
        assert way in str(caught.value)
    assert not loaded
    load_pair(*folders, memory="sequential")
    monkeypatch.setattr(checks, "free_memory", lambda _: 1000)
    with pytest.raises(MemoryNeededError, match="one model at a time in float32"):
        load_pair(*folders, memory="sequential")


def test_parameters_are_counted_without_weights(pair: Pair) -> None:
    for architecture in tiny.ALL:
        real = sum(p.numel() for p in tiny.model(architecture).parameters())
        assert checks._parameters(tiny.config(architecture), False) == real


def test_sequential_memory_never_holds_two_models(folders: tuple[Path, Path]) -> None:
    pair = load_pair(*folders, memory="sequential")
    assert list(pair._resident) == []
    for side in ("base", "tuned", "tuned", "base"):
        with pair.model(side):  # type: ignore[arg-type]
            assert list(pair._resident) == [side]


def test_unknown_memory_setting(folders: tuple[Path, Path]) -> None:
    with pytest.raises(ValueError, match='memory is "both" or "sequential", not \'half\''):
        load_pair(*folders, memory="half")  # type: ignore[arg-type]


def test_the_embedded_pair_follows_an_instruction_only_when_tuned() -> None:
    pair = demo_pair()
    assert pair.info.note.endswith("not evidence about large models.")
    trace = trace_pair(
        pair,
        "Rewrite this sentence in capital letters: The small dog sleeps.",
        template=True,
        response="own",
        max_new_tokens=24,
    )
    texts = {side: answer.own_text for side, answer in trace.manifest.answers.items()}
    assert texts["tuned"].strip().isupper()
    assert not texts["base"].strip().isupper()
