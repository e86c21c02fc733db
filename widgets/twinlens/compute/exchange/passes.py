"""Passes through tuned with parts of it exchanged, wholly or in part, for base's.

A gate g on a part puts ``(1 - g) * own + g * base's`` in place of what the part adds to the
residual stream, at every position or at one; base's is what base computed when it read the same
tokens. A head's addition goes through its output weights, so that these are exchanged with it. A
norm behind a block is exchanged with the block, that behind attention as far as the mean of its
heads. All of it holds with the models exchanged, too.

How much each part should carry: all gates open together from 0 to 1; the derivative of
KL(exchanged || base) by each gate, integrated along the way, adds up to KL(tuned || base) over all
parts. One gradient at tuned would not do: where the answer is certain it vanishes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from twinlens.compute.exchange.parts import Layout
from twinlens.compute.models import architectures
from twinlens.compute.passes.capture import Capture
from twinlens.compute.passes.integrals import points_on_the_way
from twinlens.compute.passes.joining import can_join, joining
from twinlens.compute.passes.onward import onward
from twinlens.compute.passes.reading import Reading, precise
from twinlens.compute.passes.subject import Ending, ending
from twinlens.contract.wire import Array
from twinlens.support.cached import cached_property
from twinlens.support.progress import Report

#: Bounds the numbers of one pass: logits, and the activations of a layer.
_NUMBERS_AT_ONCE = 2**24
#: Numbers that are worked on at once on a processor: they stay in its cache, which is four times
#: as fast for a large vocabulary.
_AT_ONCE = 2**16
#: Points on the path, those of Gauss and Legendre.
STEPS = 5


def divergence(logprobs: Tensor, donor: Tensor) -> Tensor:
    """KL(predicted || donor's) of each answer token, nats, shape [B, M]."""
    return (logprobs.exp() * (logprobs - donor)).sum(dim=-1)


@torch.no_grad()
def compared(logits: Tensor, targets: Tensor, donor: Tensor) -> tuple[Array, Array]:
    """Log-probability of the answer and KL(predicted || donor's), nats, float64 [B, M] each.

    Parameters
    ----------
    logits : tensor [B, M, vocabulary]
    targets : int tensor [M]
        The answer tokens.
    donor : float64 tensor [M, vocabulary]
        Log-probabilities of the other model.
    """
    batch, answer, vocabulary = logits.shape
    size = max(1, _AT_ONCE // vocabulary) if logits.device.type == "cpu" else batch
    of_answer = logits.new_empty(batch, answer, dtype=torch.float64)
    apart = torch.empty_like(of_answer)
    for token in range(answer):
        for first in range(0, batch, size):
            some = slice(first, first + size)
            logprobs = logits[some, token].double().log_softmax(dim=-1)
            of_answer[some, token] = logprobs[:, targets[token]]
            apart[some, token] = divergence(logprobs, donor[token])
    return of_answer.cpu().numpy(), apart.cpu().numpy()


@dataclass(frozen=True)
class Exchange:
    """A reading of one model, and what the other model computed when it read the same tokens.

    Attributes
    ----------
    reading : Reading
        Of the model whose parts are replaced.
    donor : PreTrainedModel
        The model the parts come from.
    captured : Capture
        What the donor computed.
    guard, donor_guard : context manager
        Held while the one or the other runs: both may be one model with its adapter on or off.
    own : Capture, optional
        What the model itself computed: passes then begin at the first layer that is changed.
    at : int, optional
        The only position at which parts are replaced; by default all of them. Passes then begin
        there, where `own` is known.
    begin : callable, optional
        Reads what stands in front of that position, see `ending`.
    """

    reading: Reading
    donor: PreTrainedModel
    captured: Capture
    guard: AbstractContextManager[object]
    donor_guard: AbstractContextManager[object]
    own: Capture | None = None
    at: int | None = None
    begin: Callable[[Reading, int], Ending] = ending

    @property
    def model(self) -> PreTrainedModel:
        """The model whose parts are replaced."""
        return self.reading.model

    @cached_property
    def layout(self) -> Layout:
        """Where each part stands in a row of gates."""
        return Layout.of(architectures.sizes(self.model.config))

    @cached_property
    def vocabulary(self) -> int:
        """Tokens that both models know: predictions are compared over these."""
        return min(int(m.config.vocab_size) for m in (self.model, self.donor))

    @cached_property
    def donor_logprobs(self) -> Tensor:
        """What the donor predicts, float64 [M, vocabulary]."""
        shared = self.captured.logprobs[:, : self.vocabulary].double()
        return shared.log_softmax(dim=-1).to(self.model.device)

    @cached_property
    def ending(self) -> Ending:
        """Where passes begin in the text."""
        if self.at is None or self.own is None:
            return Ending(0, {})
        with self.guard:
            return self.begin(self.reading, self.at)

    @property
    def read(self) -> slice:
        """Positions that a pass reads, S of them."""
        return slice(self.ending.first, len(self.reading.ids) - 1)

    def residual(self, layer: int) -> Tensor:
        """Residual stream of the model itself in front of a layer, [1, S, hidden]."""
        if self.own is None:
            raise ValueError("what the model itself computed is not known")
        return self.own.residual[layer, None, self.read]

    def put(self, own: Tensor, replaced: Tensor) -> Tensor:
        """What takes the place of something [B, S, ...]: at one position only if there is one."""
        if self.at is None:
            return replaced.to(own).expand_as(own)
        mixed, place = own.clone(), self.at - self.ending.first
        mixed[:, place] = replaced.to(own).expand_as(own)[:, place]
        return mixed

    def logits(
        self,
        gates: Tensor,
        begins: Mapping[int, Tensor] | None = None,
        streams: list[Tensor] | None = None,
    ) -> Tensor:
        """Predictions of the answer tokens under some rows of gates.

        Parameters
        ----------
        gates : float tensor [B, P]
            May require a gradient.
        begins : mapping of int to float tensor [b, S, hidden], optional
            Residual streams in front of the layers where rows begin, all B in the order of the
            rows, by layer in rising order; the number of layers stands for what is behind all. More
            than one only where rows `can_begin_apart`. By default all begin with the model's own
            stream at the first gate that is open.
        streams : list, optional
            Filled with the residual streams in front of each layer that runs, and behind all.

        Returns
        -------
        tensor [B, M, vocabulary]
            Logits, at least float32, each token's up to a number of its own.
        """
        later = self.later_logits(gates, begins, streams)
        if self.own is None or not self.earlier:
            return later
        before = self.own.logprobs[: self.earlier, : self.vocabulary].to(later)
        return torch.cat([before.expand(len(gates), -1, -1), later], dim=1)

    def logprobs(self, gates: Tensor) -> Tensor:
        """`logits` as log-probabilities, nats, float64 [B, M, vocabulary]."""
        return self.logits(gates).double().log_softmax(dim=-1)

    @cached_property
    def earlier(self) -> int:
        """Answer tokens that are predicted in front of what passes read: they stay as they are."""
        return int((self.reading.positions < self.ending.first).sum())

    def later_logits(
        self,
        gates: Tensor,
        begins: Mapping[int, Tensor] | None = None,
        streams: list[Tensor] | None = None,
    ) -> Tensor:
        """`logits` of the answer tokens behind the `earlier` ones."""
        ending = self.ending
        positions = self.reading.positions
        later = positions >= ending.first
        final: list[Tensor] = []
        unembedding = gates[:, self.layout.unembedding]
        with self.guard:
            begins = self._begins(gates) if begins is None else begins
            texts = 1 if len(begins) > 1 else len(gates)
            ids = self.reading.read[:, ending.first :].expand(texts, -1)
            first = next(iter(begins), 0)
            with ExitStack() as stack:
                stack.enter_context(self.reading.at_its_length())
                stack.enter_context(ending.reading_on(self.model))
                stack.enter_context(self._from(begins))
                stack.enter_context(self._gated(gates, begins, final))
                if streams is not None:
                    stack.enter_context(_kept(architectures.layers(self.model)[first:], streams))
                rows = positions[later] - ending.first
                output = self.model(ids, use_cache=False, logits_to_keep=rows, **ending.placed(ids))
            if streams is not None:
                streams.append(final[0])
            logits = precise(output.logits)[..., : self.vocabulary]
            if not _closed(unembedding):
                logits = self._unembedded(logits, final[0][:, rows], unembedding)
        return logits

    def _unembedded(self, logits: Tensor, residual: Tensor, gates: Tensor) -> Tensor:
        """Logits mixed with what the donor's unembedding makes of the residual stream."""
        rows = _open(gates[:, None])
        own = logits[rows]
        with self.donor_guard:
            others = architectures.logits(self.donor, residual[rows].to(self.donor.device))
        others = precise(others)[..., : self.vocabulary].to(own.device)
        mixed = torch.lerp(own, others, gates[rows].to(own)[:, None, None])
        if self.at is not None:
            positions = self.reading.positions
            here = positions[positions >= self.ending.first] == self.at
            mixed = torch.where(here[:, None], mixed, own)
        result = logits.clone()
        result[rows] = mixed
        return result

    @cached_property
    def can_begin_apart(self) -> bool:
        """Whether rows may begin at layers of their own; they can where whole texts are read."""
        if self.own is None or self.at is not None:
            return False
        with self.guard:
            return can_join(self.model)

    def batches(self, rows: Tensor) -> Iterator[Tensor]:
        """Rows of gates, as many at a time as fit."""
        numbers = self.reading.answer_length * self.vocabulary
        numbers += len(self.reading.ids) * architectures.sizes(self.model.config).intermediate
        size = max(1, min(16, _NUMBERS_AT_ONCE // numbers))
        return (rows[first : first + size] for first in range(0, len(rows), size))

    def _begins(self, gates: Tensor) -> dict[int, Tensor]:
        """Where rows begin that all do at the first open gate; nothing for whole passes."""
        first = 0 if gates.requires_grad else self.layout.first(gates.any(dim=0))
        if self.own is None or first == 0:
            return {}
        return {first: self.residual(first).expand(len(gates), -1, -1)}

    def _from(self, begins: Mapping[int, Tensor]) -> AbstractContextManager[None]:
        if self.own is None or not begins:
            return nullcontext()
        if len(begins) > 1:
            return joining(self.model, begins, self.own.returned)
        ((layer, streams),) = begins.items()
        return onward(self.model, layer, streams, self.own.returned)

    @contextmanager
    def _gated(
        self, gates: Tensor, begins: Mapping[int, Tensor], final: list[Tensor]
    ) -> Iterator[None]:
        model, layout = self.model, self.layout
        apart = len(begins) > 1
        embedded = gates[: len(begins.get(0, ())) if apart else None, layout.embedding]
        hooks: list[tuple[nn.Module, Callable[..., Any], bool]] = [
            (architectures.layers(model)[0], self._embedding(embedded), True),
            (architectures.final_norm(model), lambda _, given: final.append(given[0]), True),
        ]
        for layer in range(layout.layers):
            begun = sum(len(rows) for at, rows in begins.items() if at <= layer)
            some = gates[:begun] if apart else gates
            head = layout.head(layer)
            of_heads = some[:, head : head + layout.heads]
            of_block = some[:, layout.feed_forward(layer)]
            out = architectures.attention_out(model, layer)
            hooks.append((out, self._heads(layer, of_heads), False))
            out = architectures.feed_forward_out(model, layer)
            hooks.append((out, self._feed_forward(layer, of_block), False))
            own, theirs = (architectures.norms_behind(m, layer) for m in (model, self.donor))
            if own and theirs:
                hooks.append((own[0], self._norm(theirs[0], of_heads.mean(dim=1)), False))
                if own[1] is not out:  # or it is part of what was captured
                    hooks.append((own[1], self._norm(theirs[1], of_block), False))
        with ExitStack() as stack:
            for module, hook, before in hooks:
                register = (
                    module.register_forward_pre_hook if before else module.register_forward_hook
                )
                stack.enter_context(register(hook))
            yield

    def _embedding(self, gates: Tensor) -> Callable[..., Any]:
        def hook(_: nn.Module, given: tuple[Any, ...]) -> tuple[Any, ...] | None:
            if _closed(gates):
                return None
            mixed = _mixed(given[0], self.captured.residual[0, self.read], gates)
            return (self.put(given[0], mixed), *given[1:])

        return hook

    def _norm(self, norm: nn.Module, gates: Tensor) -> Callable[..., Any]:
        """A norm behind a block goes with it; of heads each has an equal part of it."""

        def hook(_: nn.Module, given: tuple[Tensor, ...], output: Tensor) -> Tensor | None:
            if _closed(gates):
                return None
            with self.donor_guard:
                theirs = norm.forward(given[0].to(cast(Tensor, norm.weight).device))
            return self.put(output, _mixed(output, theirs, gates))

        return hook

    def _feed_forward(self, layer: int, gates: Tensor) -> Callable[..., Any]:
        def hook(_: nn.Module, __: Any, output: Any) -> Any:
            if _closed(gates):
                return None
            # Experts may give out more than this, and some families put all texts end to end.
            own: Tensor = output[0] if isinstance(output, tuple) else output
            texts = own.reshape(len(gates), -1, own.shape[-1])
            theirs = self.captured.feed_forward_out[layer, self.read]
            mixed = self.put(texts, _mixed(texts, theirs, gates)).reshape(own.shape)
            return (mixed, *output[1:]) if isinstance(output, tuple) else mixed

        return hook

    def _heads(self, layer: int, gates: Tensor) -> Callable[..., Any]:
        def hook(module: nn.Module, given: tuple[Tensor, ...], output: Tensor) -> Tensor | None:
            if _closed(gates):
                return None
            rows = _open(gates)
            projection = architectures.attention_out(self.donor, layer)
            theirs = self.captured.heads[layer][self.read].to(output)
            with self.donor_guard:
                added = _written(projection, theirs[None], gates[rows], output)
            mixed = output.clone()
            mixed[rows] += added - _written(module, given[0][rows], gates[rows], output)
            return self.put(output, mixed)

        return hook


@contextmanager
def _kept(layers: Sequence[nn.Module], streams: list[Tensor]) -> Iterator[None]:
    """Keep what layers are given."""
    with ExitStack() as stack:
        for layer in layers:
            keep = layer.register_forward_pre_hook(lambda _, given: streams.append(given[0]))
            stack.enter_context(keep)
        yield


def _closed(gates: Tensor) -> bool:
    return not gates.requires_grad and not bool(gates.any())


def _open(gates: Tensor) -> Tensor | slice:
    """Rows that may have an open gate."""
    return slice(None) if gates.requires_grad else gates.any(dim=1).nonzero()[:, 0]


def _mixed(own: Tensor, theirs: Tensor, gates: Tensor) -> Tensor:
    return torch.lerp(own, theirs.to(own), gates.to(own)[:, None, None])


def _written(module: nn.Module, heads: Tensor, gates: Tensor, like: Tensor) -> Tensor:
    """What heads write through their output weights, each times its gate, [B, S, hidden].

    A bias belongs to no head: its part is the mean gate.
    """
    gates = gates.to(like)
    split = heads.view(*heads.shape[:-1], gates.shape[1], -1)
    gated = (split * gates[:, None, :, None]).flatten(-2)
    bias = cast("Tensor | None", getattr(module, "bias", None))
    # Through the module itself, whatever it is made of, and without its bias.
    written = cast(Tensor, module.forward(gated.to(cast(Tensor, module.weight).device)))
    if bias is not None:
        written = written - bias * (1 - gates.mean(dim=1))[:, None, None].to(bias)
    return written.to(like)


def rows_of(layout: Layout, sets: Sequence[Sequence[int]]) -> Tensor:
    """Rows of gates that are open at some places, float32 [sets, P]."""
    rows = torch.zeros(len(sets), layout.count, dtype=torch.float32)
    for row, places in enumerate(sets):
        rows[row, list(places)] = 1
    return rows


@torch.inference_mode(False)
def integrated_gates(
    exchange: Exchange, columns: Sequence[int | None] = (None,), report: Report | None = None
) -> Tensor:
    """Share of KL(tuned || base) that each part takes away on the path, nats.

    Parameters
    ----------
    columns : sequence of int or None
        Answer tokens, a backward pass each at every step; None for the sum over the answer.
    report : callable, optional
        Told the steps done; may raise `Interrupted`.

    Returns
    -------
    float64 tensor [columns, P]
    """
    total = torch.zeros(len(columns), exchange.layout.count, dtype=torch.float64)
    for step, (point, weight) in enumerate(points_on_the_way(STEPS)):
        gates = torch.full(
            (1, exchange.layout.count), point, dtype=torch.float32, requires_grad=True
        )
        with torch.enable_grad():
            apart = divergence(exchange.logprobs(gates), exchange.donor_logprobs)[0]
            targets = [apart.sum() if column is None else apart[column] for column in columns]
        for place, target in enumerate(targets):
            (slope,) = torch.autograd.grad(target, gates, retain_graph=True)
            total[place] -= slope[0].double() * weight
        if report:
            report(step + 1, STEPS, "which parts carry the difference: estimate")
    return total
