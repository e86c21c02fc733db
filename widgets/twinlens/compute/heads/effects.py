"""Effects of the heads of both models on the answer: estimated for all, measured on request.

A gate multiplies the output of a head, at every position, before the output weights. The effect
of a head is what it adds to the log-probability of an answer token: the derivative at gate 1 is
its first-order estimate, for all heads from one backward pass (Michel et al. 2019, with a sign);
the difference between gate 1 and gate 0, or another output in its place, is exact.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from twinlens.compute.models import architectures
from twinlens.compute.passes.by_layer import read_by_layer
from twinlens.compute.passes.capture import Capture
from twinlens.compute.passes.folding import Texts, embed, fold
from twinlens.compute.passes.footprint import fits
from twinlens.compute.passes.onward import onward
from twinlens.compute.passes.reading import Reading, log_probability, precise
from twinlens.compute.passes.subject import Subject
from twinlens.contract.wire import Array
from twinlens.contract.words import ABLATIONS, SIDES, TOP_HEADS, Side
from twinlens.errors import NotFiniteError, UnknownBlockError
from twinlens.support.progress import Report

#: Heads of one layer replaced in one pass, positions that are read then, and logits.
_AT_ONCE, _POSITIONS_AT_ONCE, _LOGITS_AT_ONCE = 16, 2**11, 2**25

#: Place of a head: layer, head.
Place = tuple[int, int]
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


class HeadEffects:
    """What every head adds to the log-probability of an answer token or of the whole answer.

    Estimates and exact effects are kept apart; a `column` is an answer token, None the whole
    answer.
    """

    def __init__(self, subject: Subject) -> None:
        self._subject, self._models, self._manifest = subject, subject.models, subject.manifest
        self._estimates: dict[tuple[Side, int | None], Array] = {}
        self._exact: dict[tuple[Side, str], Array] = {}
        self._whole: dict[Side, Array] = {}

    def estimate(self, side: Side, column: int | None = None) -> Array:
        """Derivative by a gate on each head, nats, float32 [layers, heads]."""
        if (side, column) not in self._estimates:
            # A model that takes turns in memory answers for every token while it is there.
            alone = self._models.memory == "sequential"
            self.fill(side, None if alone else [column])
        return self._estimates[side, column]

    def fill(self, side: Side, columns: Sequence[int | None] | None = None) -> None:
        """Estimate for several columns, by default the answer and all of its tokens."""
        all_columns = [None, *range(self._manifest.answer_length(side))]
        with self._models.model(side) as model:
            missing = [
                column
                for column in (all_columns if columns is None else columns)
                if (side, column) not in self._estimates
            ]
            reading, tokens = (
                self._subject.reading(side, model),
                [c for c in missing if c is not None],
            )
            if None in missing:
                self._estimates[side, None] = gate_gradients(reading)[0].astype(np.float32)
            if tokens:
                gradients = gate_gradients(reading, tokens).astype(np.float32)
                self._estimates |= {(side, m): gradients[i] for i, m in enumerate(tokens)}

    def strongest(self, side: Side, column: int | None = None) -> list[Place]:
        """The `TOP_HEADS` heads of largest estimate, the largest first."""
        size = np.abs(self.estimate(side, column))
        order = np.argsort(-size, axis=None, kind="stable")[:TOP_HEADS]
        known = [int(place) for place in order if not np.isnan(size.flat[place])]
        return [divmod(place, size.shape[1]) for place in known]

    def exact(
        self,
        side: Side,
        kind: str,
        heads: Sequence[Place],
        column: int | None = None,
        report: Report | None = None,
    ) -> Array:
        """Exact effect of some heads, nats, float32 [layers, heads]; NaN for all others.

        Parameters
        ----------
        kind : str
            One of `ABLATIONS`.
        heads : sequence of (layer, head)
            Computed in this order, with each the others of its layer; what is finished stays when
            the work is interrupted.

        Raises
        ------
        UnknownBlockError
            If the kind is unknown, or needs a shared answer and there is none.
        NotFiniteError
            If a log-probability without a head is NaN or infinite.
        Interrupted
            If `report` asked to stop.
        """
        table = self._table(side, kind)
        self._complete(side, kind, heads, report)
        return self._pick(table, heads, column)

    def so_far(self, side: Side, kind: str, column: int | None = None) -> Array:
        """All exact effects that are there already; computes nothing."""
        return self._pick(self._table(side, kind), self._known(side, kind), column)

    def computed(self, side: Side, kind: str, column: int | None = None) -> bool:
        """Whether the exact effects of the strongest heads are there already."""
        if (side, kind) not in self._exact or (side, column) not in self._estimates:
            return False
        return set(self.strongest(side, column)) <= set(self._known(side, kind))

    def _known(self, side: Side, kind: str) -> list[Place]:
        complete = np.isfinite(self._table(side, kind)).all(axis=-1)
        return [(layer, head) for layer, head in np.argwhere(complete).tolist()]

    def _table(self, side: Side, kind: str) -> Array:
        if kind not in ABLATIONS:
            raise UnknownBlockError(
                f"a head cannot be replaced by {kind!r}: choose {', '.join(ABLATIONS)}"
            )
        if kind == "other" and not self._manifest.shared:
            raise UnknownBlockError(
                "replacing a head by the other model's needs one answer read by both models: "
                "trace with response='shared'"
            )
        sizes = self._models.sizes
        empty = np.full(
            (sizes.layers, sizes.heads, self._manifest.answer_length(side)), np.nan, np.float32
        )
        return self._exact.setdefault((side, kind), empty)

    def _complete(
        self, side: Side, kind: str, heads: Sequence[Place], report: Report | None
    ) -> None:
        table = self._table(side, kind)

        def missing() -> list[Place]:
            return [head for head in heads if np.isnan(table[head]).any()]

        total = len(missing())
        if not total:
            return
        output = self._outputs(side, kind)
        held = self._models.held(side)
        with self._models.pieces(side) as model:
            reading = self._subject.reading(side, model)
            logits = reading.answer_length * self._models.vocabulary
            most = min(_POSITIONS_AT_ONCE // len(reading.ids), _LOGITS_AT_ONCE // logits)
            most = max(1, min(_AT_ONCE, most))
            while missing():
                with held:
                    if not (left := missing()):
                        break  # another thread did the rest while this one waited
                    layer = left[0][0]
                    batch = [head for head in left if head[0] == layer][:most]
                    if side not in self._whole:
                        self._whole[side] = answer_logprobs(reading).numpy()
                    without = without_heads(
                        reading,
                        self._subject.captures[side],
                        layer,
                        [head for _, head in batch],
                        [output(*head) for head in batch],
                    )
                    if not torch.isfinite(without).all():
                        raise NotFiniteError(
                            f"the {side} model computes NaN or infinity without one of the heads "
                            f"{', '.join(f'{layer}.{head}' for _, head in batch)}"
                        )
                    for head, logprobs in zip(batch, without.numpy(), strict=True):
                        table[head] = self._whole[side] - logprobs
                if report:
                    report(total - len(missing()), total, f"exact effect of heads, {side}")

    def _outputs(self, side: Side, kind: str) -> Callable[[int, int], torch.Tensor]:
        """What stands in place of a head's output, by layer and head."""
        other_side = SIDES[1 - SIDES.index(side)]
        heads = self._subject.captures[other_side if kind == "other" else side].heads

        def output(layer: int, head: int) -> torch.Tensor:
            rows, count = heads[layer][:-1], self._models.sizes.heads
            outputs = rows.reshape(len(rows), count, rows.shape[1] // count)[:, head]
            if kind == "other":
                return outputs
            return outputs.mean(dim=0) if kind == "mean" else torch.zeros_like(outputs[0])

        return output

    def _pick(self, table: Array, heads: Sequence[Place], column: int | None) -> Array:
        effects = np.full(table.shape[:2], np.nan, np.float32)
        for head in heads:
            effects[head] = table[head].sum() if column is None else table[head][column]
        return effects
