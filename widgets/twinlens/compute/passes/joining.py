"""Texts that join a pass where they begin to differ, each with its own residual stream there.

Layers below are not run for those that join later, and one pass through the weights serves all.
Whether texts stay apart in a model, and may become more on the way, is tried out once.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from twinlens.compute.models import architectures
from twinlens.compute.models.layer_forms import without_keys
from twinlens.compute.passes.onward import onward

#: Share of the largest logit by which one that joined may differ from one alone.
_TOLERANCE = 1e-4
_known: WeakKeyDictionary[nn.Module, bool] = WeakKeyDictionary()


@contextmanager
def joining(model: PreTrainedModel, begins: Mapping[int, Tensor], returned: int) -> Iterator[None]:
    """Let texts join the passes inside, which are given the ids of one.

    Parameters
    ----------
    begins : mapping of int to tensor [b, S, hidden]
        Residual streams in front of the layers where texts begin, by layer in rising order; their
        number stands for the final norm.
    returned : int
        See `Capture.returned`.
    """
    modules = [*architectures.layers(model), architectures.final_norm(model)]
    (first, streams), *later = begins.items()
    with ExitStack() as stack:
        stack.enter_context(onward(model, first, streams[:1], returned))
        if len(streams) > 1:
            stack.enter_context(_joined(modules[first], streams[1:]))
        for layer, others in later:
            stack.enter_context(_joined(modules[layer], others))
        yield


@contextmanager
def _joined(module: nn.Module, streams: Tensor) -> Iterator[None]:
    def into(_: nn.Module, given: tuple[Any, ...]) -> tuple[Any, ...]:
        return (torch.cat([given[0], streams.to(given[0])]), *given[1:])

    handle = module.register_forward_pre_hook(into)
    try:
        yield
    finally:
        handle.remove()


def can_join(model: PreTrainedModel) -> bool:
    """Whether texts stay apart in every module that has weights, and may join a pass later."""
    if model not in _known:
        _known[model] = not without_keys(model.config) and _stay_apart(model)
    return _known[model]


@torch.no_grad()
def _stay_apart(model: PreTrainedModel) -> bool:
    """Compare texts that join with the same ones alone."""
    vocabulary, layers = int(model.config.vocab_size), architectures.layers(model)
    ids = torch.tensor([[(7 * place + 3) % vocabulary for place in range(5)]], device=model.device)
    entered: list[Tensor] = []
    texts: list[int] = []

    def counted(_: nn.Module, given: tuple[Any, ...]) -> None:
        texts.append(len(given[0]))

    with ExitStack() as stack:
        for layer in layers:
            keep = layer.register_forward_pre_hook(lambda _, given: entered.append(given[0]))
            stack.enter_context(keep)
        model(ids, use_cache=False)
    last = len(layers) - 1
    begins = {last: torch.cat([1.5 * entered[last], 2 * entered[last]])}
    if last:
        begins = {0: entered[0], **begins}
    alone = []
    for at, streams in begins.items():
        for stream in streams:
            with onward(model, at, stream, 0):
                alone.append(model(ids, use_cache=False).logits)
    with ExitStack() as stack:
        for module in model.modules():
            if module._parameters:
                stack.enter_context(module.register_forward_pre_hook(counted))
        stack.enter_context(joining(model, begins, 0))
        try:
            together = model(ids, use_cache=False).logits
        except (AttributeError, IndexError, RuntimeError, TypeError, ValueError):
            return False
    expected = torch.cat(alone)
    if together.shape != expected.shape or not {*texts} <= {1, len(alone)}:
        return False
    return bool((together - expected).abs().max() <= _TOLERANCE * expected.abs().max())
