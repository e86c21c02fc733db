"""Where each family of models keeps its parts: adding a family is adding an entry."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import Literal

from twinlens.errors import ArgumentError
from twinlens.support.calls import called_rightly, methods_called_rightly


@methods_called_rightly
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
        queries, key and value of the heads that share key head 0, then of those that share key
        head 1, and so on.
    attention_norm : str
        Norm in front of the attention block, "" where the family has none.
    embedding_norm : str
        Norm of the embeddings in front of the first layer, "" where the family has none.
    norm_offset : float
        Added to the weights of a norm where they are used: 1 for Gemma, which stores them less 1.
    attention_out, feed_forward_out : str
        Last linear map of the attention block (its input are the heads side by side) and of the
        feed-forward layer (its input are the neurons after their gate).
    experts : bool
        Whether the feed-forward layer is a mixture of experts. `feed_forward_out` is then the whole
        layer, and what is about neurons and their value vectors is not shown.
    gated : bool
        Whether the linear map of the queries gives more rows behind those of each head, the gate
        that its output is multiplied by.
    mixer : tuple of str
        Of families in which some layers carry a state along the text in place of attention: its
        first and its last linear map there. Those layers have no heads.

    Examples
    --------
    >>> import twinlens as tl
    >>> described = tl.Architecture(attention_out="self_attn.dense", feed_forward_out="mlp.fc2")
    >>> tl.register_architecture("my_llama", described)
    """

    layers: str = "model.layers"
    final_norm: str = "model.norm"
    query_key_value: tuple[str, ...] = ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj")
    fused: Literal["no", "stacked", "interleaved"] = "no"
    attention_norm: str = "input_layernorm"
    embedding_norm: str = ""
    norm_offset: float = 0.0
    attention_out: str = "self_attn.o_proj"
    feed_forward_out: str = "mlp.down_proj"
    experts: bool = False
    gated: bool = False
    mixer: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            several = name in ("query_key_value", "mixer")
            texts = value if several and isinstance(value, tuple) else (value,)
            if name in ("norm_offset", "experts", "gated"):
                continue
            if several is not isinstance(value, tuple) or not all(
                isinstance(text, str) for text in texts
            ):
                what = "a tuple of module paths" if several else "a module path"
                raise ArgumentError(f"{name} is {what}, not {value!r}")
        if self.fused not in ("no", "stacked", "interleaved"):
            raise ArgumentError(f'fused is "no", "stacked" or "interleaved", not {self.fused!r}')
        if len(self.mixer) not in (0, 2):
            raise ArgumentError(f"mixer names 2 modules or none, not {len(self.mixer)}")
        needed = 3 if self.fused == "no" else 1
        if len(self.query_key_value) != needed:
            raise ArgumentError(
                f"with fused={self.fused!r} query_key_value names {needed} modules, "
                f"not {len(self.query_key_value)}"
            )


#: As Llama: every module under its default name.
_PLAIN = (
    *("arcee", "bitnet", "cohere", "cohere2", "cwm", "ernie4_5", "glm", "glm4", "granite"),
    *("helium", "hunyuan_v1_dense", "internlm3", "jais2", "llama", "ministral", "ministral3"),
    *("mistral", "olmo", "qwen2", "qwen3", "seed_oss", "smollm3", "stablelm"),
)
#: As Llama, with a mixture of experts in place of the feed-forward layer.
_EXPERTS = (
    *("cohere2_moe", "ernie4_5_moe", "exaone_moe", "glm4_moe", "gpt_oss", "hunyuan_v1_moe"),
    *("minimax_m2", "mixtral", "olmoe", "phimoe", "qwen2_moe", "qwen3_moe", "solar_open"),
)
#: Families whose text part no entry describes, and why.
REFUSED = {
    **dict.fromkeys(
        ("gemma3n", "gemma3n_text"),
        "they carry several residual streams, and each layer has embeddings of its own",
    ),
    **dict.fromkeys(("mamba", "mamba2", "falcon_mamba"), "none of their layers has attention"),
    **dict.fromkeys(
        ("deepseek_v2", "deepseek_v3"), "the keys of their heads are not linear maps of the text"
    ),
}
_GPT2 = Architecture(
    layers="transformer.h",
    final_norm="transformer.ln_f",
    query_key_value=("attn.c_attn",),
    fused="stacked",
    attention_norm="ln_1",
    attention_out="attn.c_proj",
    feed_forward_out="mlp.c_proj",
)
_FALCON = Architecture(
    layers="transformer.h",
    final_norm="transformer.ln_f",
    query_key_value=("self_attention.query_key_value",),
    fused="interleaved",
    attention_out="self_attention.dense",
    feed_forward_out="mlp.dense_4h_to_h",
)
_QWEN3_5 = Architecture(
    norm_offset=1.0, gated=True, mixer=("linear_attn.in_proj_qkv", "linear_attn.out_proj")
)

ARCHITECTURES: dict[str, Architecture] = {
    **dict.fromkeys(_PLAIN, Architecture()),
    **dict.fromkeys(_EXPERTS, Architecture(feed_forward_out="mlp", experts=True)),
    **dict.fromkeys(
        ("gemma", "gemma2", "gemma3_text", "vaultgemma"), Architecture(norm_offset=1.0)
    ),
    "qwen3_5_text": _QWEN3_5,
    "qwen3_5_moe_text": replace(_QWEN3_5, feed_forward_out="mlp", experts=True),
    **dict.fromkeys(("gemma4_text", "gemma4_unified_text"), Architecture()),
    **dict.fromkeys(("olmo2", "olmo3", "exaone4"), Architecture(attention_norm="")),
    "flex_olmo": Architecture(attention_norm="", feed_forward_out="mlp", experts=True),
    "granitemoe": Architecture(feed_forward_out="block_sparse_moe", experts=True),
    "llama4_text": Architecture(feed_forward_out="feed_forward", experts=True),
    "apertus": Architecture(attention_norm="attention_layernorm"),
    "nemotron": Architecture(norm_offset=1.0),
    "starcoder2": Architecture(feed_forward_out="mlp.c_proj"),
    "phi3": Architecture(query_key_value=("self_attn.qkv_proj",), fused="stacked"),
    "phi": Architecture(
        final_norm="model.final_layernorm",
        attention_out="self_attn.dense",
        feed_forward_out="mlp.fc2",
    ),
    "opt": Architecture(
        layers="model.decoder.layers",
        final_norm="model.decoder.final_layer_norm",
        attention_norm="self_attn_layer_norm",
        attention_out="self_attn.out_proj",
        feed_forward_out="fc2",
    ),
    **dict.fromkeys(("gpt2", "gpt_bigcode"), _GPT2),
    "gptj": replace(
        _GPT2,
        query_key_value=tuple(f"attn.{name}_proj" for name in "qkv"),
        fused="no",
        attention_out="attn.out_proj",
        feed_forward_out="mlp.fc_out",
    ),
    "gpt_neox": Architecture(
        layers="gpt_neox.layers",
        final_norm="gpt_neox.final_layer_norm",
        query_key_value=("attention.query_key_value",),
        fused="interleaved",
        attention_out="attention.dense",
        feed_forward_out="mlp.dense_4h_to_h",
    ),
    "persimmon": Architecture(
        final_norm="model.final_layernorm",
        query_key_value=("self_attn.query_key_value",),
        fused="interleaved",
        attention_out="self_attn.dense",
        feed_forward_out="mlp.dense_4h_to_h",
    ),
    "falcon": _FALCON,
    "bloom": replace(_FALCON, embedding_norm="transformer.word_embeddings_layernorm"),
}


@called_rightly
def register_architecture(name: str, architecture: Architecture) -> None:
    """Tell twinlens where a family of models keeps its parts.

    When such a model is loaded a short pass is rebuilt from them; what does not fit is refused.

    Parameters
    ----------
    name : str
        ``model_type`` in the model's ``config.json``, of letters, digits, ``.``, ``_`` and ``-``;
        an entry that is there is replaced.
    architecture : Architecture
        Module paths, as ``print(model)`` shows them.

    Raises
    ------
    ArgumentError
        If it is no description, or its name is none.

    Examples
    --------
    A family that differs from Llama in the names of two modules:

    >>> import twinlens as tl
    >>> tl.register_architecture(
    ...     "my_llama",
    ...     tl.Architecture(attention_out="self_attn.dense", feed_forward_out="mlp.fc2"),
    ... )
    """
    named = isinstance(name, str) and re.fullmatch(r"[A-Za-z0-9._-]+", name)
    if not (named and isinstance(architecture, Architecture)):
        raise ArgumentError(
            "a family has its model_type (letters, digits, '.', '_', '-') and a "
            f"twinlens.Architecture(...), not {name!r} and {architecture!r}"
        )
    ARCHITECTURES[name] = architecture
