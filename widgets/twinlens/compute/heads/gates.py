"""Effect of attention heads on the answer: by the gradient of a gate, or by taking them away.

A gate multiplies the output of a head, at every position, before the output weights. The effect
of a head is what it adds to the log-probability of an answer token: the derivative at gate 1 is
its first-order estimate, for all heads from one backward pass (Michel et al. 2019, with a sign);
the difference between gate 1 and gate 0, or another output in its place, is exact.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from twinlens.compute.models import architectures
from twinlens.compute.passes.by_layer import read_by_layer
from twinlens.compute.passes.capture import Capture
from twinlens.compute.passes.folding import Texts, embed, fold
from twinlens.compute.passes.footprint import fits
from twinlens.compute.passes.onward import onward
from twinlens.compute.passes.reading import Reading, precise
from twinlens.compute.passes.targets import log_probability
from twinlens.contract.wire import Array
from twinlens.errors import NotFiniteError

#: Changes the outputs of all heads of a layer, [batch, S, heads, head_dim].
Change = Callable[[int, Tensor], Tensor]


@contextmanager
def changed_heads(model: PreTrainedModel, change: Change) -> Iterator[None]:
    """Run the model with the outputs of its heads changed."""
    heads = architectures.sizes(model.config).heads

    def hook_of(layer: int) -> Callable[[nn.Module, tuple[Any, ...]], tuple[Any, ...]]:
        def hook(_: nn.Module, arguments: tuple[Any, ...]) -> tuple[Any, ...]:
            outputs: Tensor = arguments[0]
            changed = change(layer, outputs.view(*outputs.shape[:-1], heads, -1))
            return (changed.flatten(-2).to(outputs.dtype), *arguments[1:])

        return hook

    with ExitStack() as stack:
        for layer in architectures.attending(model):
            module = architectures.attention_out(model, layer)
            stack.callback(module.register_forward_pre_hook(hook_of(layer)).remove)
        yield


@torch.inference_mode(False)
def gate_gradients(reading: Reading, columns: Sequence[int] | None = None) -> Array:
    """Derivative of answer tokens' log-probabilities by a gate on every head, nats.

    Parameters
    ----------
    columns : sequence of int, optional
        Answer tokens, a backward pass each. By default their sum over the whole answer: one
        backward pass.

    Returns
    -------
    float array [columns, layers, heads]
        float32 or the model's own precision if that is higher; one entry for the sum. NaN in
        layers that have no heads.

    Raises
    ------
    NotFiniteError
        If a derivative is NaN or infinite.
    """
    chosen = None if columns is None else list(columns)
    long = not fits(reading.model, 1, len(reading.ids) - 1)
    slopes = _slopes_by_layer(reading, chosen) if long else _slopes(reading, chosen)
    if not torch.isfinite(slopes).all():
        raise NotFiniteError(
            "the effect of the heads becomes NaN or infinite although the forward pass is finite: "
            "load the pair with dtype=torch.float32"
        )
    attending = architectures.attending(reading.model)
    slopes[:, [layer for layer in range(slopes.shape[1]) if layer not in attending]] = torch.nan
    return slopes.cpu().numpy()


def _slopes(reading: Reading, columns: list[int] | None) -> Tensor:
    model = reading.model
    sizes = architectures.sizes(model.config)
    embedded = embed(reading)
    gates = precise(embedded.new_ones(sizes.layers, sizes.heads)).requires_grad_()

    def gated(layer: int, outputs: Tensor) -> Tensor:
        return outputs * gates[layer, :, None].to(outputs.device)

    # Always about the whole answer, one pass per token: the same digits whatever is asked first.
    with changed_heads(model, gated):
        folded = fold(reading, log_probability, range(reading.answer_length), embedded)
    seeds = [folded.weights]
    if columns is not None:
        seeds = [torch.zeros_like(folded.weights) for _ in columns]
        for seed, column in zip(seeds, columns, strict=True):
            seed[column] = folded.weights[column]
    gradients = [
        torch.autograd.grad(folded.hidden, gates, seed, retain_graph=True)[0] for seed in seeds
    ]
    return torch.stack(gradients)


def _slopes_by_layer(reading: Reading, columns: list[int] | None) -> Tensor:
    """Where no graph of all layers fits."""
    sizes = architectures.sizes(reading.model.config)
    text = read_by_layer(
        Texts([reading], embed(reading)), log_probability, range(reading.answer_length)
    )
    seeds = text.weights[None] if columns is None else text.seeds(columns)
    slopes = precise(seeds).new_zeros(len(seeds), sizes.layers, sizes.heads, device="cpu")

    @contextmanager
    def gate(_: int) -> Iterator[list[Tensor]]:
        gates = precise(text.weights.new_ones(sizes.heads)).requires_grad_()
        with changed_heads(
            reading.model, lambda _, outputs: outputs * gates[:, None].to(outputs.device)
        ):
            yield [gates]

    def take(layer: int, rows: slice, _: Sequence[Tensor], gradients: Sequence[Tensor]) -> None:
        slopes[first + rows.start : first + rows.stop, layer] = gradients[0].cpu()

    for first in range(0, len(seeds), text.most_seeds):
        for _ in text.backward(seeds[first : first + text.most_seeds], 1, gate, take):
            pass
    return slopes


def answer_logprobs(reading: Reading) -> Tensor:
    """Log-probabilities of the answer tokens, float [M], on the CPU."""
    return _of_answer(reading.logits()[None], reading)[0]


def without_heads(
    reading: Reading, captured: Capture, layer: int, heads: Sequence[int], outputs: Sequence[Tensor]
) -> Tensor:
    """Log-probabilities of the answer tokens with one head of a layer replaced at a time.

    Parameters
    ----------
    captured : Capture
        What the model did with the same tokens: the pass begins at the layer, with its residual
        stream.
    outputs : sequence of tensors, each [head_dim] or [T - 1, head_dim]
        In place of each head's: the same at every position, or one for each.

    Returns
    -------
    float tensor [heads, M], on the CPU

    Raises
    ------
    HeadIndexError
        If the layer has no heads.
    """
    architectures.check_heads(reading.model, layer)

    def replaced(at: int, given: Tensor) -> Tensor:
        if at != layer:
            return given
        rows = given.clone()
        for row, (head, output) in enumerate(zip(heads, outputs, strict=True)):
            rows[row, :, head] = output.to(rows)
        return rows

    residual = captured.residual[layer, :-1]
    ids = reading.read.expand(len(heads), -1)
    # Not inference_mode: a rotary buffer refreshed there could not enter a gradient later.
    with (
        torch.no_grad(),
        reading.at_its_length(),
        onward(reading.model, layer, residual, captured.returned),
        changed_heads(reading.model, replaced),
    ):
        logits = reading.model(ids, use_cache=False, logits_to_keep=reading.positions).logits
    return _of_answer(logits, reading)


def _of_answer(logits: Tensor, reading: Reading) -> Tensor:
    targets = reading.targets[:, None]
    return torch.stack(
        [precise(row).log_softmax(dim=-1).gather(-1, targets)[:, 0] for row in logits]
    ).cpu()
