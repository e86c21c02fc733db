"""A copy of tuned with its update, or a part of it, times a scale; other weights are not copied.

Of plain LoRA its scaling is turned, of everything else the weights lie on the straight way from
base through tuned, and one direction is added to or taken from its matrix. The models of the pair
stay as they are: modules are copied, numbers shared.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping
from typing import Any, cast

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from twinlens.compute.models.dense import (
    below_adapters,
    is_plain,
    linear_weight,
    parameter_places,
    parameter_value,
)
from twinlens.compute.models.models import Models
from twinlens.compute.update.directions import MatrixUpdate, both_models, lora_factors
from twinlens.contract.words import SIDES, TurnedPart
from twinlens.errors import ArgumentError, UnsupportedArchitectureError

#: The dial's end.
MOST = 2.0


def read_scale(scale: object) -> float:
    """A place of the dial.

    Raises
    ------
    ArgumentError
        If it is none.
    """
    number = isinstance(scale, int | float) and not isinstance(scale, bool)
    if not (number and math.isfinite(cast(float, scale)) and 0 <= cast(float, scale) <= MOST):
        raise ArgumentError(
            f"the dial goes from 0, which is base, to {MOST:g}; 1 is tuned: not to {scale!r}"
        )
    return float(cast(float, scale))


def read_part(layer: object, kind: object, direction: object) -> TurnedPart:
    """What of the update a dial turns.

    Raises
    ------
    ArgumentError
        If it is nothing that there may be.
    """
    for name, index in (("layer", layer), ("direction", direction)):
        if index is not None and (type(index) is not int or index < 0):
            raise ArgumentError(f"{name} is a number that counts from 0, not {index!r}")
    if not (kind is None or isinstance(kind, str)):
        raise ArgumentError(f'kind is a kind of matrix such as "q_proj", not {kind!r}')
    if direction is not None and (layer is not None or kind is not None):
        raise ArgumentError("give a direction alone: it counts over all matrices")
    return TurnedPart(cast("int | None", layer), kind, cast("int | None", direction))


def turned_model(
    pair: Models,
    scale: float,
    part: TurnedPart,
    direction: tuple[MatrixUpdate, int] | None,
) -> PreTrainedModel:
    """Tuned with its update times a scale, in evaluation mode, frozen.

    Parameters
    ----------
    part : TurnedPart
        What of it is turned.
    direction : (MatrixUpdate, int) or None
        The one that is turned alone.

    Raises
    ------
    ArgumentError
        If the update changes nothing in that part.
    MemoryNeededError
        If the models of the pair are not loaded together.
    UnsupportedArchitectureError
        If weights cannot be read, or the models are spread over devices.
    """
    both_models(pair)
    with pair.model("tuned") as tuned:
        if any(hasattr(module, "_hf_hook") for module in tuned.modules()):
            raise UnsupportedArchitectureError(
                "the dial turns no model that is spread by device_map: load the pair on one device"
            )
        shared: dict[int, Any] = {id(tensor): tensor for tensor in tuned.buffers()}
        for tensor in tuned.parameters():
            plain = type(tensor) is nn.Parameter and tensor.is_floating_point()
            shared[id(tensor)] = nn.Parameter(tensor.data, requires_grad=False) if plain else tensor
        turned = copy.deepcopy(tuned, shared)
    copies = {
        id(module): clone for module, clone in zip(tuned.modules(), turned.modules(), strict=True)
    }
    with pair.pieces("base") as base:
        ours = {name: (module, key) for name, module, key in parameter_places(base)}
    seen: set[int] = set()
    changed = False
    for name, module, key in list(parameter_places(tuned)):
        if name not in ours or not part.holds(name):
            continue
        own, adapted = ours[name][0], below_adapters(module) is not module
        parameter = below_adapters(module)._parameters[key]
        if id(parameter) in seen or (own is module and not adapted):
            continue
        if direction is not None:
            if name == direction[0].name:
                _put(turned, copies, module, key, _with_direction(pair, module, scale, *direction))
            continue
        # The adapters of the copy are on, as they were while it was made.
        place = cast(Any, copies[id(module)])
        if own is module and key == "weight" and lora_factors(place) is not None:
            place.scaling.update({adapter: scale * by for adapter, by in place.scaling.items()})
            changed = True
            continue
        seen.add(id(parameter))
        values = []
        for side, held in zip(SIDES, (own, module), strict=True):
            with pair.held(side):
                values.append(parameter_value(held, key))
        mixed = _between(values[0], values[1], scale)
        if mixed is not None:
            _put(turned, copies, module, key, mixed)
            changed = True
    if not (changed or part.whole or direction is not None):
        raise ArgumentError(f"the update changes nothing in {part}: turn another part of it")
    return turned


def _with_direction(
    pair: Models, module: nn.Module, scale: float, matrix: MatrixUpdate, k: int
) -> Tensor:
    """Tuned's weight with one direction of its update times a scale."""
    if not is_plain(below_adapters(module)):
        raise UnsupportedArchitectureError(
            f"one direction of {matrix.name!r} cannot be turned, because its weights are "
            "quantised: load the models in a floating-point type"
        )
    with pair.held("tuned"):
        weight = linear_weight(module)
    left, right = matrix.directions()
    change = (scale - 1) * matrix.sizes[k] * torch.outer(left[:, k], right[:, k])
    mixed = (weight.float() + change.to(weight.device)).to(weight.dtype)
    return mixed if isinstance(below_adapters(module), nn.Linear) else mixed.T.contiguous()


def _between(base: Tensor, tuned: Tensor, scale: float) -> Tensor | None:
    """A tensor some way from base's to tuned's, of tuned's rows; None where they are the same."""
    if base.shape[1:] != tuned.shape[1:] or base.ndim != tuned.ndim:
        raise UnsupportedArchitectureError(
            "a tensor has another shape in tuned than in base, so that nothing lies between them"
        )
    rows = slice(min(len(base), len(tuned))) if base.ndim else ...
    start, end = base[rows].to(tuned.device), tuned[rows]
    if torch.equal(start, end.to(start.dtype)):
        return None
    mixed = tuned.clone()
    mixed[rows] = (start.float() + scale * (end.float() - start.float())).to(tuned.dtype)
    return mixed


def _put(
    turned: nn.Module, copies: Mapping[int, nn.Module], module: nn.Module, key: str, value: Tensor
) -> None:
    """Give the copy of a module a weight; what an adapter did there is in it already."""
    parameter = nn.Parameter(value, requires_grad=False)
    place = copies[id(module)]
    below = below_adapters(place)
    if below is not place:
        for parent in turned.modules():
            for name, child in parent.named_children():
                if child is place:
                    setattr(parent, name, below)
    old = below._parameters[key]
    for user in turned.modules():  # several where it is tied
        for name, held in user._parameters.items():
            if held is old:
                user._parameters[name] = parameter
