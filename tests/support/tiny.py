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
from twinlens.compute.models.families import ARCHITECTURES

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
_ROPE = {"rope_type": "default", "rope_theta": 10000.0}
_EXPERTS = {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 16}
_SCALED = {
    "logits_scaling": 4.0,
    "residual_multiplier": 0.5,
    "embedding_multiplier": 6.0,
    "attention_multiplier": 0.2,
}
_GPT2 = {"n_embd": 32, "n_layer": 3, "n_head": 4, "n_inner": 48, "n_positions": 128}
_QWEN3_5 = {
    "head_dim": 8,
    "full_attention_interval": 2,
    "linear_key_head_dim": 4,
    "linear_value_head_dim": 6,
    "linear_num_key_heads": 2,
    "linear_num_value_heads": 4,
    "rope_parameters": _ROPE | {"partial_rotary_factor": 0.5, "mrope_section": [1, 1, 0]},
}
#: Heads of two sizes, keys of two numbers, and values that are the keys.
_GEMMA4 = {
    "head_dim": 8,
    "global_head_dim": 16,
    "num_global_key_value_heads": 1,
    "attention_k_eq_v": True,
    "sliding_window": 8,
    "hidden_size_per_layer_input": 0,
}
_SPECIAL: dict[str, dict[str, Any]] = {
    "bloom": {"intermediate_size": 128},
    "apertus": {"rope_parameters": _ROPE},
    "cohere": {"logit_scale": 0.25},
    "cohere2": {"logit_scale": 0.25, "sliding_window": 8},
    "exaone4": {"head_dim": 8, "sliding_window": 8, "sliding_window_pattern": 2},
    "falcon": {"num_kv_heads": 2, "new_decoder_architecture": True, "ffn_hidden_size": 48},
    "gemma": {"head_dim": 16},
    "gemma2": {"head_dim": 8, "sliding_window": 8, "query_pre_attn_scalar": 8},
    "gemma3_text": {"head_dim": 8, "sliding_window": 8, "query_pre_attn_scalar": 8},
    "gemma4_text": _GEMMA4,
    "gemma4_unified_text": _GEMMA4,
    "glm": {"head_dim": 8},
    "glm4": {"head_dim": 8},
    "gpt2": _GPT2,
    "gpt_oss": {
        "num_local_experts": 4,
        "num_experts_per_tok": 2,
        "head_dim": 8,
        "sliding_window": 8,
        "rope_parameters": _ROPE,
    },
    "gpt_bigcode": _GPT2,
    "gptj": _GPT2 | {"rotary_dim": 4},
    "granite": _SCALED,
    "granitemoe": _SCALED | {"num_local_experts": 4, "num_experts_per_tok": 2},
    "helium": {"head_dim": 8},
    "hunyuan_v1_dense": {"head_dim": 8},
    "hunyuan_v1_moe": {"head_dim": 8},
    "internlm3": {"head_dim": 8},
    "jais2": {"head_dim": 8},
    "llama4_text": {"head_dim": 8},
    "ministral": {"head_dim": 8, "sliding_window": 8},
    "ministral3": {
        "head_dim": 8,
        "rope_parameters": {
            "rope_type": "yarn",
            "rope_theta": 10000.0,
            "factor": 4.0,
            "original_max_position_embeddings": 32,
            "llama_4_scaling_beta": 0.1,
        },
    },
    "mistral": {"sliding_window": 8},
    "mixtral": {"num_local_experts": 4, "num_experts_per_tok": 2},
    "nemotron": {"head_dim": 8},
    "olmo3": {"sliding_window": 8},
    "olmoe": _EXPERTS,
    "opt": {"ffn_dim": 48, "word_embed_proj_dim": 32},
    "qwen2_moe": _EXPERTS | {"shared_expert_intermediate_size": 24},
    "qwen3": {"head_dim": 8},
    "qwen3_5_text": _QWEN3_5,
    "qwen3_5_moe_text": _QWEN3_5 | _EXPERTS | {"shared_expert_intermediate_size": 24},
    "qwen3_moe": _EXPERTS | {"head_dim": 8},
    "seed_oss": {"head_dim": 8},
    "smollm3": {"no_rope_layer_interval": 2},
    "vaultgemma": {"head_dim": 8, "sliding_window": 8, "query_pre_attn_scalar": 8},
}


#: Families whose heads share no keys and values, and say so by saying nothing.
_NO_GROUPS = ("bloom", "falcon", "gpt_neox", "opt", "persimmon")


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
    special = _SPECIAL.get(architecture, {})
    shape = special if "n_embd" in special else _SHAPE | special
    fixed: dict[str, Any] = {"bos_token_id": 0, "eos_token_id": 1, "vocab_size": 340}
    if architecture in _NO_GROUPS:
        shape = {name: value for name, value in shape.items() if name != "num_key_value_heads"}
    if "num_hidden_layers" in changes and "n_embd" in special:
        changes["n_layer"] = changes.pop("num_hidden_layers")
    if special is _GEMMA4:
        below = int(changes.get("num_hidden_layers", _SHAPE["num_hidden_layers"])) - 1
        fixed["layer_types"] = [*["sliding_attention"] * below, "full_attention"]
    return AutoConfig.for_model(architecture, **(shape | fixed | changes))


def model(architecture: str, seed: int = 0, **changes: Any) -> PreTrainedModel:
    """A random model whose weights are large enough for everything to matter."""
    torch.manual_seed(seed)
    made = AutoModelForCausalLM.from_config(
        config(architecture, **changes), attn_implementation="eager"
    )
    with torch.no_grad():
        for parameter in made.parameters():
            if parameter.ndim > 1:
                parameter.normal_(std=0.15)
            else:
                parameter.add_(torch.randn_like(parameter) * 0.05)
        for name, scale in made.named_buffers():
            if name.endswith("layer_scalar"):
                scale.fill_(0.8)
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


#: Every family of the table.
FAMILIES = tuple(sorted(ARCHITECTURES))
#: Those that every test of a pass goes through: each kind of block, mask and position once.
ALL = (
    "llama",
    "mistral",
    "qwen2",
    "qwen3",
    "gemma",
    "gemma2",
    "gemma3_text",
    "olmo2",
    "phi3",
    "gpt2",
    "gpt_neox",
)
