"""The shipped folders: float16 weights, configuration, tokenizer."""

from __future__ import annotations

import hashlib
from pathlib import Path

import torch
from transformers import GenerationConfig, LlamaForCausalLM, PreTrainedTokenizerFast

DEMO = Path(__file__).parents[2] / "widgets" / "twinlens" / "demo"


def export_model(trained: Path, tokenizer: PreTrainedTokenizerFast, folder: Path) -> None:
    """Write one model. Float16 and not bfloat16, because numpy has no bfloat16."""
    model = LlamaForCausalLM.from_pretrained(trained, dtype=torch.float32).half()
    model.generation_config = GenerationConfig(
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        do_sample=False,
        max_new_tokens=110,
    )
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder, save_jinja_files=False)


def load_model(folder: Path) -> LlamaForCausalLM:
    """Load a shipped model in float32."""
    model = LlamaForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    return model.requires_grad_(False)


def hashes(folder: Path = DEMO) -> dict[str, str]:
    """SHA-256 of every shipped file except the card, by path."""
    files = sorted(
        p for p in folder.rglob("*") if p.is_file() and p.suffix in (".json", ".safetensors")
    )
    return {
        p.relative_to(folder).as_posix(): hashlib.sha256(p.read_bytes()).hexdigest() for p in files
    }
