"""Whether a model can be differentiated: kernels for packed weights may know no gradient.

Some say nothing and leave a layer out of the gradient, so each kind of module is tried once.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Literal, cast
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from twinlens.compute.models.dense import is_plain
from twinlens.errors import NotDifferentiableError

#: Packed weights are used with activations that may be rounded, too.
_TOLERANCE = 0.1

Mode = Literal["reverse", "forward"]

_known: WeakKeyDictionary[nn.Module, dict[Mode, str]] = WeakKeyDictionary()


def check_differentiable(model: nn.Module) -> None:
    """Make sure that gradients go through the whole model.

    Raises
    ------
    NotDifferentiableError
        If a kind of its modules has none.
    """
    kind = _without(model)["reverse"]
    if kind:
        raise NotDifferentiableError(
            f"gradients do not pass through {kind} modules on this device: choose a method that "
            "only runs the model, such as occlusion, or load it in a floating-point type"
        )


def has_forward_mode(model: nn.Module) -> bool:
    """Whether directional derivatives can be taken, several together."""
    return not _without(model)["forward"]


def _without(model: nn.Module) -> dict[Mode, str]:
    """Kind of module that has no derivative, by mode; "" where all have."""
    if model not in _known:
        kinds: dict[str, nn.Module] = {}
        for module in model.modules():
            # Of an adapter the layer below it is tried: its own part is plain.
            if hasattr(module, "in_features") and not hasattr(module, "get_base_layer"):
                weight = getattr(module, "weight", None)
                if not is_plain(module) and not (isinstance(weight, Tensor) and weight.is_meta):
                    kinds.setdefault(f"{type(module).__name__} {type(weight)}", module)
        tried: dict[Mode, Callable[[nn.Module, Tensor, Tensor], Tensor]] = {
            "reverse": _reverse,
            "forward": _forward,
        }
        _known[model] = {
            mode: next(
                (
                    type(module).__name__
                    for module in kinds.values()
                    if not _passes(module, slope, cast(torch.dtype, model.dtype))
                ),
                "",
            )
            for mode, slope in tried.items()
        }
    return _known[model]


@torch.inference_mode(False)
def _passes(
    module: nn.Module, slope: Callable[[nn.Module, Tensor, Tensor], Tensor], dtype: torch.dtype
) -> bool:
    """Whether slopes along a direction are those of the linear map that the module is."""
    device = next(iter([*module.parameters(), *module.buffers()])).device
    made = torch.Generator().manual_seed(0)
    shape = (2, 3, int(module.in_features))  # type: ignore[arg-type]
    point, direction = (
        torch.randn(shape, generator=made, dtype=torch.float32).to(device, dtype) for _ in range(2)
    )
    try:
        with torch.no_grad():
            expected = (module(direction) - module(torch.zeros_like(point))).float().sum(dim=-1)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            computed = slope(module, point, direction).float()
    except (RuntimeError, NotImplementedError, TypeError, ValueError):
        return False
    return bool((computed - expected).norm() <= _TOLERANCE * expected.norm())


def _reverse(module: nn.Module, point: Tensor, direction: Tensor) -> Tensor:
    """By batched backward passes, as the methods take them; summed over what comes out."""
    point = point.requires_grad_()
    with torch.enable_grad():
        output = module(point)
    seeds = torch.ones_like(output).expand(2, *output.shape)
    (gradients,) = torch.autograd.grad(output, point, seeds, is_grads_batched=True)
    return (gradients[0] * direction).sum(dim=-1)


def _forward(module: nn.Module, point: Tensor, direction: Tensor) -> Tensor:
    """By directional derivatives, several together."""

    def derivative(tangent: Tensor) -> Tensor:
        slope: Tensor = torch.func.jvp(module, (point,), (tangent,))[1]
        return slope

    with torch.no_grad():
        slopes: Tensor = torch.func.vmap(derivative)(torch.stack([direction, direction]))
    return slopes[0].sum(dim=-1)
