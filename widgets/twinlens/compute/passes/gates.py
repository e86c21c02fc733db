"""What heads and neurons add to the answer, to first order: one pass back for all of them.

A gate multiplies the output of a head, before the output weights, or the activation of a neuron, at
every position. The derivative of an answer token's log-probability by a gate at 1 is the estimate
of what the head or the neuron adds to it (Michel et al. 2019, with a sign), in nats.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from twinlens.compute.models import architectures
from twinlens.compute.passes.by_layer import read_by_layer
from twinlens.compute.passes.folding import Texts, embed, fold, seeds_of
from twinlens.compute.passes.footprint import fits
from twinlens.compute.passes.reading import Reading, log_probability
from twinlens.compute.passes.subject import Subject
from twinlens.contract.wire import Array
from twinlens.contract.words import Side
from twinlens.errors import NotFiniteError
from twinlens.support.lru import Cache

#: Bytes of neurons' derivatives that are kept.
_NEURONS = 2**25

#: Changes the outputs of all heads of a layer, [batch, S, heads, head_dim], or all its activations,
#: [batch, S, intermediate].
Change = Callable[[Tensor], Tensor]


@contextmanager
def changed_heads(model: PreTrainedModel, change: Mapping[int, Change]) -> Iterator[None]:
    """Run the model with the outputs of the heads of some layers changed."""
    heads = architectures.sizes(model.config).heads

    def by_head(of_layer: Change) -> Change:
        return lambda given: of_layer(given.view(*given.shape[:-1], heads, -1)).flatten(-2)

    modules = {architectures.attention_out(model, layer): by_head(c) for layer, c in change.items()}
    with _given(modules):
        yield


@contextmanager
def changed_neurons(model: PreTrainedModel, change: Mapping[int, Change]) -> Iterator[None]:
    """Run the model with the activations of the neurons of some layers changed."""
    with _given({architectures.feed_forward_out(model, layer): c for layer, c in change.items()}):
        yield


@contextmanager
def _given(change: Mapping[nn.Module, Change]) -> Iterator[None]:
    """Run with modules given something else."""

    def hook_of(function: Change) -> Callable[[nn.Module, tuple[Any, ...]], tuple[Any, ...]]:
        def hook(_: nn.Module, arguments: tuple[Any, ...]) -> tuple[Any, ...]:
            given, *others = arguments
            return (function(given).to(given.dtype), *others)

        return hook

    with ExitStack() as stack:
        for module, function in change.items():
            stack.enter_context(module.register_forward_pre_hook(hook_of(function)))
        yield


@dataclass(frozen=True)
class GateGradients:
    """Derivatives by gates, nats, of C columns.

    Attributes
    ----------
    heads : float array [C, layers, heads]
        float32, or the model's own precision if that is higher. NaN in layers that have no heads.
    neurons : float array [C, layers, intermediate] or None
        None where feed-forward layers are not made of neurons that are shown.
    """

    heads: Array
    neurons: Array | None


@torch.inference_mode(False)
def gate_gradients(reading: Reading, columns: Sequence[int] | None = None) -> GateGradients:
    """Derivatives of answer tokens' log-probabilities by a gate on every head and neuron.

    Parameters
    ----------
    columns : sequence of int, optional
        Answer tokens, a backward pass each. By default their sum over the whole answer: one
        backward pass.

    Raises
    ------
    NotFiniteError
        If a derivative is NaN or infinite.
    """
    model, answer = reading.model, range(reading.answer_length)
    sizes = architectures.sizes(model.config)
    shape = 1 if columns is None else len(columns), sizes.layers
    dtype = torch.promote_types(model.dtype, torch.float32)
    tables = {"heads": torch.full((*shape, sizes.heads), torch.nan, dtype=dtype)}
    if architectures.has_neurons(model.config):
        tables["neurons"] = torch.full((*shape, sizes.intermediate), torch.nan, dtype=dtype)

    def put(rows: slice, layers: Sequence[int], gradients: Sequence[Tensor]) -> None:
        for (name, layer), some in zip(_places(model, layers), gradients, strict=True):
            if not bool(torch.isfinite(some).all()):
                raise NotFiniteError(
                    f"the effect of the {name} becomes NaN or infinite although the forward pass "
                    "is finite: load the pair with dtype=torch.float32"
                )
            tables[name][rows, layer] = some.flatten(1).cpu()

    # Always about the whole answer, one pass per token: the same digits whatever is asked first.
    if fits(model, 1, len(reading.ids) - 1):
        with _gated(model, range(sizes.layers)) as gates:
            folded = fold(reading, log_probability, answer, embed(reading))
        for row, seed in enumerate(_seeds(folded.weights[None], columns)[:, 0]):
            parts = torch.autograd.grad(folded.hidden, gates, seed, retain_graph=True)
            put(slice(row, row + 1), range(sizes.layers), [part[None] for part in parts])
    else:
        text = read_by_layer(Texts([reading], embed(reading)), log_probability, answer)
        seeds = _seeds(text.weights, columns)
        for first in range(0, len(seeds), text.most_seeds):

            def take(
                layer: int,
                rows: slice,
                _: Sequence[Tensor],
                gradients: Sequence[Tensor],
                first: int = first,
            ) -> None:
                put(slice(first + rows.start, first + rows.stop), [layer], gradients)

            some = seeds[first : first + text.most_seeds]
            for _ in text.backward(some, 1, lambda layer: _gated(model, [layer]), take):
                pass
    neurons = tables.get("neurons")
    return GateGradients(tables["heads"].numpy(), None if neurons is None else neurons.numpy())


def _seeds(weights: Tensor, columns: Sequence[int] | None) -> Tensor:
    return weights[None] if columns is None else seeds_of(weights, columns)


def _places(model: PreTrainedModel, layers: Sequence[int]) -> list[tuple[str, int]]:
    """What is gated of some layers."""
    attending = architectures.attending(model)
    places = [("heads", layer) for layer in layers if layer in attending]
    if architectures.has_neurons(model.config):
        places += [("neurons", layer) for layer in layers]
    return places


@contextmanager
def _gated(model: PreTrainedModel, layers: Sequence[int]) -> Iterator[list[Tensor]]:
    """Run the model with gates on some layers, in the order of `_places`."""
    sizes = architectures.sizes(model.config)
    shapes = {"heads": (sizes.heads, 1), "neurons": (sizes.intermediate,)}
    dtype = torch.promote_types(model.dtype, torch.float32)
    gates: list[Tensor] = []
    changes: dict[str, dict[int, Change]] = {name: {} for name in shapes}
    for name, layer in _places(model, layers):
        gate = torch.ones(shapes[name], dtype=dtype, device=model.device, requires_grad=True)
        gates.append(gate)
        changes[name][layer] = partial(_times, gate)
    with changed_heads(model, changes["heads"]), changed_neurons(model, changes["neurons"]):
        yield gates


def _times(gate: Tensor, given: Tensor) -> Tensor:
    return given * gate.to(given.device)


class AnswerGates:
    """`gate_gradients` of both models on the text of a trace, float32, kept.

    A `column` is an answer token, None the whole answer.
    """

    def __init__(self, subject: Subject) -> None:
        self._subject = subject
        self._heads: dict[tuple[Side, int | None], Array] = {}
        self._neurons: Cache[Array] = Cache(_NEURONS, lambda values: values.nbytes)

    def known(self, side: Side, column: int | None) -> bool:
        """Whether derivatives by gates on heads are there."""
        return (side, column) in self._heads

    def heads(self, side: Side, column: int | None = None) -> Array:
        """Derivatives by a gate on each head, [layers, heads]."""
        if not self.known(side, column):
            # A model that takes turns in memory answers for every token while it is there.
            alone = self._subject.models.memory == "sequential"
            self.fill(side, None if alone else [column])
        return self._heads[side, column]

    def neurons(self, side: Side, column: int | None = None) -> Array:
        """Derivatives by a gate on each neuron, [layers, intermediate].

        Raises
        ------
        UnsupportedArchitectureError
            If feed-forward layers are not made of neurons that are shown.
        """
        architectures.check_neurons(self._subject.models.configs[side])
        values = self._neurons.get(f"{side} {column}")
        return self._computed(side, [column])[column] if values is None else values

    def fill(self, side: Side, columns: Sequence[int | None] | None = None) -> None:
        """Compute those by heads that are missing, by default of the answer and all its tokens."""
        every = [None, *range(self._subject.manifest.answer_length(side))]
        missing = [c for c in (every if columns is None else columns) if not self.known(side, c)]
        if missing:
            self._computed(side, missing)

    def _computed(self, side: Side, columns: Sequence[int | None]) -> dict[int | None, Array]:
        """Derivatives by neurons; those by heads are left beside them."""
        tokens = [column for column in columns if column is not None]
        whole = [column for column in columns if column is None]
        neurons: dict[int | None, Array] = {}
        with self._subject.models.model(side) as model:
            reading = self._subject.reading(side, model)
            for asked, of in ((whole, None), (tokens, tokens)):
                if not asked:
                    continue
                gradients = gate_gradients(reading, of)
                for row, column in enumerate(asked):
                    self._heads[side, column] = gradients.heads[row].astype(np.float32)
                    if gradients.neurons is not None:
                        neurons[column] = gradients.neurons[row].astype(np.float32)
                        self._neurons.put(f"{side} {column}", neurons[column])
        return neurons
