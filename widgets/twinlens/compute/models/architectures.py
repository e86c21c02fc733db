"""Where each family of models keeps its parts: one table, and plain functions that read it.

Weights come out in one layout whatever the family: query, key and value weights of a head as
``[head_dim, hidden]``, its output weight as ``[hidden, head_dim]``, value vectors of the
feed-forward layer as rows ``[intermediate, hidden]``. Adding a family is adding an entry.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, cast

import torch
from torch import Tensor, nn

from twinlens.compute.models.dense import dense_weight, linear_weight
from twinlens.errors import UnsupportedArchitectureError

if TYPE_CHECKING:
    from transformers import PretrainedConfig, PreTrainedModel


@dataclass(frozen=True)
class Architecture:
    """Module paths of one family; those of a layer are relative to the layer.

    Attributes
    ----------
    layers, final_norm : str
        The list of layers, and the norm before the unembedding.
    query_key_value : tuple of str
        Three modules, or the one that computes all three.
    fused : "no", "stacked" or "interleaved"
        How one fused module orders its rows: all queries, then all keys, then all values; or
        query, key and value of head 0, then of head 1, and so on.
    attention_norm : str
        Norm in front of the attention block, "" where the family has none.
    norm_offset : float
        Added to the weights of a norm where they are used: 1 for Gemma, which stores them less 1.
    attention_out, feed_forward_out : str
        Last linear map of the attention block (its input are the heads side by side) and of the
        feed-forward layer (its input are the neurons after their gate).
    """

    layers: str = "model.layers"
    final_norm: str = "model.norm"
    query_key_value: tuple[str, ...] = ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj")
    fused: Literal["no", "stacked", "interleaved"] = "no"
    attention_norm: str = "input_layernorm"
    norm_offset: float = 0.0
    attention_out: str = "self_attn.o_proj"
    feed_forward_out: str = "mlp.down_proj"


ARCHITECTURES: dict[str, Architecture] = {
    **dict.fromkeys(("llama", "mistral", "qwen2", "qwen3"), Architecture()),
    **dict.fromkeys(("gemma", "gemma2", "gemma3_text"), Architecture(norm_offset=1.0)),
    "olmo2": Architecture(attention_norm=""),
    "phi3": Architecture(query_key_value=("self_attn.qkv_proj",), fused="stacked"),
    "gpt2": Architecture(
        layers="transformer.h",
        final_norm="transformer.ln_f",
        query_key_value=("attn.c_attn",),
        fused="stacked",
        attention_norm="ln_1",
        attention_out="attn.c_proj",
        feed_forward_out="mlp.c_proj",
    ),
    "gpt_neox": Architecture(
        layers="gpt_neox.layers",
        final_norm="gpt_neox.final_layer_norm",
        query_key_value=("attention.query_key_value",),
        fused="interleaved",
        attention_out="attention.dense",
        feed_forward_out="mlp.dense_4h_to_h",
    ),
}


#: Query and key weights of a small model.
_FEW_WEIGHTS = 2**22


@dataclass(frozen=True)
class Sizes:
    """Shape of a model; `positions` is the longest context, None where it is not limited."""

    layers: int
    heads: int
    kv_heads: int
    hidden: int
    intermediate: int
    vocabulary: int
    positions: int | None

    @property
    def small(self) -> bool:
        """Whether everything about the model is computed in seconds, so that recordings keep it."""
        return 2 * self.layers * self.hidden**2 <= _FEW_WEIGHTS


def architecture_of(config: PretrainedConfig) -> Architecture:
    """Entry of the table for a configuration.

    Raises
    ------
    UnsupportedArchitectureError
        If the family is not in the table.
    """
    name = config.model_type
    if name not in ARCHITECTURES:
        raise UnsupportedArchitectureError(
            f"models of type {name!r} are not supported yet: twinlens knows "
            f"{', '.join(ARCHITECTURES)}"
        )
    return ARCHITECTURES[name]


def sizes(config: PretrainedConfig) -> Sizes:
    """Shape of a model, from its configuration alone."""
    hidden = int(config.hidden_size)
    heads = int(config.num_attention_heads)
    inner = getattr(config, "intermediate_size", None) or getattr(config, "n_inner", None)
    return Sizes(
        layers=int(config.num_hidden_layers),
        heads=heads,
        kv_heads=int(getattr(config, "num_key_value_heads", None) or heads),
        hidden=hidden,
        intermediate=int(inner or 4 * hidden),
        vocabulary=int(config.vocab_size),
        positions=getattr(config, "max_position_embeddings", None),
    )


def layers(model: PreTrainedModel) -> list[nn.Module]:
    """The layers, first to last."""
    return list(cast(nn.ModuleList, model.get_submodule(architecture_of(model.config).layers)))


def final_norm(model: PreTrainedModel) -> nn.Module:
    """The norm before the unembedding."""
    return model.get_submodule(architecture_of(model.config).final_norm)


def attention_out(model: PreTrainedModel, layer: int) -> nn.Module:
    """Linear map from the heads side by side to the output of the attention block."""
    return layers(model)[layer].get_submodule(architecture_of(model.config).attention_out)


def feed_forward_out(model: PreTrainedModel, layer: int) -> nn.Module:
    """Linear map from the neurons to the output of the feed-forward layer."""
    return layers(model)[layer].get_submodule(architecture_of(model.config).feed_forward_out)


def unembedding(model: PreTrainedModel) -> Tensor:
    """Rows that score the next token, shape [vocabulary, hidden]."""
    return dense_weight(output_embeddings(model))


def logits(model: PreTrainedModel, residual: Tensor) -> Tensor:
    """Next-token logits of a residual stream that is not yet normed, shape [..., vocabulary]."""
    return scores(model, final_norm(model)(residual))


def scores(model: PreTrainedModel, normed: Tensor) -> Tensor:
    """Next-token logits of the residual stream after the final norm, shape [..., vocabulary]."""
    raw: Tensor = output_embeddings(model)(normed)
    cap: float | None = getattr(model.config, "final_logit_softcapping", None)
    return cap * torch.tanh(raw / cap) if cap else raw


def value_vectors(model: PreTrainedModel, layer: int) -> Tensor:
    """What each feed-forward neuron writes, shape [intermediate, hidden]."""
    return linear_weight(feed_forward_out(model, layer)).T


def output_weights(model: PreTrainedModel, layer: int) -> Tensor:
    """Output weights (W_O) of every head, shape [heads, hidden, head_dim]."""
    weight = linear_weight(attention_out(model, layer))
    heads = sizes(model.config).heads
    return weight.reshape(weight.shape[0], heads, -1).transpose(0, 1)


def head_weights(model: PreTrainedModel, layer: int) -> tuple[Tensor, Tensor, Tensor]:
    """Query, key and value weights, before rotary position, norms and biases.

    Returns
    -------
    query : tensor, shape [heads, head_dim, hidden]
    key, value : tensor, shape [kv_heads, head_dim, hidden]
        Query head h reads key head ``h // (heads // kv_heads)``.
    """
    parts = architecture_of(model.config)
    modules = [layers(model)[layer].get_submodule(path) for path in parts.query_key_value]
    shape = sizes(model.config)
    if parts.fused == "no":
        query, key, value = (linear_weight(module) for module in modules)
    else:
        rows = linear_weight(modules[0])
        if parts.fused == "interleaved":
            per_head = rows.reshape(shape.heads, 3, -1, shape.hidden)
            return per_head[:, 0], per_head[:, 1], per_head[:, 2]
        size = rows.shape[0] // (shape.heads + 2 * shape.kv_heads)
        lengths = [shape.heads * size, shape.kv_heads * size, shape.kv_heads * size]
        query, key, value = torch.split(rows, lengths)
    return (
        query.reshape(shape.heads, -1, shape.hidden),
        key.reshape(shape.kv_heads, -1, shape.hidden),
        value.reshape(shape.kv_heads, -1, shape.hidden),
    )


def output_embeddings(model: PreTrainedModel) -> nn.Module:
    """The linear map from the normed residual stream to logits."""
    return cast(nn.Module, model.get_output_embeddings())  # type: ignore[no-untyped-call]
