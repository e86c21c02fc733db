"""One hooked pass that keeps what the panels show.

What it leaves that is too large to keep is had again from the residual stream in front of a layer,
from which all that happens inside follows: that layer is run again when it is asked for.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, suppress
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from twinlens.compute.models import architectures
from twinlens.compute.passes.decoding import not_finite
from twinlens.compute.passes.entry import ReachedError, entering
from twinlens.compute.passes.listening import listening, rows_of
from twinlens.compute.passes.onward import onward
from twinlens.compute.passes.room import room
from twinlens.contract.words import Side
from twinlens.errors import NotFiniteError

#: Bytes of one model's patterns, and of its neurons, up to which they are kept.
KEPT = 2**28
#: Gives the model again and holds it, such as ``partial(pair.model, side)``.
ModelAgain: TypeAlias = "Callable[[], AbstractContextManager[PreTrainedModel]]"
#: Layers that are kept for the next question about them.
_RECENT = 2


class Patterns:
    """Patterns of every head, kept without their empty upper half.

    ``patterns[layer]`` and ``patterns[layer, head]`` unpack them.

    Parameters
    ----------
    layers, heads, length : int
        L, H and T.
    dtype : torch.dtype
        float16 changes a weight by at most 1/2048 of itself (below 6e-5 by at most 3e-8).

    Attributes
    ----------
    packed : tensor, shape [L, H, T (T + 1) / 2]
        Lower triangles, row by row: rows are queries, and no query sees a later key.
    """

    def __init__(
        self, layers: int, heads: int, length: int, dtype: torch.dtype = torch.float16
    ) -> None:
        self.packed = room((layers, heads, length * (length + 1) // 2), dtype)
        self.length = length
        self._seen = torch.ones(length, length, dtype=torch.bool).tril()

    def __len__(self) -> int:
        return len(self.packed)

    def __iter__(self) -> Iterator[Tensor]:
        return (self[layer] for layer in range(len(self)))

    def __getitem__(self, place: int | tuple[int, int]) -> Tensor:
        """Patterns of a layer [H, T, T], or of one head [T, T], in the kept dtype."""
        rows = self.packed[place]
        dense = rows.new_zeros(*rows.shape[:-1], self.length, self.length)
        dense[..., self._seen] = rows
        return dense

    def put(self, layer: int, weights: Tensor) -> None:
        """Keep the patterns [H, T, T] of a layer, from any device."""
        self.packed[layer] = weights[:, self._seen.to(weights.device)].to(self.packed)

    @property
    def nbytes(self) -> int:
        """Bytes held."""
        return self.packed.nbytes + self._seen.nbytes


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
            stack.enter_context(modules[layer].register_forward_hook(out_of))
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


@dataclass(frozen=True)
class Capture:
    """What one model did with one text of T tokens, M of them its answer; tensors in `room`.

    Attributes
    ----------
    attention : Patterns or PatternsAgain
        Of every head of the layers that are `attending`, the causal half in half precision.
    heads : list of float32 tensors [T, heads * head_dim]
        Output of every head, before the output weights, by layer: heads may differ in size from
        layer to layer. Empty in layers that have none.
    attention_out, feed_forward_out : float32 [layers, T, hidden]
        Output of the two blocks' last linear maps (before a norm, in families that have one there).
    residual : float32 [layers + 1, T, hidden]
        Residual stream: the embedding, then after each layer; the final norm is not applied.
    neurons : float32 [layers, T, intermediate] or NeuronsAgain
        Activation of every feed-forward neuron, after its gate; of mixtures of experts none,
        [layers, T, 0].
    logprobs : float32 [M, vocabulary]
        Log-probabilities in nats where the answer tokens are predicted.
    returned : int
        How many values a layer gives back in a tuple; 0 for a tensor.
    attending : list of int
        Layers that have heads.
    """

    attention: Patterns | PatternsAgain
    heads: list[Tensor]
    attention_out: Tensor
    feed_forward_out: Tensor
    residual: Tensor
    neurons: Tensor | NeuronsAgain
    logprobs: Tensor
    returned: int
    attending: list[int]


def capture(
    model: PreTrainedModel,
    ids: Sequence[int],
    prompt_length: int,
    *,
    side: Side,
    attention_dtype: torch.dtype = torch.float16,
    again: ModelAgain | None = None,
) -> Capture:
    """One pass over prompt and answer, keeping what happens inside.

    Parameters
    ----------
    again : callable, optional
        Gives the model again. Patterns or neurons of more than `KEPT` bytes are then not kept: a
        layer is run again when it is asked for them, with the same numbers.

    Raises
    ------
    NotFiniteError
        If the residual stream becomes NaN or infinite; names the layer.
    """
    depth = range(len(architectures.layers(model)))
    shape = architectures.sizes(model.config)
    length, most = len(ids), KEPT if again is not None else math.inf
    patterns: Patterns | None = None
    attending = architectures.attending(model)
    if len(depth) * shape.heads * length * (length + 1) <= most:  # two bytes for half of each
        patterns = Patterns(len(depth), shape.heads, length, attention_dtype)
    with_neurons = len(depth) * length * shape.intermediate * 4 <= most
    counts = dict.fromkeys(("heads", "attention_out", "feed_forward_out"), len(depth))
    counts |= {"residual": len(depth) + 1} | ({"neurons": len(depth)} if with_neurons else {})
    places = {name: iter(range(count)) for name, count in counts.items()}
    places["heads"] = iter(attending)
    captured: dict[str, Tensor] = {}
    heads = [torch.empty(length, 0, dtype=torch.float32)] * len(depth)
    reached = iter(attending)
    returned: list[int] = []

    def keep(name: str, tensor: Tensor) -> None:
        if name in counts:
            # One array from the start: many small ones would leave holes in memory.
            if name not in captured:
                captured[name] = room((counts[name], *tensor.shape), torch.float32)
            place, rows = next(places[name]), captured[name]
            # Heads of another size than those of the first layer have an array of their own.
            alike = rows.shape[1:] == tensor.shape
            row = rows[place] if alike else room(tuple(tensor.shape), tensor.dtype)
            row.copy_(tensor)
            if name == "heads":
                heads[place] = row

    def put(weights: Tensor) -> None:
        if patterns is not None:
            patterns.put(next(reached), weights)

    def keep_residual(_: nn.Module, arguments: Any) -> None:
        keep("residual", rows_of(arguments[0]))

    def see_returned(_: nn.Module, __: Any, output: Any) -> None:
        returned.append(len(output) if isinstance(output, tuple) else 0)

    positions = torch.arange(prompt_length - 1, len(ids) - 1, device=model.device)
    with ExitStack() as stack:
        options = stack.enter_context(listening(model, depth, keep, put))
        modules = architectures.layers(model)
        stack.enter_context(modules[0].register_forward_hook(see_returned))
        for module in (*modules, architectures.final_norm(model)):
            stack.enter_context(module.register_forward_pre_hook(keep_residual))
        # Not inference_mode: a rotary buffer refreshed there could not enter a gradient later.
        # As every other pass: nothing is predicted after the last token, and it adds no length.
        with torch.no_grad(), entering(model, len(ids) - 1):
            output = model(
                torch.tensor([list(ids)], device=model.device),
                use_cache=False,
                logits_to_keep=positions,
                **options,
            )
    for layer, residual in enumerate(captured["residual"]):
        if not torch.isfinite(residual).all():
            where = f"layer {layer - 1}" if layer else "its embeddings"
            raise NotFiniteError(not_finite(side, where))
    attention: Any = patterns
    neurons: Any = captured.pop("neurons", None)
    if again is not None:
        layers = LayersAgain(again, ids, captured["residual"], returned[0], attention_dtype)
        attention = PatternsAgain(layers) if attention is None else attention
        neurons = NeuronsAgain(layers) if neurons is None else neurons
    captured.pop("heads")
    logprobs = output.logits[0].float().log_softmax(dim=-1).cpu()
    return Capture(
        attention=attention,
        heads=heads,
        neurons=neurons,
        logprobs=logprobs,
        returned=returned[0],
        attending=attending,
        **captured,
    )
