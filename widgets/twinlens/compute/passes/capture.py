"""One hooked pass that keeps what the panels show."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from twinlens.compute.models import architectures
from twinlens.compute.passes.conditions import each_pattern, hookable, observed
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
        Activation of every feed-forward neuron, after its gate; of mixtures of experts none,
        [layers, T, 0].
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
    experts = architectures.architecture_of(model.config).experts
    patterns = Patterns(len(depth), heads, len(ids), attention_dtype)
    reached = iter(depth)
    captured: dict[str, list[Tensor]] = {
        name: [] for name in ("heads", "attention_out", "feed_forward_out", "residual", "neurons")
    }

    def keep(name: str, tensor: Tensor) -> None:
        # Some families run their feed-forward layer on all texts end to end, [batch * T, ...].
        rows = tensor.detach().reshape(len(ids), -1)
        # A copy: what comes behind may change it in place.
        captured[name].append(rows.to("cpu", torch.float32, copy=True))

    def keep_both(inside: str, outside: str) -> Callable[[nn.Module, Any, Any], None]:
        def hook(_: nn.Module, arguments: Any, output: Any) -> None:
            neurons = inside == "neurons" and experts
            keep(inside, arguments[0][..., :0] if neurons else arguments[0])
            # A mixture of experts may give out which of them it took, too.
            keep(outside, output[0] if isinstance(output, tuple) else output)

        return hook

    def put(weights: Tensor) -> None:
        patterns.put(next(reached), weights[0])

    def keep_pattern(_: nn.Module, __: Any, output: tuple[Tensor, ...]) -> None:
        put(output[1])

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
        reachable = hookable(model)
        if reachable:
            stack.enter_context(observed(model))
            token = each_pattern.set(put)
            stack.callback(each_pattern.reset, token)
        else:
            for layer in depth:
                module = architectures.attention(model, layer)
                stack.callback(module.register_forward_hook(keep_pattern).remove)
        # Not inference_mode: a rotary buffer refreshed there could not enter a gradient later.
        with torch.no_grad():
            output = model(
                torch.tensor([list(ids)], device=model.device),
                use_cache=False,
                logits_to_keep=positions,
                **({} if reachable else {"output_attentions": True}),
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
