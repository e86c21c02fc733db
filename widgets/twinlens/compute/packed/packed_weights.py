"""Weights of a plain model as a page reads them, and which models are plain."""

from __future__ import annotations

import zlib
from typing import Any

import numpy as np
import torch
from transformers import PretrainedConfig, PreTrainedModel

from twinlens.compute.models import architectures
from twinlens.compute.models.architectures import sizes
from twinlens.errors import UnsupportedArchitectureError

#: Parameters of a model up to which it runs in a page.
MOST_PARAMETERS = 10_000_000
#: Families whose attention and feed-forward layers are the plain ones, where nothing is added.
_FAMILIES = ("llama", "mistral")
_LAYER = (
    "input_layernorm",
    "self_attn.q_proj",
    "self_attn.k_proj",
    "self_attn.v_proj",
    "self_attn.o_proj",
    "post_attention_layernorm",
    "mlp.gate_proj",
    "mlp.up_proj",
    "mlp.down_proj",
)


def model_sizes(model: PreTrainedModel, name: str) -> dict[str, Any]:
    """Sizes of a model, and what else a pass in a page has to know.

    Parameters
    ----------
    name : str
        What the model is called, for messages of errors.

    Raises
    ------
    UnsupportedArchitectureError
        If it is not plain or too large; says why.
    """
    config = model.config
    reason = _reason(model)
    if reason:
        raise UnsupportedArchitectureError(
            f"{name} cannot run in a page, because {reason}: a page runs models like Llama of up "
            f"to {MOST_PARAMETERS / 1e6:.0f} million parameters; export what you want to show "
            "with to_html"
        )
    shape = sizes(config)
    rotary: Any = model.model.rotary_emb
    return {
        "layers": shape.layers,
        "heads": shape.heads,
        "kvHeads": shape.kv_heads,
        "headSize": head_size(config),
        "hidden": shape.hidden,
        "intermediate": shape.intermediate,
        "vocabulary": shape.vocabulary,
        "positions": shape.positions,
        "eps": float(config.rms_norm_eps),
        "frequencies": rotary.inv_freq.float().tolist(),
        "wave": float(rotary.attention_scaling),
        "tied": _tied(model),
        "small": shape.small,
    }


def draws_of(model: PreTrainedModel) -> list[int]:
    """What the signs of each weight are drawn from, in the order of `packed_weights`."""
    return [zlib.crc32(name.encode()) for name in _names(model)]


def packed_weights(model: PreTrainedModel) -> bytes:
    """Weights in half precision: first all low bytes, then all high ones, which gzip well.

    In the order in which a page reads them: the embedding, of each layer the two norms in front of
    query, key, value, output weights and of gate, up, down weights, the final norm, and an
    unembedding of its own.
    """
    state = model.state_dict()
    values = [state[name].detach().cpu().float().numpy().ravel() for name in _names(model)]
    halves = np.concatenate([value.astype("<f2") for value in values])
    return halves.view(np.uint8).reshape(-1, 2).T.tobytes()


def head_size(config: PretrainedConfig) -> int:
    """Numbers of one head."""
    size = getattr(config, "head_dim", None)
    return int(size or config.hidden_size // config.num_attention_heads)


def _names(model: PreTrainedModel) -> list[str]:
    layers = [
        f"model.layers.{layer}.{part}.weight"
        for layer in range(sizes(model.config).layers)
        for part in _LAYER
    ]
    last = [] if _tied(model) else ["lm_head.weight"]
    return ["model.embed_tokens.weight", *layers, "model.norm.weight", *last]


def _tied(model: PreTrainedModel) -> bool:
    return architectures.output_embeddings(model).weight is model.get_input_embeddings().weight


def _reason(model: PreTrainedModel) -> str:
    """Why a model cannot run in a page; "" where it can."""
    config: Any = model.config
    parameters = sum(weight.numel() for weight in model.parameters())
    rope = getattr(config, "rope_parameters", None) or {}
    if config.model_type not in _FAMILIES:
        return f"its family is {config.model_type!r}"
    if parameters > MOST_PARAMETERS:
        return f"it has {parameters / 1e6:.1f} million parameters"
    if getattr(config, "sliding_window", None):
        return "its attention has a sliding window"
    if config.hidden_act != "silu":
        return f"its feed-forward layers use {config.hidden_act!r}"
    if rope.get("rope_type", "default") not in ("default", "linear", "llama3"):
        return f"its rotary positions are of the kind {rope['rope_type']!r}"
    tied = {"lm_head.weight"} if _tied(model) else set()
    others = set(model.state_dict()) - set(_names(model)) - tied
    if others:
        return f"it has other weights, such as {min(others)}"
    shape = sizes(config)
    widths = (shape.hidden, shape.intermediate, shape.heads * head_size(config))
    if any(width % 8 for width in widths) or head_size(config) % 16:
        return "its sizes are no multiples of 8, or those of its heads of 16"
    if shape.positions is None:
        return "nothing says how long its texts may be"
    largest = max(float(weight.detach().abs().max()) for weight in model.parameters())
    if not largest <= torch.finfo(torch.float16).max:
        return "its weights do not fit into half precision"
    return ""
