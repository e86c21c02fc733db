"""What tuned's update does to a prediction beside the same update with its signs drawn anew.

What was learned points somewhere: along it predictions move farther than along any change of the
same size at the same places that points nowhere. Noise and rounding point nowhere: of them the
update is one draw among the others, whatever is measured.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import TypeAlias, cast

import numpy as np
import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from twinlens.compute.exchange.changed_weights import (
    Change,
    Changed,
    OfRows,
    Rows,
    changed_weights,
    parts_of,
    rows_at_a_time,
)
from twinlens.compute.exchange.exchanged_weights import parameters_of_blocks
from twinlens.compute.exchange.passes import compared
from twinlens.compute.models import architectures
from twinlens.compute.models.dense import (
    below_adapters,
    is_plain,
    parameter_places,
    parameter_value,
)
from twinlens.compute.passes.joining import can_join
from twinlens.compute.passes.reading import Reading, precise
from twinlens.contract.forms import ChangedBlock, Null
from twinlens.contract.words import Side
from twinlens.errors import UnsupportedArchitectureError
from twinlens.measures.chance import LEVEL, p_value
from twinlens.support.progress import Report

#: Draws of the signs, for small models and for others, and how many times as many are drawn while
#: the chance is neither surely above what is asked for nor surely below it.
DRAWS, FEW_DRAWS, _ROUNDS = 19, 9, 3
_UNSURE = LEVEL / 100, LEVEL * 100
#: KL of a draw per token, nats, up to which a model is only moved and not broken; how often the
#: update is halved to get there.
_MOVED, _HALVINGS = 2e-3, 8

#: The draw that says how far to halve.
_LOOKED_AT = -1
#: Draws that are read together: the update is fetched once for them, and whoever waits for the
#: model waits for all.
_TOGETHER = 3

#: The eight signs that a byte stands for, a byte each, in one number.
_SIGNS = torch.from_numpy(
    np.unpackbits(np.arange(256, dtype=np.uint8)[:, None], axis=1).astype(np.int8) * 2 - 1
).view(torch.int64)[:, 0]

#: Of a parameter's name and its weight in base: gives tuned's rows, None where all are the same.
Update: TypeAlias = Callable[[str, Tensor], "OfRows | None"]


def null(
    base: Reading,
    tuned: Reading,
    said: Mapping[Side, Tensor],
    held: Mapping[Side, AbstractContextManager[object]],
    report: Report | None = None,
) -> Null:
    """How far the update moves base's predictions, and how far it would with other signs.

    Parameters
    ----------
    said : mapping of Side to tensor [M, vocabulary]
        Log-probabilities of each model as it is: `Capture.logprobs`.
    held : mapping of Side to context manager
        Entered while a model runs.
    report : callable, optional
        Called as ``report(done, total, what)``; may raise `Interrupted`.
    """
    update = update_of(base.model, tuned.model, held)
    drawn_as = _tied(base.model, tuned.model)
    before = _exactly(said["base"], base)
    draws = DRAWS if architectures.sizes(base.model.config).small else FEW_DRAWS
    with held["base"]:
        together = _TOGETHER if can_join(base.model) else 1

    def moved(drawn: Sequence[int | None], fraction: float) -> list[list[float]]:
        apart: list[list[float]] = []
        for first in range(0, len(drawn), together):
            if report:
                report((drawn[first] or 0) % draws, draws, "the update with its signs drawn anew")
            some = drawn[first : first + together]
            change = _moved(update, some, fraction, drawn_as)
            with held["base"], changed_weights(base.model, change, len(some)):
                apart += _apart(base, before, len(some))
        return apart

    fraction = 1.0
    for _ in range(_HALVINGS):
        # By a draw that is not looked at otherwise.
        if float(np.mean(moved([_LOOKED_AT], fraction))) <= _MOVED:
            break
        fraction /= 2
    (own,) = moved([None], fraction)
    scrambled: list[list[float]] = []
    for _ in range(_ROUNDS):
        scrambled += moved(range(len(scrambled), len(scrambled) + draws), fraction)
        if not _UNSURE[0] < p_value(own, scrambled) < _UNSURE[1]:
            break
    with held["tuned"], changed_weights(tuned.model, _rounded):
        (rounding,) = _apart(tuned, _exactly(said["tuned"], tuned))
    return Null(
        fraction=fraction,
        update=own,
        scrambled=scrambled,
        rounding=rounding,
        changed=changed_blocks(base.model, tuned.model, update, held["base"]),
    )


def update_of(
    base: PreTrainedModel,
    tuned: PreTrainedModel,
    held: Mapping[Side, AbstractContextManager[object]],
) -> Update:
    """What tuned has in place of each parameter of base, but for tokens that only one of them has.

    Parameters that are the same in both are compared once.
    """
    others = {name: (module, key) for name, module, key in parameter_places(tuned)}
    # An adapter is merged while it is on, hence once; whole weights are read where they are used.
    merged: dict[str, Tensor] = {}
    with held["tuned"]:
        for name, (module, key) in others.items():
            if below_adapters(module) is not module:
                merged[name] = parameter_value(module, key)
            else:
                _check(module, key)
    for _, module, key in parameter_places(base):
        _check(below_adapters(module), key)
    differs: dict[str, bool] = {}

    def update(name: str, weight: Tensor) -> OfRows | None:
        if name not in others or not differs.get(name, True):
            return None
        tuned_weight = merged[name] if name in merged else parameter_value(*others[name])
        if tuned_weight.ndim and len(tuned_weight) != len(weight):
            both = min(len(tuned_weight), len(weight))
            tuned_weight = torch.cat([tuned_weight[:both].to(weight), weight[both:]])
        if tuned_weight.shape != weight.shape:
            return None

        def theirs(rows: Rows) -> Tensor:
            return precise(tuned_weight[rows]).to(weight.device)

        if name not in differs:
            differs[name] = any(
                bool((theirs(rows) != precise(weight[rows])).any())
                for rows in rows_at_a_time(weight)
            )
        return theirs if differs[name] else None

    return update


def _check(module: nn.Module, key: str) -> None:
    if key == "weight" and not is_plain(module):
        raise UnsupportedArchitectureError(
            "what chance does to quantised weights cannot be said, because nothing can be added to "
            "them: load the models in a floating-point type"
        )


def _tied(base: PreTrainedModel, tuned: PreTrainedModel) -> dict[str, str]:
    """The name that each parameter of base is drawn as: tensors tied in both models have one."""
    theirs = {name: _tensor(module, key) for name, module, key in parameter_places(tuned)}
    first: dict[tuple[int, int], str] = {}
    return {
        name: first.setdefault((id(_tensor(module, key)), id(theirs.get(name))), name)
        for name, module, key in parameter_places(base)
    }


def _tensor(module: nn.Module, key: str) -> nn.Parameter | None:
    return below_adapters(module)._parameters[key]


def _moved(
    update: Update, draws: Sequence[int | None], fraction: float, drawn_as: Mapping[str, str]
) -> Change:
    """A fraction of the update added, in each text with signs of a draw, or with its own."""

    def change(name: str, weight: Tensor) -> Changed | None:
        theirs = update(name, weight)
        if theirs is None:
            return None
        signs = [None if draw is None else _signs(drawn_as[name], weight, draw) for draw in draws]

        def rows(rows: Rows) -> list[Tensor]:
            own = precise(weight[rows])
            given = own.reshape(-1), theirs(rows).reshape(-1)
            signs_of_rows = [None if drawn is None else drawn(rows).reshape(-1) for drawn in signs]
            made = [own.new_empty(own.shape, dtype=weight.dtype) for _ in draws]
            numbers = [weights.view(-1) for weights in made]
            for some in parts_of(own):
                before, after = (part[some] for part in given)
                added = (after - before).mul_(fraction)
                for moved, drawn in zip(numbers, signs_of_rows, strict=True):
                    if drawn is None:
                        torch.add(before, added, out=moved[some])
                    else:
                        torch.addcmul(before, added, drawn[some].to(before), out=moved[some])
            return made

        return Changed(range(len(draws)), rows)

    return change


def _rounded(_: str, weight: Tensor) -> Changed:
    return Changed([0], lambda rows: [weight[rows].bfloat16().to(weight)])


def _signs(name: str, like: Tensor, draw: int) -> OfRows:
    """Ones and minus ones: the same on every device, which is sent a bit for each."""
    drawn = np.random.default_rng([draw + 1, zlib.crc32(name.encode())])
    bits = torch.frombuffer(bytearray(drawn.bytes(math.ceil(like.numel() / 8))), dtype=torch.uint8)
    bits, signs = bits.to(like.device), _SIGNS.to(like.device)

    def of_rows(rows: Rows) -> Tensor:
        if not isinstance(rows, slice):
            return some(0, like.numel()).view(like.shape)[rows]
        first, last, _ = rows.indices(len(like))
        width = like[0].numel()
        return some(first * width, last * width).view(-1, *like.shape[1:])

    def some(first: int, last: int) -> Tensor:
        eights = bits[first // 8 : math.ceil(last / 8)].int()
        return signs.index_select(0, eights).view(torch.int8)[first % 8 :][: last - first]

    return of_rows


def changed_blocks(
    base: PreTrainedModel,
    tuned: PreTrainedModel,
    update: Update,
    held: AbstractContextManager[object],
) -> list[ChangedBlock]:
    """How much of base is in each block, and how far it was moved.

    What only base has tied is in the block that it is in in tuned.
    """
    once = set(_tied(base, tuned).values())
    places = {name: (below_adapters(module), key) for name, module, key in parameter_places(base)}
    spans, total = [], 0
    for block, names in parameters_of_blocks(tuned).items():
        squared = own = 0.0
        count = 0
        with held:
            for name in names & once:
                weight = parameter_value(*places[name])
                theirs = update(name, weight)
                count += weight.numel()
                own += _squared(weight)
                squared += 0 if theirs is None else _squared(weight, theirs)
        total += count
        length = math.sqrt(squared / (own or 1))
        spans.append((block, count, length))
    return [
        ChangedBlock(kind=block.kind, layer=block.layer, weights=count / total, length=length)
        for block, count, length in spans
        if count
    ]


def _squared(weight: Tensor, theirs: OfRows | None = None) -> float:
    """Squared length of a weight, or of what leads from it to another one."""
    total = 0.0
    for rows in rows_at_a_time(weight):
        own = precise(weight[rows])
        total += float(torch.linalg.vector_norm(own if theirs is None else theirs(rows) - own)) ** 2
    return total


def _exactly(logprobs: Tensor, reading: Reading) -> Tensor:
    """What adds up to 1 in float64."""
    return logprobs.to(reading.model.device).double().log_softmax(dim=-1)


def _apart(reading: Reading, before: Tensor, texts: int = 1) -> list[list[float]]:
    """KL of what is predicted from what was, nats, by answer token, of as many equal texts."""
    _, apart = compared(reading.logits(texts), reading.targets, before)
    return cast("list[list[float]]", apart.tolist())
