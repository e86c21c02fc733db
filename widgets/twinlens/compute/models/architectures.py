"""Parts of a loaded model, found by the table of families.

Weights come out in one layout whatever the family: query, key and value weights of a head as
``[head_dim, hidden]``, its output weight as ``[hidden, head_dim]``, value vectors of the
feed-forward layer as rows ``[intermediate, hidden]``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from operator import attrgetter
from typing import Any, cast

import torch
from torch import Tensor, nn
from transformers import PretrainedConfig, PreTrainedModel

from twinlens.compute.models import layer_forms
from twinlens.compute.models.dense import below_adapters, dense_weight, linear_weight
from twinlens.compute.models.families import ARCHITECTURES, REFUSED, Architecture
from twinlens.errors import HeadIndexError, UnsupportedArchitectureError

#: Query and key weights of a small model.
_FEW_WEIGHTS = 2**22


@dataclass(frozen=True)
class Sizes:
    """Shape of a model.

    Attributes
    ----------
    kv_heads : int
        Key heads; of families whose layers differ in it, the most of any layer.
    positions : int or None
        The longest context; None where it is not limited.
    """

    layers: int
    heads: int
    kv_heads: int
    hidden: int
    intermediate: int
    vocabulary: int
    positions: int | None

    @property
    def rank(self) -> int:
        """Of the value vectors of a feed-forward layer, less their mean."""
        return min(self.intermediate - 1, self.hidden)

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
    if name not in ARCHITECTURES and name in REFUSED:
        raise UnsupportedArchitectureError(
            f"models of type {name!r} cannot be shown, because {REFUSED[name]}: take a model of "
            f"another family, one of {', '.join(sorted(ARCHITECTURES))}"
        )
    if name not in ARCHITECTURES:
        raise UnsupportedArchitectureError(
            f"models of type {name!r} are not supported yet: say where they keep their parts with "
            f"twinlens.register_architecture, or take one of {', '.join(sorted(ARCHITECTURES))}"
        )
    entry = ARCHITECTURES[name]
    if getattr(config, "enable_moe_block", False):
        # Gemma 4 adds experts to its feed-forward layer, and norms what both give together.
        return replace(entry, feed_forward_out="post_feedforward_layernorm", experts=True)
    return entry


def text_part(config: PretrainedConfig) -> PretrainedConfig:
    """Configuration of the part that reads text, of a model that reads pictures or sound, too."""
    text: PretrainedConfig | None = getattr(config, "text_config", None)
    if text is None or config.model_type in ARCHITECTURES:
        return config
    for name in ("_commit_hash", "quantization_config", "tie_word_embeddings"):
        if getattr(config, name, None) is not None:
            setattr(text, name, getattr(config, name))
    return text


def sizes(config: PretrainedConfig) -> Sizes:
    """Shape of a model, from its configuration alone.

    Raises
    ------
    UnsupportedArchitectureError
        If its layers differ in size.
    """
    try:
        return _sizes(config)
    except (AttributeError, RuntimeError) as error:
        raise UnsupportedArchitectureError(
            f"models of type {config.model_type!r} cannot be shown, because their configuration "
            f"gives no one size of all layers ({str(error).split('.')[0]})"
        ) from error


def _sizes(config: PretrainedConfig) -> Sizes:
    hidden = int(config.hidden_size)
    heads = int(config.num_attention_heads)
    inner = next(filter(None, (getattr(config, name, None) for name in _INNER)), 4 * hidden)
    return Sizes(
        layers=int(config.num_hidden_layers),
        heads=heads,
        kv_heads=_kv_heads(config) or heads,
        hidden=hidden,
        intermediate=int(inner),
        vocabulary=int(config.vocab_size),
        positions=_positions(config),
    )


#: What configurations call the number of neurons; 4 times the hidden size where none is given.
_INNER = ("intermediate_size", "n_inner", "ffn_dim", "ffn_hidden_size")


def _positions(config: PretrainedConfig) -> int | None:
    limit: int | None = getattr(config, "max_position_embeddings", None)
    rope: dict[str, Any] = getattr(config, "rope_parameters", None) or {}
    factor = rope.get("factor")
    if limit is None or factor is None:
        return limit
    kind = rope.get("rope_type")
    if kind in ("linear", "dynamic"):
        return int(factor * limit)
    # Others say how far they reached before; most configurations count the factor in already.
    before = rope.get("original_max_position_embeddings") or limit
    return max(limit, int(factor * before)) if kind in ("yarn", "llama3") else limit


def _kv_heads(config: PretrainedConfig) -> int | None:
    # Falcon's number of them counts only in its newer form.
    if getattr(config, "multi_query", False) and not getattr(
        config, "new_decoder_architecture", False
    ):
        return 1
    names = ("num_key_value_heads", "num_kv_heads")
    if getattr(config, "is_heterogeneous", False):
        each: Any = config.per_layer_config
        return max(int(each[at].num_key_value_heads) for at in range(config.num_hidden_layers))
    return next(filter(None, (getattr(config, name, None) for name in names)), None)


def layers(model: PreTrainedModel) -> list[nn.Module]:
    """The layers, first to last."""
    return list(cast(nn.ModuleList, model.get_submodule(architecture_of(model.config).layers)))


def body(model: PreTrainedModel) -> nn.Module:
    """The model without its unembedding; its output has a ``last_hidden_state``."""
    return model.get_submodule(architecture_of(model.config).layers.rpartition(".")[0])


def final_norm(model: PreTrainedModel) -> nn.Module:
    """The norm before the unembedding."""
    return model.get_submodule(architecture_of(model.config).final_norm)


def embedding_norm(model: PreTrainedModel) -> nn.Module | None:
    """The norm of the embeddings in front of the first layer, None where the family has none."""
    name = architecture_of(model.config).embedding_norm
    return model.get_submodule(name) if name else None


def attention_norm(model: PreTrainedModel, layer: int) -> nn.Module | None:
    """The norm in front of the attention block, None where the family has none."""
    name = architecture_of(model.config).attention_norm
    module = layers(model)[layer]
    # Falcon's larger models have one norm for each of the two blocks, and the names differ.
    name = "ln_attn" if hasattr(module, "ln_attn") else name
    return module.get_submodule(name) if name else None


def norms_behind(model: PreTrainedModel, layer: int) -> tuple[nn.Module, nn.Module] | None:
    """The norms of what attention and what the feed-forward block give; None without such."""
    block = layers(model)[layer]
    behind = getattr(block, "post_feedforward_layernorm", None)
    # Elsewhere the norm of this name stands in front of the feed-forward block.
    return behind and (cast(nn.Module, block.post_attention_layernorm), behind)


def norm_gain(model: PreTrainedModel, norm: nn.Module) -> Tensor | None:
    """What a norm multiplies by, shape [hidden]; None where it has no weight."""
    if getattr(below_adapters(norm), "weight", None) is None:
        return None
    return dense_weight(norm) + architecture_of(model.config).norm_offset


def attention(model: PreTrainedModel, layer: int) -> nn.Module:
    """The attention block; its second output is the pattern, where that is not left out."""
    path = _mixed(model, layer)[1].rpartition(".")[0]
    return layers(model)[layer].get_submodule(path)


def attention_out(model: PreTrainedModel, layer: int) -> nn.Module:
    """Linear map from the heads side by side to the output of the attention block."""
    return layers(model)[layer].get_submodule(_mixed(model, layer)[1])


def attends(model: PreTrainedModel, layer: int) -> bool:
    """Whether a layer has attention, and not a state that it carries along the text."""
    mixer = architecture_of(model.config).mixer
    return not mixer or not hasattr(layers(model)[layer], mixer[0].partition(".")[0])


def attending(model: PreTrainedModel) -> list[int]:
    """The layers that have attention."""
    return [layer for layer in range(len(layers(model))) if attends(model, layer)]


def _mixed(model: PreTrainedModel, layer: int) -> tuple[tuple[str, ...], str]:
    """Where a layer keeps the first and the last linear maps of what mixes tokens."""
    entry = architecture_of(model.config)
    if attends(model, layer):
        return entry.query_key_value, entry.attention_out
    return entry.mixer[:1], entry.mixer[1]


def feed_forward_out(model: PreTrainedModel, layer: int) -> nn.Module:
    """Linear map from the neurons to the output of the feed-forward layer; of experts all of it."""
    return layers(model)[layer].get_submodule(architecture_of(model.config).feed_forward_out)


def unembedding(model: PreTrainedModel) -> Tensor:
    """Rows that score the next token, shape [vocabulary, hidden]."""
    return dense_weight(output_embeddings(model))


def logits(model: PreTrainedModel, residual: Tensor) -> Tensor:
    """Next-token logits of a residual stream that is not yet normed, shape [..., vocabulary]."""
    return scores(model, final_norm(model)(residual))


def scores(model: PreTrainedModel, normed: Tensor) -> Tensor:
    """Next-token logits of the residual stream after the final norm, shape [..., vocabulary]."""
    return scaled(model.config, output_embeddings(model)(normed))


def scaled(config: PretrainedConfig, raw: Tensor) -> Tensor:
    """Next-token logits of what the unembedding gives."""
    # Cohere multiplies, Granite divides, Gemma bounds; `reading_check` finds out what others do.
    if factor := getattr(config, "logit_scale", None):
        raw = raw * factor
    if divisor := getattr(config, "logits_scaling", None):
        raw = raw / divisor
    cap: float | None = getattr(config, "final_logit_softcapping", None)
    return cap * torch.tanh(raw / cap) if cap else raw


def has_neurons(config: PretrainedConfig) -> bool:
    """Whether feed-forward layers are made of as many neurons, with one value vector each."""
    return not architecture_of(config).experts and layer_forms.one_width(config)


def check_neurons(config: PretrainedConfig) -> None:
    """Make sure that the models `has_neurons`.

    Raises
    ------
    UnsupportedArchitectureError
        If not, says why.
    """
    layer_forms.check_one_width(config)
    if architecture_of(config).experts:
        raise UnsupportedArchitectureError(
            f"the feed-forward layers of {config.model_type!r} models are mixtures of experts, "
            "whose neurons and components twinlens does not show: all that is about tokens, "
            "heads and layers works"
        )


def check_heads_everywhere(config: PretrainedConfig) -> None:
    """Make sure that heads and feed-forward layers are all that layers have.

    Raises
    ------
    UnsupportedArchitectureError
        If some have no heads, or embeddings of their own.
    """
    if layer_forms.layer_embeddings(config):
        raise UnsupportedArchitectureError(
            f"each layer of this {config.model_type!r} model has embeddings of the tokens of its "
            "own, so that its parts are not exchanged: all that is about tokens, heads and layers "
            "is shown"
        )
    if architecture_of(config).mixer:
        raise UnsupportedArchitectureError(
            f"some layers of {config.model_type!r} models carry a state along the text in place of "
            "attention, so that their parts are not exchanged: heads of the other layers, and all "
            "that is about tokens, neurons and layers, are shown"
        )


def check_heads(model: PreTrainedModel, layer: int) -> None:
    """Make sure that a layer has attention heads.

    Raises
    ------
    HeadIndexError
        If it has none; names those that have.
    """
    if not attends(model, layer):
        raise no_heads(layer, attending(model))


def with_keys(model: PreTrainedModel) -> list[int]:
    """The layers that have heads with keys and values of their own."""
    end = len(layers(model)) - layer_forms.without_keys(model.config)
    return [layer for layer in attending(model) if layer < end]


def check_keys(model: PreTrainedModel, layer: int) -> None:
    """Make sure that a layer has heads with keys and values of their own.

    Raises
    ------
    HeadIndexError
        If not; names those that have.
    """
    check_heads(model, layer)
    if layer not in (others := with_keys(model)):
        raise HeadIndexError(
            f"the heads of layer {layer} have no key and value weights, they read keys and values "
            f"of an earlier layer: choose one of the layers {', '.join(map(str, others))}"
        )


def no_heads(layer: int, others: Sequence[int]) -> HeadIndexError:
    """What is wrong with asking for heads of a layer without attention."""
    return HeadIndexError(
        f"layer {layer} has no heads, it carries a state along the text in place of attention: "
        f"choose one of the layers {', '.join(map(str, others))}"
    )


def value_vectors(model: PreTrainedModel, layer: int) -> Tensor:
    """What each feed-forward neuron writes, shape [intermediate, hidden].

    Raises
    ------
    UnsupportedArchitectureError
        If the layers are mixtures of experts.
    """
    check_neurons(model.config)
    return linear_weight(feed_forward_out(model, layer)).T


def output_weights(model: PreTrainedModel, layer: int) -> Tensor:
    """Output weights (W_O) of every head, shape [heads, hidden, head_dim].

    Raises
    ------
    HeadIndexError
        If the layer has none.
    """
    check_heads(model, layer)
    weight = linear_weight(attention_out(model, layer))
    heads = sizes(model.config).heads
    return weight.reshape(weight.shape[0], heads, -1).transpose(0, 1)


def head_weights(model: PreTrainedModel, layer: int) -> tuple[Tensor, Tensor, Tensor]:
    """Query, key and value weights, before rotary position, norms, gates and biases.

    Returns
    -------
    query : tensor, shape [heads, head_dim, hidden]
    key, value : tensor, shape [kv_heads, head_dim, hidden]
        Query head h reads key head ``h // (heads // kv_heads)``.

    Raises
    ------
    HeadIndexError
        If the layer has none of its own.
    """
    check_keys(model, layer)
    modules = query_key_value(model, layer)
    weights = [linear_weight(module) for module in modules]
    return split_heads(model.config, weights)


def query_key_value(model: PreTrainedModel, layer: int) -> list[nn.Module]:
    """The linear maps of queries, keys and values, or the one that computes all three.

    That of the keys stands for the values, too, where those are made of the same numbers. Alone
    that of queries, in layers that read keys and values of an earlier one.
    """
    block, paths = layers(model)[layer], _mixed(model, layer)[0]
    if layer >= len(layers(model)) - layer_forms.without_keys(model.config):
        paths = paths[:1]
    modules = [attrgetter(path)(block) for path in paths]
    return [modules[1] if module is None else module for module in modules]


def split_heads(config: PretrainedConfig, rows: list[Tensor]) -> tuple[Tensor, Tensor, Tensor]:
    """Rows [out, ...] of `query_key_value` by kind and head: weights, or biases.

    The size of a head, and how many there are of keys, are facts of the layer: of its rows.
    """
    shape, fused = sizes(config), architecture_of(config).fused
    if fused == "interleaved":
        shared = shape.heads // shape.kv_heads
        groups = rows[0].reshape(shape.kv_heads, shared + 2, -1, *rows[0].shape[1:])
        return groups[:, :shared].flatten(0, 1), groups[:, -2], groups[:, -1]
    if fused == "stacked":
        counts = (shape.heads, shape.kv_heads, shape.kv_heads)
        size = rows[0].shape[0] // sum(counts)
        rows = list(torch.split(rows[0], [count * size for count in counts]))
    query = rows[0].reshape(shape.heads, -1, *rows[0].shape[1:])
    if architecture_of(config).gated:
        query = query[:, : query.shape[1] // 2]
    key, value = (part.reshape(-1, query.shape[1], *part.shape[1:]) for part in rows[1:])
    return query, key, value


def output_embeddings(model: PreTrainedModel) -> nn.Module:
    """The linear map from the normed residual stream to logits."""
    return cast(nn.Module, model.get_output_embeddings())  # type: ignore[no-untyped-call]
