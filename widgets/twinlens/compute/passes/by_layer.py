"""Derivatives of texts of which a whole graph does not fit: layer by layer, from the last on.

Only what each layer was given is kept. It is run again, with its graph, once gradients have come
back to it. The numbers are the same; it takes one more pass.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, nullcontext, suppress
from dataclasses import dataclass
from typing import Any, TypeAlias, cast

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from twinlens.compute.models import architectures
from twinlens.compute.models.derivatives import check_differentiable
from twinlens.compute.models.layer_forms import check_layers_alone
from twinlens.compute.passes.entry import ReachedError
from twinlens.compute.passes.folding import Texts, head_gradient
from twinlens.compute.passes.footprint import check_layer
from twinlens.compute.passes.reading import Target

#: Bounds the gradients that are on their way together: numbers at every place of the texts.
_NUMBERS_ON_THE_WAY = 2**25

#: Entered while a layer is run again; gives a list that then holds tensors of it.
Inside: TypeAlias = Callable[[int], AbstractContextManager[list[Tensor]]]
#: Told a layer, which of the seeds, those tensors, and their gradients [seeds, ...].
Take: TypeAlias = Callable[[int, slice, Sequence[Tensor], Sequence[Tensor]], None]


@dataclass(frozen=True)
class _Call:
    """A module, and what it was given beside the residual stream [B, S, hidden]."""

    module: nn.Module
    residual: Tensor
    others: tuple[Any, ...]
    named: dict[str, Any]

    def again(self, residual: Tensor) -> Tensor:
        output = self.module(residual, *self.others, **self.named)
        return cast(Tensor, output[0] if isinstance(output, tuple) else output)


@dataclass(frozen=True)
class ByLayer:
    """A pass of which each layer can be run again.

    Attributes
    ----------
    columns : list of int
        Answer tokens it is about, m of them.
    weights : tensor [B, m, hidden]
        The target's gradient by the final hidden states where they are predicted.
    """

    columns: list[int]
    weights: Tensor
    _texts: Texts
    _calls: list[_Call]

    @property
    def model(self) -> PreTrainedModel:
        """What is run."""
        return self._texts.readings[0].model

    @property
    def most_seeds(self) -> int:
        """How many seeds to send back together."""
        return max(1, _NUMBERS_ON_THE_WAY // self._texts.embedded.numel())

    @property
    def scores(self) -> int:
        """Numbers of one layer's attention patterns."""
        count, length = self._texts.embedded.shape[:2]
        heads = architectures.sizes(self._texts.readings[0].model.config).heads
        return int(count * heads * length**2)

    def backward(
        self, seeds: Tensor, at_once: int, inside: Inside | None = None, take: Take | None = None
    ) -> Iterator[tuple[int, Tensor]]:
        """Send gradients back through one layer after the other.

        Between two of them others may run the model.

        Parameters
        ----------
        seeds : tensor [k, B, m, hidden]
            Gradients by the final hidden states.
        at_once : int
            Seeds that go through a layer together.
        inside, take : callables, optional
            Watch each layer, and are told gradients of what is watched: nothing else is asked for
            then, and it ends with layer 0.

        Yields
        ------
        layer : int
            From the last to 0, and then -1, the embeddings.
        gradients : tensor [k, B, S, hidden]
            By the residual stream in front of that layer, or by the embeddings; the next ones
            come in its place.
        """
        *layers, norm = self._calls
        places = _places(self._texts, self.columns)
        with self._around():
            at_end = seeds.clone()
            _through(norm.again, norm.residual[:, places], at_end, len(seeds))
        gradients = at_end.new_zeros(len(seeds), *norm.residual.shape)
        gradients[:, :, places] = at_end
        for layer in reversed(range(len(layers))):
            call = layers[layer]
            with self._around(), inside(layer) if inside else nullcontext([]) as watched:

                def take_rows(
                    rows: slice, parts: Sequence[Tensor], layer: int = layer, of: Any = watched
                ) -> None:
                    if take:
                        take(layer, rows, of, parts)

                _through(call.again, call.residual, gradients, at_once, watched, take_rows)
            yield layer, gradients
        if take is None:
            with self._around():
                _through(self._front, self._texts.embedded, gradients, at_once)
            yield -1, gradients

    def _front(self, embedded: Tensor) -> Tensor:
        """What the first layer is given."""
        given: list[Tensor] = []

        def reached(_: nn.Module, arguments: tuple[Tensor, ...]) -> None:
            given.append(arguments[0])
            raise ReachedError

        first = architectures.layers(self._texts.readings[0].model)[0]
        with first.register_forward_pre_hook(reached), suppress(ReachedError):
            self._texts.states(embedded, self._texts.conditions)
        return given[0]

    def _around(self) -> AbstractContextManager[None]:
        return self._texts.around(self._texts.conditions)


def read_by_layer(
    texts: Texts, target: Target, columns: Sequence[int], *, patterns: bool = False
) -> ByLayer:
    """Run the model, and fold its head.

    Parameters
    ----------
    columns : sequence of int
        Answer tokens, in rising order.
    patterns : bool
        Whether gradients by attention patterns will be asked for.

    Raises
    ------
    NotDifferentiableError
        If gradients do not pass through its weights as they are stored.
    MemoryNeededError
        If not even one layer fits.
    UnsupportedArchitectureError
        If a layer reads more than the residual stream.
    """
    model, chosen = texts.readings[0].model, list(columns)
    check_layers_alone(
        model.config,
        "derivatives of a text whose graph does not fit into memory, by layers, cannot be taken",
    )
    check_differentiable(model)
    check_layer(model, *texts.embedded.shape[:2], patterns=patterns)
    conditions = texts.conditions
    calls: list[_Call] = []

    def keep(module: nn.Module, arguments: tuple[Any, ...], named: dict[str, Any]) -> None:
        calls.append(_Call(module, arguments[0].detach(), arguments[1:], named))

    with ExitStack() as stack:
        for module in (*architectures.layers(model), architectures.final_norm(model)):
            stack.enter_context(module.register_forward_pre_hook(keep, with_kwargs=True))
        with torch.no_grad(), texts.around(conditions):
            states = texts.states(texts.embedded, conditions)
    hidden = states[:, _places(texts, chosen)]
    return ByLayer(chosen, head_gradient(texts, target, chosen, hidden), texts, calls)


def _places(texts: Texts, columns: Sequence[int]) -> Tensor:
    places = torch.tensor(list(columns), device=texts.embedded.device)
    return places + (texts.prompt_length - 1)


def _through(
    run: Callable[[Tensor], Tensor],
    given: Tensor,
    gradients: Tensor,
    at_once: int,
    watched: list[Tensor] | None = None,
    take_rows: Callable[[slice, Sequence[Tensor]], None] | None = None,
) -> None:
    """Put gradients by what a stage was given in place of those by what it gave."""
    start = given.detach().requires_grad_()
    with torch.enable_grad():
        output = run(start)
    for first in range(0, len(gradients), at_once):
        rows = slice(first, min(first + at_once, len(gradients)))
        some, batched = gradients[rows].to(output.device), rows.stop - rows.start > 1
        parts = torch.autograd.grad(
            output,
            [start, *(watched or ())],
            some if batched else some[0],
            retain_graph=rows.stop < len(gradients),
            is_grads_batched=batched,
        )
        by_given, *by_watched = parts if batched else [part[None] for part in parts]
        if take_rows and by_watched:
            take_rows(rows, by_watched)
        # All of them at once, beside their copies, would be most of what a long text takes.
        gradients[rows] = by_given
