"""Hooks of a pass that keeps what happens inside some layers."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from twinlens.compute.models import architectures
from twinlens.compute.passes.conditions import Conditions, hookable, observed


@contextmanager
def listening(
    model: PreTrainedModel,
    layers: Sequence[int],
    keep: Callable[[str, Tensor], None],
    put: Callable[[Tensor], None],
) -> Iterator[dict[str, Any]]:
    """Hear of one text what goes on inside some layers; gives arguments that the pass needs.

    Parameters
    ----------
    keep : callable
        Told, for each layer in turn, ``heads``, ``attention_out``, ``neurons`` and
        ``feed_forward_out``, each float32 [T, ...] on the CPU.
    put : callable
        Told the patterns [heads, T, T] of each layer in turn; of all layers of the pass where
        attention can be observed, and never of layers that have none.
    """
    parts = architectures.architecture_of(model.config)
    neurons = architectures.has_neurons(model.config)
    attending = [layer for layer in layers if architectures.attends(model, layer)]

    def keep_both(inside: str, outside: str) -> Callable[[nn.Module, Any, Any], None]:
        def hook(_: nn.Module, arguments: Any, output: Any) -> None:
            if inside:
                # Mixtures of experts have no neurons to show.
                none = inside == "neurons" and not neurons
                keep(inside, rows_of(arguments[0][..., :0] if none else arguments[0]))
            # A mixture of experts may give out which of them it took, too.
            keep(outside, rows_of(output[0] if isinstance(output, tuple) else output))

        return hook

    def keep_pattern(_: nn.Module, __: Any, output: tuple[Tensor, ...]) -> None:
        put(output[1][0])

    computed = keep_both("neurons", "feed_forward_out")
    with ExitStack() as stack:
        for layer in layers:
            attended = keep_both("heads" if layer in attending else "", "attention_out")
            for module, hook in (
                (architectures.attention_out(model, layer), attended),
                (architectures.feed_forward_out(model, layer), computed),
            ):
                stack.enter_context(module.register_forward_hook(hook))
        if hookable(model):
            conditions = Conditions(pattern=lambda weights: put(weights[0].detach()))
            stack.enter_context(observed(model, conditions))
            yield {}
        else:
            for layer in attending:
                module = architectures.attention(model, layer)
                stack.enter_context(module.register_forward_hook(keep_pattern))
            # Where kinds of layers take turns each attention block gives its pattern unasked.
            yield {} if parts.mixer else {"output_attentions": True}


def rows_of(tensor: Tensor) -> Tensor:
    """Of one text as float32 [T, ...] on the CPU, from [1, T, ...]."""
    # Some families run their feed-forward layer on all texts end to end, [batch * T, ...]; and a
    # copy, since what comes behind may change it in place.
    rows = tensor.detach().flatten(0, -2)
    return rows.to("cpu", torch.float32, copy=True)
