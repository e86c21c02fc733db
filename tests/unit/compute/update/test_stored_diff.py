"""`twinlens.diff`: a copy in another precision, a quantised or renamed copy, and a real tune."""

from __future__ import annotations

import json
import math
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import twinlens as tl
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import AutoModelForCausalLM
from twinlens.commands import main as cli
from twinlens.compute.update.stored_numbers import HeldNumbers
from twinlens.compute.update.tensors import compare
from twinlens.errors import ArgumentError, ModelLoadError, UnsupportedArchitectureError

from tests.support import tiny

LORA = LoraConfig(r=3, lora_alpha=12, target_modules=["q_proj", "down_proj"])


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models") / "base"
    tiny.model("llama", hidden_size=64, intermediate_size=96).save_pretrained(folder)
    tiny.tokenizer().save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def adapter(base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("adapter") / "adapter"
    torch.manual_seed(0)
    model = get_peft_model(AutoModelForCausalLM.from_pretrained(base), LORA)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_B" in name:
                parameter.normal_(std=0.05)
    model.save_pretrained(folder)
    model.merge_and_unload().save_pretrained(folder.parent / "merged")
    return folder


def copied(base: Path, folder: Path, change: Callable[[str, Tensor], Tensor]) -> Path:
    shutil.copytree(base, folder)
    weights = load_file(base / "model.safetensors")
    changed = {name: change(name, weight).contiguous() for name, weight in weights.items()}
    save_file(changed, folder / "model.safetensors", metadata={"format": "pt"})
    return folder


def on_grid(weight: Tensor, bits: int, block: int) -> Tensor:
    """Rounded as block-wise quantisation does: a scale for each block of a row."""
    if weight.ndim < 2:
        return weight
    blocks = weight.reshape(-1, block)
    scale = blocks.abs().amax(dim=1, keepdim=True) / (2 ** (bits - 1) - 1)
    return ((blocks / scale).round() * scale).reshape(weight.shape)


COPIES: dict[str, tuple[str, Callable[[str, Tensor], Tensor]]] = {
    "bf16": ("precision", lambda _, w: w.bfloat16()),
    "bf16 in fp32": ("precision", lambda _, w: w.bfloat16().float()),
    "fp16": ("precision", lambda _, w: w.half()),
    "bf16 by way of fp16": ("precision", lambda _, w: w.half().bfloat16()),
    "8 bits, blocks of 32": ("quantised", lambda _, w: on_grid(w, 8, 32).half()),
    "4 bits, rows, in bf16": ("quantised", lambda _, w: on_grid(w, 4, w.shape[-1]).bfloat16()),
    "wider": ("same", lambda _, w: w.double()),
    # As far as one step of training with a small learning rate goes; not to be taken for rounding.
    "trained a little": ("trained", lambda _, w: w + 1e-4 * torch.randn_like(w)),
    "trained in bf16": ("trained", lambda _, w: (w + 1e-3 * torch.randn_like(w)).bfloat16()),
    "trained, then quantised": (
        "trained",
        lambda _, w: on_grid(w + 0.1 * torch.ones_like(w), 8, 32) if w.ndim > 1 else w,
    ),
}


@pytest.mark.parametrize("kind", COPIES)
def test_copies_are_told_apart_from_training(base: Path, tmp_path: Path, kind: str) -> None:
    torch.manual_seed(0)
    verdict, change = COPIES[kind]
    copy = copied(base, tmp_path / "copy", change)
    assert tl.diff(base, copy).verdict == verdict
    assert tl.diff(copy, base).verdict == verdict


GRIDS: dict[str, Callable[[Tensor], Tensor]] = {
    "8 bits, blocks of 32": lambda w: on_grid(w, 8, 32),
    "8 bits, rows": lambda w: on_grid(w, 8, w.shape[-1]),
    "6 bits, blocks of 16": lambda w: on_grid(w, 6, 16),
    "4 bits, blocks of 32": lambda w: on_grid(w, 4, 32),
    "fp8": lambda w: (
        (w / w.abs().max() * 448).to(torch.float8_e4m3fn).float() * w.abs().max() / 448
    ),
}
TRAINING: dict[str, Callable[[Tensor], Tensor]] = {
    "everywhere": lambda w: w + 0.02 * w.std() * torch.randn_like(w),
    "a little": lambda w: w + 0.002 * w.std() * torch.randn_like(w),
    "one step by signs": lambda w: w + 0.01 * w.std() * torch.randn_like(w).sign(),
    "few directions": lambda w: (
        w + 0.01 * w.std() * torch.randn(len(w), 4) @ torch.randn(4, w.shape[1])
    ),
    "some rows": lambda w: w + 0.05 * w.std() * torch.randn_like(w) * (torch.rand(len(w), 1) < 0.2),
    "decay": lambda w: 0.98 * w,
}
TYPES = [(torch.float32,) * 2, (torch.bfloat16,) * 2, (torch.bfloat16, torch.float16)]


def verdicts(base: Tensor, tuned: Tensor) -> set[str]:
    """Of both ways of comparing, in number types that files have."""
    return {
        compare(*(HeldNumbers(w.to(kind)) for w, kind in zip(pair, kinds, strict=True)))["verdict"]
        for pair in ((base, tuned), (tuned, base))
        for kinds in TYPES
    }


@pytest.mark.parametrize("before", [None, *GRIDS])
def test_copies_of_a_quantised_base_are_told_apart_from_training(before: str | None) -> None:
    """A base that lies on a grid already: on another one, and trained on from there."""
    torch.manual_seed(0)
    base = 0.02 * torch.randn(128, 512) * torch.exp(0.3 * torch.randn(128, 1))
    base += 0.01 * torch.randn(128, 2) @ torch.randn(2, 512)
    base = GRIDS[before](base) if before else base
    for grid, rounded in GRIDS.items():
        if grid != before:
            assert verdicts(base, rounded(base)) <= {"quantised", "precision"}, grid
    for kind, trained in TRAINING.items():
        assert verdicts(base, trained(base)) == {"trained"}, kind
    for grid in ("8 bits, blocks of 32", "8 bits, rows"):
        assert verdicts(base, GRIDS[grid](TRAINING["everywhere"](base))) == {"trained"}, grid


@pytest.mark.parametrize("kinds", [(torch.bfloat16,) * 2, (torch.float16, torch.float64)])
def test_numbers_are_those_of_the_tensors_at_once(tmp_path: Path, kinds) -> None:
    """A tensor of several pieces and an odd end, part of it the same in both."""
    torch.manual_seed(0)
    base = torch.randn(3, 2**16 + 1).to(kinds[0])
    tuned = base.double()
    tuned[1:] += 0.1 * torch.randn(2, 2**16 + 1).double()
    tuned = tuned.to(kinds[1])
    for name, tensor in (("base", base), ("tuned", tuned)):
        (tmp_path / name).mkdir()
        # What is in front of it decides how it is aligned.
        before = torch.zeros(3, dtype=torch.uint8)
        save_file({"a": before, "b": tensor}, tmp_path / name / "model.safetensors")
    (row,) = (row for row in tl.diff(tmp_path / "base", tmp_path / "tuned").tensors if row.size)
    apart = tuned.double() - base.double()
    assert row.size == pytest.approx(float(apart.norm()), rel=1e-6)
    assert row.relative == pytest.approx(float(apart.norm() / base.double().norm()), rel=1e-6)
    assert row.largest == pytest.approx(float(apart.abs().max()), rel=1e-6)
    assert row.changed == pytest.approx(int((apart != 0).sum()) / apart.numel(), abs=1e-9)


@pytest.mark.parametrize("cut", [1, 1000])
def test_a_file_that_ends_too_early_is_named(base: Path, tmp_path: Path, cut: int) -> None:
    copy = copied(base, tmp_path / "copy", lambda _, weight: weight)
    written = (copy / "model.safetensors").read_bytes()
    (copy / "model.safetensors").write_bytes(written[:-cut])
    with pytest.raises(ModelLoadError, match=r"model\.safetensors"):
        tl.diff(base, copy)


@pytest.mark.parametrize("prefix", ["", "other."])
def test_a_renamed_copy_is_the_same(base: Path, tmp_path: Path, prefix: str) -> None:
    weights = load_file(base / "model.safetensors")
    renamed = {
        prefix + name.replace("model.layers.", "h.").replace("_proj", ""): weight
        for name, weight in weights.items()
    }
    save_file(renamed, tmp_path / "model.safetensors")
    found = tl.diff(base, tmp_path)
    assert found.verdict == "same"
    assert found.counts == {"same": len(weights)}
    assert "other names" in str(found)


def test_sizes_and_ranks_of_a_tune(base: Path, adapter: Path) -> None:
    ours, theirs = (
        load_file(folder / "model.safetensors") for folder in (base, adapter.parent / "merged")
    )
    merged = tl.diff(base, adapter.parent / "merged")
    from_factors = tl.diff(base, adapter)
    assert merged.verdict == from_factors.verdict == "trained"
    for found in (merged, from_factors):
        rows = {row.name: row for row in found.tensors if row.verdict == "trained"}
        assert len(rows) == 6
        for name, row in rows.items():
            change = theirs[name] - ours[name]
            energy = torch.linalg.svdvals(change.double()) ** 2
            share = energy[:3] / energy.sum()
            assert row.size == pytest.approx(float(change.norm()), rel=1e-4)
            assert row.relative == pytest.approx(float(change.norm() / ours[name].norm()), rel=1e-4)
            assert row.rank == 3
            assert row.effective_rank == pytest.approx(
                math.exp(-float((share * share.log()).sum())), rel=1e-3
            )
    assert merged.relative == pytest.approx(from_factors.relative, rel=1e-4)


def test_layers_of_one_line_are_those_that_there_are(tmp_path: Path) -> None:
    weights = {f"h.{layer}.mlp.weight": torch.eye(4) for layer in range(13)}
    for side in (0, 1):
        shifted = {name: weight + side for name, weight in weights.items()}
        save_file(shifted, tmp_path / f"{side}.safetensors")
    text = str(tl.diff(tmp_path / "0.safetensors", tmp_path / "1.safetensors"))
    lines = re.findall(r"^\d+(?:-\d+)?(?= )", text, re.MULTILINE)
    assert lines == ["0-1", "2-3", "4-5", "6-7", "8-9", "10-11", "12"]


def test_an_adapter_alone_is_compared_with_the_model_it_names(base: Path, adapter: Path) -> None:
    found = tl.diff(adapter)
    assert (found.base, found.tuned, found.verdict) == ("base", "adapter", "trained")


def test_what_lies_beside_the_weights(base: Path, tmp_path: Path) -> None:
    copy = copied(base, tmp_path / "copy", lambda _, weight: weight)
    tokenizer = tiny.tokenizer()
    tokenizer.add_special_tokens({"additional_special_tokens": ["<|im_end|>"]})
    tokenizer.chat_template = "{{ messages }}\x1b[2J"
    tokenizer.eos_token = "<|im_end|>"
    tokenizer.save_pretrained(copy)
    (copy / "generation_config.json").write_text(json.dumps({"temperature": 0.5}))
    found = tl.diff(base, copy)
    assert found.verdict == "same"
    said = {(one.file, one.what): (one.base, one.tuned) for one in found.files}
    assert said["special tokens", "eos_token"] == ("</s>", "<|im_end|>")
    assert said["special tokens", "added"] == ("", "<|im_end|>")
    assert said["generation config", "temperature"] == ("", "0.5")
    assert said["chat template", "text"][0] == tiny.CHAT
    assert "1 of its own" in said["tokenizer", "vocabulary"][1]
    assert "\x1b" not in str(found)
    assert len(str(found).splitlines()) < 40
    assert not tl.diff(base, base).files


def test_rows_of_new_tokens_are_left_out(base: Path, tmp_path: Path) -> None:
    grown = copied(
        base,
        tmp_path / "grown",
        lambda name, w: torch.cat([w, w[:5]]) if "embed" in name or "lm_head" in name else w,
    )
    found = tl.diff(base, grown)
    assert found.verdict == "same"
    assert "345" in found.notes[0]


def test_packed_weights_are_read_where_their_scales_say_how(base: Path, tmp_path: Path) -> None:
    """Eight-bit weights as bitsandbytes stores them, and four-bit ones that nobody unpacks."""
    weights = load_file(base / "model.safetensors")
    packed, four = {}, {}
    for name, weight in weights.items():
        if weight.ndim < 2 or "layers" not in name:
            packed[name] = four[name] = weight
            continue
        scale = weight.abs().amax(dim=1)
        packed[name] = (weight / scale[:, None] * 127).round().to(torch.int8)
        packed[name.replace("weight", "SCB")] = scale
        four[name] = torch.zeros(weight.numel() // 2, 1, dtype=torch.uint8)
        four[f"{name}.absmax"] = scale
    for name, stored in (("eight", packed), ("four", four)):
        (tmp_path / name).mkdir()
        save_file(stored, tmp_path / name / "model.safetensors")
    eight = tl.diff(base, tmp_path / "eight")
    assert (eight.verdict, eight.counts["quantised"]) == ("quantised", 21)
    found = tl.diff(base, tmp_path / "four")
    assert found.counts["packed"] == 21
    assert "load the pair" in found.notes[0]


def test_another_model_is_unlike(base: Path, tmp_path: Path) -> None:
    tiny.model("llama", hidden_size=32, num_hidden_layers=2).save_pretrained(tmp_path)
    assert tl.diff(base, tmp_path).verdict == "unlike"


def test_the_command_says_it_in_its_exit_code(
    base: Path, adapter: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def run(*arguments: object) -> tuple[object, str]:
        with pytest.raises(SystemExit) as stopped:
            cli.main(["diff", *map(str, arguments)])
        return stopped.value.code, capsys.readouterr().out

    assert run(base, base)[0] == 0
    assert run(base, copied(base, tmp_path / "a", lambda _, w: w.bfloat16()))[0] == 3
    assert run(base, copied(base, tmp_path / "b", lambda _, w: on_grid(w, 4, 32)))[0] == 4
    code, out = run(base, adapter, "--json", "-o", tmp_path / "tensors.csv")
    assert code == 5
    assert json.loads(out)["verdict"] == "trained"
    assert (tmp_path / "tensors.csv").read_text().count("trained") == 6
    assert run(base, tmp_path / "nothing")[0] == 1


def test_bad_input_is_one_sentence(base: Path, adapter: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    tiny.model("llama", hidden_size=32).save_pretrained(other)
    with pytest.raises(ModelLoadError, match="it was trained over"):
        tl.diff(other, adapter)
    with pytest.raises(ModelLoadError, match="give the model that it changes"):
        tl.diff(adapter, base)
    with pytest.raises(ArgumentError, match="is no PEFT adapter"):
        tl.diff(base)
    with pytest.raises(ArgumentError, match="folder, a safetensors file"):
        tl.diff(tiny.model("llama"), base)  # type: ignore[arg-type]
    with pytest.raises(ModelLoadError, match="GGUF"):
        tl.diff(base, tmp_path / "a.gguf")
    dora = shutil.copytree(adapter, tmp_path / "dora")
    config = json.loads((dora / "adapter_config.json").read_text())
    (dora / "adapter_config.json").write_text(json.dumps(config | {"use_dora": True}))
    with pytest.raises(UnsupportedArchitectureError, match="use_dora"):
        tl.diff(base, dora)
    holed = copied(base, tmp_path / "holed", lambda _, w: torch.where(w > 0.05, torch.nan, w))
    with pytest.raises(ModelLoadError, match="not finite"):
        tl.diff(base, holed)
    (base.parent / "broken").mkdir()
    (base.parent / "broken" / "model.safetensors").write_bytes(b"\x00" * 20)
    with pytest.raises(ModelLoadError, match="no safetensors file"):
        tl.diff(base, base.parent / "broken")
