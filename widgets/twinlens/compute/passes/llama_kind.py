"""Models whose layers are of Llama's kind, of which passes are written out.

Seven plain linear maps and two norms in each layer, and nothing else that has weights. That a pass
comes out right is tried out once for each model besides: multipliers have no weights.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import torch
from torch import nn

from twinlens.compute.models import architectures
from twinlens.compute.models.dense import is_plain
from twinlens.compute.models.families import Architecture
from twinlens.compute.passes.conditions import hookable

if TYPE_CHECKING:
    from transformers import PreTrainedModel

_MAPS = (
    *("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.o_proj"),
    *("mlp.gate_proj", "mlp.up_proj", "mlp.down_proj"),
)
_NORMS = ("input_layernorm", "post_attention_layernorm")


def of_llama_kind(model: PreTrainedModel) -> bool:
    """Whether all layers look like it, in full precision on a processor."""
    return (
        model.device.type == "cpu"
        and model.dtype in (torch.float32, torch.float64)
        and architectures.architecture_of(model.config) == Architecture()
        and hookable(model)
        and hasattr(architectures.final_norm(model), "variance_epsilon")
        and all(map(_layer_looks_like_it, architectures.layers(model)))
    )


def made_of(model: PreTrainedModel) -> tuple[object, ...]:
    """What being of this kind rests on, and what adapters, quantisation and patches change."""
    return (
        model.device.type,
        model.dtype,
        *(
            (type(part), type(part._parameters.get("weight")))
            for layer in architectures.layers(model)
            for part in layer.modules()
        ),
    )


def is_untouched(model: PreTrainedModel) -> bool:
    """Whether nothing listens to the parts of its layers, or changes what they give."""
    return not any(
        part._forward_pre_hooks
        or not all(map(_sleeps, part._forward_hooks.values()))
        or "forward" in vars(part)
        for layer in architectures.layers(model)
        for part in _parts(layer)
    )


def _sleeps(hook: object) -> bool:
    """Whether transformers left it, for all outputs that may be asked for: nobody asks here."""
    return getattr(hook, "__module__", "") == "transformers.utils.output_capturing"


def _layer_looks_like_it(layer: nn.Module) -> bool:
    parts = dict(layer.named_modules())
    weighted = {
        name for name, part in parts.items() if next(part.parameters(False), None) is not None
    }
    return (
        weighted == {*_MAPS, *_NORMS}
        and all(type(parts[name]) is nn.Linear and is_plain(parts[name]) for name in _MAPS)
        and all(hasattr(parts[name], "variance_epsilon") for name in _NORMS)
        and not any(parameter.is_meta for parameter in layer.parameters())
        and not any(hasattr(part, "_hf_hook") for part in parts.values())
    )


def _parts(layer: nn.Module) -> list[nn.Module]:
    whole = cast(Any, layer)
    blocks = [layer, *layer.children()]
    return [*blocks, *whole.self_attn.children(), *whole.mlp.children()]
