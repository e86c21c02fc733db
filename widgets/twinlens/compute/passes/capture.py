"""One hooked pass that keeps what the panels show."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from twinlens.compute.models import architectures
from twinlens.compute.passes.conditions import each_pattern, observed
from twinlens.compute.passes.decoding import not_finite
from twinlens.compute.passes.patterns import Patterns
from twinlens.contract.words import Side
from twinlens.errors import NotFiniteError

if TYPE_CHECKING:
    from transformers import PreTrainedModel


@dataclass(frozen=True)
class Capture:
    """What one model did with one text of T tokens, M of them its answer; tensors on the CPU.

    Attributes
    ----------
    attention : Patterns
        Of every layer and head, the causal half in half precision.
    heads : float32 [layers, T, heads * head_dim]
        Output of every head, before the output weights.
    attention_out, feed_forward_out : float32 [layers, T, hidden]
        Output of the two blocks' last linear maps (before a norm, in families that have one there).
    residual : float32 [layers + 1, T, hidden]
        Residual stream: the embedding, then after each layer; the final norm is not applied.
    neurons : float32 [layers, T, intermediate]
        Activation of every feed-forward neuron, after its gate.
    logprobs : float32 [M, vocabulary]
        Log-probabilities in nats where the answer tokens are predicted.
    """

    attention: Patterns
    heads: Tensor
    attention_out: Tensor
    feed_forward_out: Tensor
    residual: Tensor
    neurons: Tensor
    logprobs: Tensor


def capture(
    model: PreTrainedModel,
    ids: Sequence[int],
    prompt_length: int,
    *,
    side: Side,
    attention_dtype: torch.dtype = torch.float16,
) -> Capture:
    """One pass over prompt and answer, keeping what happens inside.

    Raises
    ------
    NotFiniteError
        If the residual stream becomes NaN or infinite; names the layer.
    """
    depth = range(len(architectures.layers(model)))
    heads = architectures.sizes(model.config).heads
    patterns = Patterns(len(depth), heads, len(ids), attention_dtype)
    reached = iter(depth)
    captured: dict[str, list[Tensor]] = {
        name: [] for name in ("heads", "attention_out", "feed_forward_out", "residual", "neurons")
    }

    def keep(name: str, tensor: Tensor) -> None:
        captured[name].append(tensor.detach()[0].to("cpu", torch.float32))

    def keep_both(inside: str, outside: str) -> Callable[[nn.Module, Any, Tensor], None]:
        def hook(_: nn.Module, arguments: Any, output: Tensor) -> None:
            keep(inside, arguments[0])
            keep(outside, output)

        return hook

    def keep_residual(_: nn.Module, arguments: Any) -> None:
        keep("residual", arguments[0])

    positions = torch.arange(prompt_length - 1, len(ids) - 1, device=model.device)
    with ExitStack() as stack:
        for layer in depth:
            for module, hook in (
                (architectures.attention_out(model, layer), keep_both("heads", "attention_out")),
                (
                    architectures.feed_forward_out(model, layer),
                    keep_both("neurons", "feed_forward_out"),
                ),
            ):
                stack.callback(module.register_forward_hook(hook).remove)
        for module in (*architectures.layers(model), architectures.final_norm(model)):
            stack.callback(module.register_forward_pre_hook(keep_residual).remove)
        stack.enter_context(observed(model))
        token = each_pattern.set(lambda weights: patterns.put(next(reached), weights[0]))
        stack.callback(each_pattern.reset, token)
        # Not inference_mode: a rotary buffer refreshed there could not enter a gradient later.
        with torch.no_grad():
            output = model(
                torch.tensor([list(ids)], device=model.device),
                use_cache=False,
                logits_to_keep=positions,
            )
    for layer, residual in enumerate(captured["residual"]):
        if not torch.isfinite(residual).all():
            where = f"layer {layer - 1}" if layer else "its embeddings"
            raise NotFiniteError(not_finite(side, where))
    return Capture(
        attention=patterns,
        logprobs=output.logits[0].float().log_softmax(dim=-1).cpu(),
        **{name: torch.stack(tensors) for name, tensors in captured.items()},
    )
