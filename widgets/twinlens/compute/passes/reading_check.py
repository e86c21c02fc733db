"""Whether twinlens reads a model rightly: one short pass, rebuilt from what is read of it.

The architecture table says where a family keeps its parts. Whether that is true of a model, of a
family that was registered, or of an entry that a version of transformers has overtaken, is seen
here before anything is shown.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import cast

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from twinlens.compute.models import architectures
from twinlens.compute.models.dense import below_adapters, is_plain
from twinlens.compute.passes.capture import Capture, capture
from twinlens.contract.words import Side
from twinlens.errors import NotFiniteError, UnsupportedArchitectureError

#: Tokens that are read: some to look back at, and two that are predicted.
_TOKENS, _PROMPT = 6, 4
#: Largest difference that is put down to rounding, as a share of the largest value, and in units
#: of the last place of a model in half precision.
_SHARE, _PLACES = 1e-3, 8


def check_reading(model: PreTrainedModel, name: str, side: Side) -> None:
    """Make sure that a model is what the architecture table says.

    One pass over a few tokens; weights are multiplied again for the first and the last layer.

    Parameters
    ----------
    name : str
        What to call the model.

    Raises
    ------
    UnsupportedArchitectureError
        If it is not; names what does not hold.
    """
    half = architectures.sizes(model.config).vocabulary // 2
    ids = range(half, half + _TOKENS)
    into: dict[int, Tensor] = {}
    try:
        with _watched(model, into):
            captured = capture(model, ids, _PROMPT, side=side, attention_dtype=torch.float32)
        wrong = next(_wrong(model, captured, into), None)
    except NotFiniteError:
        return  # of the weights, and said where the model is used
    except (AttributeError, IndexError, KeyError, RuntimeError, StopIteration, TypeError) as error:
        wrong = f"a pass cannot be followed ({type(error).__name__}: {str(error).splitlines()[0]})"
    if wrong:
        raise UnsupportedArchitectureError(
            f"{name!r} cannot be shown because twinlens would misread it, {wrong}: say where "
            f"models of type {model.config.model_type!r} keep their parts with "
            "twinlens.register_architecture"
        )


@contextmanager
def _watched(model: PreTrainedModel, into: dict[int, Tensor]) -> Iterator[None]:
    """Keep what goes into the attention block, [T, hidden], of the first and the last layer."""
    with ExitStack() as stack:
        depth = len(architectures.layers(model))
        for layer in {
            0,
            depth - 1,
            *architectures.attending(model)[:1],
            *architectures.with_keys(model)[-1:],
        }:

            def keep(_: nn.Module, arguments: tuple[Tensor, ...], layer: int = layer) -> None:
                into[layer] = arguments[0].detach()[0].clone()

            module = architectures.query_key_value(model, layer)[0]
            stack.enter_context(module.register_forward_pre_hook(keep))
        yield


def _wrong(model: PreTrainedModel, captured: Capture, into: dict[int, Tensor]) -> Iterator[str]:
    """What does not hold, in words."""
    shape = architectures.sizes(model.config)
    neurons = shape.intermediate if architectures.has_neurons(model.config) else 0
    depth = len(architectures.layers(model))
    if depth != shape.layers:
        yield f"it has {depth} layers, not {shape.layers}"
    for what, tensor, width in (
        ("in its residual stream", captured.residual, shape.hidden),
        ("in its attention output", captured.attention_out, shape.hidden),
        ("in its feed-forward output", captured.feed_forward_out, shape.hidden),
        ("for its neurons", cast(Tensor, captured.neurons), neurons),
    ):
        if tensor.shape[-1] != width:
            yield f"a layer has {tensor.shape[-1]} numbers {what}, not {width}"
    for layer in captured.attending:
        # A sink takes a share of the attention that no token gets.
        sink = hasattr(architectures.attention(model, layer), "sinks")
        sums = captured.attention[layer].sum(dim=-1)
        if not (sums.gt(0).all() if sink else _equal(model, sums, torch.ones_like(sums))):
            yield f"the attention patterns of layer {layer} do not sum to 1"
    with torch.no_grad():
        last = captured.residual[-1, _PROMPT - 1 : -1].to(model.device, model.dtype)
        logprobs = architectures.logits(model, last).float().log_softmax(dim=-1).cpu()
    if not _equal(model, logprobs, captured.logprobs):
        yield "the residual stream behind its last layer does not give its logits"
    for layer in sorted(into):
        yield from _wrong_weights(model, captured, layer, into[layer])


def _wrong_weights(
    model: PreTrainedModel, captured: Capture, layer: int, into: Tensor
) -> Iterator[str]:
    norm = architectures.attention_norm(model, layer)
    residual = captured.residual[layer].to(into)
    with torch.no_grad():
        normed = norm(residual) if norm is not None else residual
    if not _equal(model, normed, into):
        yield f"what goes into the attention of layer {layer} is not its residual stream, normed"
    if norm is not None and not _multiplies(model, norm, residual, into):
        yield f"the norm of layer {layer} does not multiply by its weight"
    if layer in captured.attending:
        yield from _wrong_heads(model, captured, layer, into)
    down = architectures.feed_forward_out(model, layer)
    if architectures.has_neurons(model.config) and _readable(down):
        rebuilt = captured.neurons[layer] @ architectures.value_vectors(model, layer).float().cpu()
        if not _equal(model, rebuilt + _bias(down), captured.feed_forward_out[layer]):
            yield f"the neurons of layer {layer} do not give its feed-forward output"


def _wrong_heads(
    model: PreTrainedModel, captured: Capture, layer: int, into: Tensor
) -> Iterator[str]:
    shape = architectures.sizes(model.config)
    out = architectures.attention_out(model, layer)
    heads = captured.heads[layer].reshape(_TOKENS, shape.heads, -1)
    if _readable(out):
        weights = architectures.output_weights(model, layer).float().cpu()
        rebuilt = torch.einsum("thk,hdk->td", heads, weights) + _bias(out)
        if not _equal(model, rebuilt, captured.attention_out[layer]):
            yield f"the heads of layer {layer} do not give its attention output"
    modules = architectures.query_key_value(model, layer)
    if layer in architectures.with_keys(model) and all(map(_readable, modules)):
        query, key, value = architectures.head_weights(model, layer)
        alike = query.shape[1] == value.shape[1] == heads.shape[-1] and len(key) == len(value)
        if not alike or shape.heads % len(key):
            yield f"the heads of layer {layer} differ in size"
        parts = architectures.architecture_of(model.config)
        if parts.fused != "no" or parts.gated:
            bias = architectures.split_heads(model.config, [_bias(module) for module in modules])[2]
            values = torch.einsum("td,hkd->htk", into.float().cpu(), value.float().cpu())
            values = (values + bias[:, None]).repeat_interleave(shape.heads // len(values), 0)
            mixed = captured.attention[layer] @ values
            if parts.gated:
                mixed = mixed * _gates(model, layer, into).to(mixed)
            if not _equal(model, mixed, heads.transpose(0, 1)):
                yield f"the values of layer {layer} do not give its heads"


def _gates(model: PreTrainedModel, layer: int, into: Tensor) -> Tensor:
    """What the outputs of a layer's heads are multiplied by, [heads, T, head_dim]."""
    heads = architectures.sizes(model.config).heads
    with torch.no_grad():
        rows: Tensor = architectures.query_key_value(model, layer)[0](into).float().cpu()
    return rows.reshape(len(rows), heads, 2, -1)[:, :, 1].sigmoid().transpose(0, 1)


def _multiplies(model: PreTrainedModel, norm: nn.Module, before: Tensor, after: Tensor) -> bool:
    """Whether a norm multiplies by its gain, whatever it divides by and whether it centres."""
    gain = architectures.norm_gain(model, norm)
    if gain is None or not _readable(norm):
        return True
    bias = getattr(norm, "bias", None)
    after = after.float() - (0 if bias is None else bias.float())
    before, most = before.float(), max(1e-5, torch.finfo(model.dtype).eps ** 2)
    return any(
        torch.cosine_similarity(rows * gain.float(), after, dim=-1).min() > 1 - most
        for rows in (before, before - before.mean(dim=-1, keepdim=True))
    )


def _equal(model: PreTrainedModel, rebuilt: Tensor, expected: Tensor) -> bool:
    """Whether two tensors differ by rounding only."""
    most = max(_SHARE, _PLACES * torch.finfo(model.dtype).eps) * float(expected.abs().max())
    return bool((rebuilt - expected).abs().max() <= most)


def _readable(module: nn.Module) -> bool:
    """Whether weights are there, and neither quantised nor on a disk."""
    inner = below_adapters(module)
    return is_plain(inner) and not cast(Tensor, inner.weight).is_meta


def _bias(module: nn.Module) -> Tensor:
    """Bias [out] of a linear map, zeros where it has none."""
    bias = getattr(module, "bias", None)
    if isinstance(bias, Tensor):
        return bias.detach().float().cpu()
    return torch.zeros(cast(Tensor, module.weight).shape[0], dtype=torch.float32)
