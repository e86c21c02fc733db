"""A pass that begins in the middle: at a layer, with a residual stream that is known."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from torch import Tensor, nn
from transformers import PreTrainedModel

from twinlens.compute.models import architectures
from twinlens.compute.models.layer_forms import without_keys


@contextmanager
def onward(model: PreTrainedModel, layer: int, residual: Tensor, returned: int) -> Iterator[None]:
    """Leave out the layers below one in the passes inside.

    They run all the same where layers read keys and values of earlier ones; what they add to the
    residual stream is then not used.

    Parameters
    ----------
    layer : int
        First layer that runs; their number for the final norm.
    residual : tensor [S, hidden] or [B, S, hidden]
        Residual stream in front of it, of every text or of each.
    returned : int
        See `Capture.returned`.
    """
    modules = architectures.layers(model)
    at = modules[layer] if layer < len(modules) else architectures.final_norm(model)

    def into(_: nn.Module, given: tuple[Any, ...]) -> tuple[Any, ...]:
        return (residual.to(given[0]).expand_as(given[0]), *given[1:])

    with ExitStack() as stack:
        for module in () if without_keys(model.config) else modules[:layer]:
            stack.enter_context(_left_out(module, returned))
        stack.enter_context(at.register_forward_pre_hook(into))
        yield


@contextmanager
def _left_out(module: nn.Module, returned: int) -> Iterator[None]:
    """Let a layer give back what it is given."""

    def forward(states: Tensor, *_: Any, **__: Any) -> Any:
        return (states, *[None] * (returned - 1)) if returned else states

    before = module.__dict__.get("forward")
    module.forward = forward
    try:
        yield
    finally:
        if before is None:
            del module.forward
        else:
            module.forward = before
