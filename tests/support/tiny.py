"""Tiny random models of every supported architecture, with a real byte-level tokenizer."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    PretrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerFast,
)
from twinlens.compute.models.architectures import ARCHITECTURES

PROMPT = "Rewrite the sentence in plain words.\n\nInput: The committee concurred.\n\nOutput:"
INSTRUCTION = "Rewrite the sentence in plain words."
CHAT = "{% for m in messages %}### User: {{ m['content'] }}\n### Assistant:{% endfor %}"
_TEXTS = [PROMPT, "The small dog sleeps in the garden.", "Write the word in capital letters: DOG"]

_SHAPE: dict[str, Any] = {
    "hidden_size": 32,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "intermediate_size": 48,
    "max_position_embeddings": 128,
    "bos_token_id": 0,
    "eos_token_id": 1,
    "pad_token_id": 1,
}
_SPECIAL: dict[str, dict[str, Any]] = {
    "mistral": {"sliding_window": 8},
    "qwen3": {"head_dim": 8},
    "gemma": {"head_dim": 16},
    "gemma2": {"head_dim": 8, "sliding_window": 8, "query_pre_attn_scalar": 8},
    "gemma3_text": {"head_dim": 8, "sliding_window": 8, "query_pre_attn_scalar": 8},
    "gpt2": {"n_embd": 32, "n_layer": 3, "n_head": 4, "n_inner": 48, "n_positions": 128},
}


def tokenizer() -> PreTrainedTokenizerFast:
    """Byte-level BPE with a start token in front of every text."""
    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    made.train_from_iterator(
        _TEXTS,
        trainers.BpeTrainer(
            vocab_size=340,
            special_tokens=["<s>", "</s>"],
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
            show_progress=False,
        ),
    )
    made.post_processor = processors.TemplateProcessing(
        single="<s> $A", special_tokens=[("<s>", 0)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=made, bos_token="<s>", eos_token="</s>", chat_template=CHAT
    )


def config(architecture: str, **changes: Any) -> PretrainedConfig:
    """A configuration of a few thousand parameters."""
    shape = _SPECIAL["gpt2"] if architecture == "gpt2" else _SHAPE | _SPECIAL.get(architecture, {})
    fixed = {"bos_token_id": 0, "eos_token_id": 1, "vocab_size": 340}
    if architecture == "gpt_neox":
        shape = {name: value for name, value in shape.items() if name != "num_key_value_heads"}
    return AutoConfig.for_model(architecture, **(shape | fixed | changes))


def model(architecture: str, seed: int = 0, **changes: Any) -> PreTrainedModel:
    """A random model whose weights are large enough for everything to matter."""
    torch.manual_seed(seed)
    made = AutoModelForCausalLM.from_config(config(architecture, **changes))
    with torch.no_grad():
        for parameter in made.parameters():
            if parameter.ndim > 1:
                parameter.normal_(std=0.15)
            else:
                parameter.add_(torch.randn_like(parameter) * 0.05)
    return made.eval()


def tuned_copy(base: PreTrainedModel, seed: int = 1, size: float = 0.03) -> PreTrainedModel:
    """The same model with a small random change."""
    torch.manual_seed(seed)
    tuned = copy.deepcopy(base)
    with torch.no_grad():
        for parameter in tuned.parameters():
            parameter.add_(torch.randn_like(parameter) * size)
    return tuned


def save_pair(folder: Path, architecture: str = "llama", **changes: Any) -> tuple[Path, Path]:
    """Write a tiny pair as two model folders."""
    base = model(architecture, **changes)
    for name, side in (("base", base), ("tuned", tuned_copy(base))):
        side.save_pretrained(folder / name)
        tokenizer().save_pretrained(folder / name)
    return folder / "base", folder / "tuned"


ALL = tuple(ARCHITECTURES)
