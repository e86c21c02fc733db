"""Effects of the heads of both models on the answer: estimated for all, measured on request.

The effect of a head is what it adds to the log-probability of an answer token. The derivative by a
gate on it is its estimate (`gates`); what another output in its place changes is exact.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from twinlens.compute.models import architectures
from twinlens.compute.passes.capture import Capture
from twinlens.compute.passes.gates import AnswerGates, changed_heads
from twinlens.compute.passes.onward import onward
from twinlens.compute.passes.reading import Reading, precise
from twinlens.compute.passes.subject import Subject
from twinlens.contract.wire import Array
from twinlens.contract.words import ABLATIONS, SIDES, TOP_HEADS, Side
from twinlens.errors import NotFiniteError, UnknownBlockError
from twinlens.support.progress import Report

#: Heads of one layer replaced in one pass, positions that are read then, and logits.
_AT_ONCE, _POSITIONS_AT_ONCE, _LOGITS_AT_ONCE = 16, 2**11, 2**25

#: Place of a head: layer, head.
Place = tuple[int, int]


def answer_logprobs(reading: Reading) -> Tensor:
    """Log-probabilities of the answer tokens, float [M], on the CPU."""
    return _of_answer(reading.logits(), reading)[0]


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

    def replaced(given: Tensor) -> Tensor:
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
        changed_heads(reading.model, {layer: replaced}),
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

    Measured, and kept apart from the estimates that say which heads are measured; a `column` is an
    answer token, None the whole answer.
    """

    def __init__(self, subject: Subject, gates: AnswerGates) -> None:
        self._subject, self._models, self._manifest = subject, subject.models, subject.manifest
        self.gates = gates
        self._exact: dict[tuple[Side, str], Array] = {}
        self._whole: dict[Side, Array] = {}

    def strongest(self, side: Side, column: int | None = None) -> list[Place]:
        """The `TOP_HEADS` heads of largest estimate, the largest first."""
        size = np.abs(self.gates.heads(side, column))
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
        if (side, kind) not in self._exact or not self.gates.known(side, column):
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
