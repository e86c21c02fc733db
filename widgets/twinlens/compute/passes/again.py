"""What a pass leaves that is too large to keep: layers are run again when it is asked for.

The residual stream in front of a layer is kept, and all that happens inside follows from it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, suppress
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import torch
from torch import Tensor
from transformers import PreTrainedModel

from twinlens.compute.models import architectures
from twinlens.compute.passes.entry import ReachedError, entering
from twinlens.compute.passes.listening import listening
from twinlens.compute.passes.onward import onward

#: Gives the model again and holds it, such as ``partial(pair.model, side)``.
ModelAgain: TypeAlias = "Callable[[], AbstractContextManager[PreTrainedModel]]"

#: Layers that are kept for the next question about them.
_RECENT = 2


@dataclass
class LayersAgain:
    """Layers of one text of T tokens, each run again on the residual stream in front of it.

    Attributes
    ----------
    ids : sequence of int
        T tokens.
    residual : float32 tensor [layers + 1, T, hidden]
    returned : int
        See `Capture.returned`.
    """

    model: ModelAgain
    ids: Sequence[int]
    residual: Tensor
    returned: int
    dtype: torch.dtype
    _recent: dict[int, tuple[Tensor, Tensor]] = field(default_factory=dict)

    def layer(self, layer: int) -> tuple[Tensor, Tensor]:
        """Patterns of one layer [H, T, T], and its neurons, float32 [T, intermediate]."""
        streams = self._recent.get(layer)
        if streams is None:
            with self.model() as model:
                streams = self._recent[layer] = self._run(model, layer)
                for oldest in list(self._recent)[:-_RECENT]:
                    del self._recent[oldest]
        return streams

    def _run(self, model: PreTrainedModel, layer: int) -> tuple[Tensor, Tensor]:
        modules = architectures.layers(model)
        patterns: list[Tensor] = []
        neurons: list[Tensor] = []

        def put(weights: Tensor) -> None:
            patterns.append(weights.to("cpu", self.dtype))

        def out_of(*_: Any) -> None:
            raise ReachedError

        def keep(name: str, tensor: Tensor) -> None:
            if name == "neurons":
                neurons.append(tensor)

        with ExitStack() as stack:
            stack.enter_context(onward(model, layer, self.residual[layer], self.returned))
            stack.callback(modules[layer].register_forward_hook(out_of).remove)
            options = stack.enter_context(listening(model, [layer], keep, put))
            ids = torch.tensor([list(self.ids)], device=model.device)
            length = len(self.ids) - 1
            with torch.no_grad(), entering(model, length), suppress(ReachedError):
                architectures.body(model)(ids, use_cache=False, **options)
        return (patterns or [torch.empty(0, dtype=torch.float32)])[0], neurons[0]


class PatternsAgain:
    """As `Patterns`, of layers that are run again."""

    def __init__(self, layers: LayersAgain) -> None:
        self._layers = layers

    def __len__(self) -> int:
        return len(self._layers.residual) - 1

    def __iter__(self) -> Iterator[Tensor]:
        return (self[layer] for layer in range(len(self)))

    def __getitem__(self, place: int | tuple[int, int]) -> Tensor:
        """Patterns of a layer [H, T, T], or of one head [T, T]."""
        layer, head = place if isinstance(place, tuple) else (place, None)
        patterns, _ = self._layers.layer(layer)
        return patterns if head is None else patterns[head]


class NeuronsAgain:
    """Neurons by layer, float32 [T, intermediate] each, of layers that are run again."""

    def __init__(self, layers: LayersAgain) -> None:
        self._layers = layers

    def __getitem__(self, layer: int) -> Tensor:
        return self._layers.layer(layer)[1]
