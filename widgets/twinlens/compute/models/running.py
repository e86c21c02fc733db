"""A model that is not ours alone, made ready to run and put back as it was."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from inspect import isfunction
from typing import TypeVar

import torch
from torch import nn
from transformers import PreTrainedModel

from twinlens.compute.models.adapters import switches
from twinlens.errors import ModelLoadError

#: One attention for everything: sdpa knows no soft caps and no forward-mode gradients.
ATTENTION = "eager"

#: What hooks are called by which transformers and peft ask for gradients of the input.
_ASKING = "make_inputs_require_grad"
#: Where accelerate keeps the forward pass that it wraps for training in mixed precision.
_UNWRAPPED = "_original_forward"
#: Devices that autocast may hold for.
_AUTOCAST = ("cpu", "cuda", "mps", "xpu")

C = TypeVar("C", bound=type)


@contextmanager
def made_ready(model: PreTrainedModel, adapters: bool | None) -> Iterator[None]:
    """Evaluation mode, frozen weights, eager attention, no mixed precision, no compiled code.

    So it is while inside; everything is as before afterwards, whatever happened.

    Parameters
    ----------
    adapters : bool or None
        Whether adapters are on; None leaves them as they are.

    Raises
    ------
    ModelLoadError
        If its attention cannot be looked at.
    """
    # Callbacks run last first, each of them even if another fails.
    with ExitStack() as undo:
        # Of one walk through the model: it is entered hundreds of times for some blocks.
        modules = list(model.modules())
        parameters = [p for module in modules for p in module._parameters.values() if p is not None]
        undo.callback(_require, [p for p in parameters if p.requires_grad], True)
        training = [module for module in modules if module.training]
        undo.callback(_train, training)
        if training:
            model.train(False)
        if adapters is not None:
            # Switching on asks for gradients; so it is before they are refused.
            undo.callback(_require, parameters, False)
            for module in switches(model):
                if module.disable_adapters == adapters:
                    undo.callback(module.enable_adapters, not adapters)
                    module.enable_adapters(adapters)
        _require([p for p in parameters if p.requires_grad], False)
        for module in modules:
            for key, hook in list(module._forward_hooks.items()):
                # Training with checkpoints wants gradients of what the embedding gives.
                if getattr(hook, "__name__", "").startswith(_ASKING):
                    undo.callback(module._forward_hooks.__setitem__, key, hook)
                    del module._forward_hooks[key]
        if "forward" in vars(model) and _UNWRAPPED in vars(model):
            undo.callback(setattr, model, "forward", model.forward)
            model.forward = getattr(model, _UNWRAPPED)
        compiled = getattr(model, "_compiled_call_impl", None)
        if compiled is not None:
            undo.callback(setattr, model, "_compiled_call_impl", compiled)
            model._compiled_call_impl = None
        attention = model.config._attn_implementation
        if attention != ATTENTION:
            undo.callback(model.set_attn_implementation, attention)
            model.set_attn_implementation(ATTENTION)
            if model.config._attn_implementation != ATTENTION:
                raise ModelLoadError(
                    f"the attention of {type(model).__name__} cannot be looked at: load the model "
                    f'with attn_implementation="{ATTENTION}"'
                )
        yield


@contextmanager
def plainly() -> Iterator[None]:
    """Torch as it is where nothing was set: no autocast, default device, inference mode.

    Such settings hold for the thread that made them, and blocks are computed on several. That of
    a default type holds for all of them, and is left alone: numbers here say of what type they are.
    """
    with ExitStack() as around:
        for device in _AUTOCAST:
            if torch.is_autocast_enabled(device):
                around.enter_context(torch.autocast(device, enabled=False))
        if torch.get_default_device().type != "cpu":
            around.enter_context(torch.device("cpu"))
        if torch.is_inference_mode_enabled():
            around.enter_context(torch.inference_mode(False))
        if torch.is_anomaly_enabled():
            around.enter_context(torch.autograd.set_detect_anomaly(False))
        yield


def methods_plainly(made: C) -> C:
    """A class whose public methods run `plainly`."""
    for name, function in list(vars(made).items()):
        if isfunction(function) and not name.startswith("_"):
            setattr(made, name, plainly()(function))
    return made


def _require(parameters: list[nn.Parameter], wanted: bool) -> None:
    for parameter in parameters:
        parameter.requires_grad_(wanted)


def _train(modules: list[nn.Module]) -> None:
    for module in modules:
        module.training = True
