"""A model run with other weights than its own."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from twinlens.compute.models.dense import below_adapters, parameter_places


@contextmanager
def changed_weights(
    model: PreTrainedModel, change: Callable[[str, Tensor], Tensor]
) -> Iterator[None]:
    """Run the model with other weights, made anew where each is used: no copy of all is held."""
    names = {(below_adapters(module), key): name for name, module, key in parameter_places(model)}
    own: dict[nn.Module, dict[str, nn.Parameter | None]] = {}

    def put(module: nn.Module, _: object) -> None:
        own[module] = dict(module._parameters)
        for key, weight in own[module].items():
            if weight is not None and weight.is_floating_point():
                changed = change(names.get((module, key), ""), weight.detach())
                module._parameters[key] = nn.Parameter(changed, requires_grad=False)

    def put_back(module: nn.Module, *_: object) -> None:
        module._parameters.update(own.pop(module, {}))

    with ExitStack() as stack, torch.no_grad():
        for module in model.modules():
            if module._parameters:
                stack.callback(module.register_forward_pre_hook(put).remove)
                hook = module.register_forward_hook(put_back, always_call=True)
                stack.callback(hook.remove)
        try:
            yield
        finally:
            for module in list(own):
                put_back(module)
