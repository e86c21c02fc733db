"""Weights as numbers, however a module stores them: packed, or with an adapter over them."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any, TypeGuard, cast

import torch
from torch import Tensor, nn

from twinlens.errors import UnsupportedArchitectureError

#: Largest share of an output that is put down to rounded activations.
_ROUNDING = 0.05
_PLAIN = (torch.float64, torch.float32, torch.bfloat16, torch.float16)


def dense_weight(module: nn.Module) -> Tensor:
    """The weight that a module applies as it stands, floating-point, laid out as the module has it.

    Of an adapter that is switched on it holds the change as well.
    """
    if hasattr(module, "original_module"):  # a part that was trained whole, beside the adapter
        return dense_weight(_trained(module))
    if hasattr(module, "get_base_layer"):
        return _adapted(module)
    weight = getattr(module, "weight", None)
    if isinstance(weight, Tensor) and weight.is_meta and hasattr(module, "_hf_hook"):
        from accelerate.utils import align_module_device

        with align_module_device(module):  # offloaded to memory or disk
            return dense_weight(module).clone()
    return (weight if _plain(weight) else _unpacked(module, weight)).detach()


def parameter_value(module: nn.Module, key: str) -> Tensor:
    """A parameter of a module, as `dense_weight` where it is its weight, or of what lies below."""
    if key == "weight":
        return dense_weight(module)
    holder = module if hasattr(module, key) else below_adapters(module)
    return cast(Tensor, getattr(holder, key)).detach()


def linear_weight(module: nn.Module) -> Tensor:
    """`dense_weight` as [out, in]; GPT-2's Conv1D keeps it the other way round."""
    weight = dense_weight(module)
    return weight if isinstance(below_adapters(module), nn.Linear) else weight.T


def below_adapters(module: nn.Module) -> nn.Module:
    """The module of the base model that an adapter stands over, or the module itself."""
    for name in ("base_layer", "original_module"):
        if hasattr(module, name):
            return below_adapters(cast(nn.Module, getattr(module, name)))
    return module


def is_plain(module: nn.Module) -> bool:
    """Whether a module computes with its weight as it lies there: neither packed nor rounded.

    Not under an adapter, either.
    """
    # compressed-tensors rounds what goes into a module whose weight it has unpacked.
    rounding = getattr(getattr(module, "quantization_scheme", None), "input_activations", None)
    weight = getattr(module, "weight", None)
    return _plain(weight) and rounding is None and not hasattr(module, "get_base_layer")


def _plain(weight: object) -> TypeGuard[Tensor]:
    # A subclass of either may be packed whatever type it says it has.
    return type(weight) in (Tensor, nn.Parameter) and cast(Tensor, weight).dtype in _PLAIN


def parameter_places(model: nn.Module, path: str = "") -> Iterator[tuple[str, nn.Module, str]]:
    """Every parameter of a model without its adapters: its name, its module and its name there."""
    if hasattr(model, "get_base_layer") or hasattr(model, "original_module"):
        for key in _own(below_adapters(model)):
            yield f"{path}.{key}", model, key
        return
    for key in _own(model):
        yield f"{path}.{key}", model, key
    for name, child in model.named_children():
        yield from parameter_places(child, f"{path}.{name}" if path else name)


def _own(module: nn.Module) -> list[str]:
    return [key for key, parameter in module._parameters.items() if parameter is not None]


def _trained(wrapper: nn.Module) -> nn.Module:
    if wrapper.disable_adapters or not wrapper.active_adapters:
        return cast(nn.Module, wrapper.original_module)
    if hasattr(wrapper, "token_adapter"):
        return cast(nn.Module, wrapper.token_adapter)
    return cast(nn.Module, wrapper.modules_to_save[wrapper.active_adapters[0]])  # type: ignore[index]


def _adapted(module: Any) -> Tensor:
    base = cast(nn.Module, module.get_base_layer())
    if module.disable_adapters or module.merged:
        return dense_weight(base)
    if is_plain(base):
        # On a copy of this one module: every kind of adapter knows best how it is merged.
        merged = copy.deepcopy(module)
        try:
            with torch.no_grad():
                merged.merge()
        except (NotImplementedError, ValueError, AttributeError, RuntimeError) as error:
            raise UnsupportedArchitectureError(
                "the weights of this kind of adapter cannot be looked at, because they cannot be "
                f"merged into those of the base model ({type(module).__module__})"
            ) from error
        return dense_weight(merged.get_base_layer())
    active = [name for name in module.active_adapters if name in getattr(module, "lora_A", {})]
    if any(name in getattr(module, "lora_variant", {}) for name in active):
        raise UnsupportedArchitectureError(
            "the weights of this variant of LoRA over a quantised model cannot be looked at: load "
            "the base model in a floating-point type"
        )
    weight = dense_weight(base)
    for name in active:
        weight = weight + module.get_delta_weight(name).to(weight)
    return weight


def _unpacked(module: nn.Module, weight: object) -> Tensor:
    """Weight of a quantised module, as it is used."""
    kind = type(weight).__name__
    unpacked: object = None
    if kind in ("Params4bit", "Int8Params"):
        unpacked = _of_bitsandbytes(module)
    elif isinstance(weight, Tensor) and type(weight) not in (Tensor, nn.Parameter):
        # Tensors that do arithmetic on packed numbers, such as torchao's, can unpack them.
        unpacked = weight.dequantize() if hasattr(weight, "dequantize") else None
    if type(unpacked) is Tensor and _is_applied(module, unpacked):
        return unpacked
    raise UnsupportedArchitectureError(
        f"the weights of {type(module).__name__} modules are quantised and cannot be looked at: "
        "load the model in a floating-point type"
    )


def _of_bitsandbytes(module: Any) -> object:
    from transformers.integrations.bitsandbytes import dequantize_bnb_weight

    if getattr(getattr(module.weight, "quant_state", None), "packing_format_for_cpu", False):
        # Laid out for a kernel; it is put in order again where it is saved.
        module = copy.deepcopy(module)
        module.state_dict()
        scales = module.weight.quant_state
        if scales.absmax.ndim == 2:  # bitsandbytes 0.50 forgets to put these in order
            scales.absmax = scales.absmax.T.float().flatten()
    return dequantize_bnb_weight(module.weight, getattr(module, "state", None))


@torch.no_grad()
def _is_applied(module: nn.Module, weight: Tensor) -> bool:
    """Whether a linear map is what a module computes, but for rounded activations."""
    if not hasattr(module, "in_features"):
        return True
    made = torch.Generator().manual_seed(0)
    given = torch.randn(2, weight.shape[1], generator=made, dtype=torch.float32).to(weight)
    try:
        change = cast(Tensor, module.forward(given) - module.forward(torch.zeros_like(given)))
    except (RuntimeError, NotImplementedError, TypeError, ValueError):
        return False
    expected = given @ weight.T
    return bool((change - expected).norm() <= _ROUNDING * expected.norm())
