"""What tuned's update does to a prediction beside the same update with its signs drawn anew.

What was learned points somewhere: along it predictions move farther than along any change of the
same size at the same places that points nowhere. Noise and rounding point nowhere: of them the
update is one draw among the others, whatever is measured.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from typing import cast

import numpy as np
import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from twinlens.compute.exchange.exchanged_weights import changed_weights, parameters_of_blocks
from twinlens.compute.exchange.passes import divergence
from twinlens.compute.models import architectures
from twinlens.compute.models.dense import (
    below_adapters,
    is_plain,
    parameter_places,
    parameter_value,
)
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

#: The eight signs that a byte stands for.
_SIGNS = torch.from_numpy(
    np.unpackbits(np.arange(256, dtype=np.uint8)[:, None], axis=1).astype(np.float32) * 2 - 1
)

#: Of a parameter's name and its weight in base: what tuned adds to it, None where nothing.
Update = Callable[[str, Tensor], "Tensor | None"]


def null(
    base: Reading,
    tuned: Reading,
    held: Mapping[Side, AbstractContextManager[object]],
    report: Report | None = None,
) -> Null:
    """How far the update moves base's predictions, and how far it would with other signs.

    Parameters
    ----------
    held : mapping of Side to context manager
        Entered while a model runs.
    report : callable, optional
        Called as ``report(done, total, what)``; may raise `Interrupted`.
    """
    update = update_of(base.model, tuned.model, held)
    drawn_as = _tied(base.model, tuned.model)
    with held["base"]:
        before = _logprobs(base)
    draws = DRAWS if architectures.sizes(base.model.config).small else FEW_DRAWS

    def moved(draw: int | None, fraction: float) -> list[float]:
        if report and draw is not None:
            report(max(draw, 0) % draws, draws, "the update with its signs drawn anew")
        with held["base"], changed_weights(base.model, _moved(update, draw, fraction, drawn_as)):
            return cast("list[float]", divergence(_logprobs(base)[None], before)[0].tolist())

    fraction = 1.0
    for _ in range(_HALVINGS):
        # By a draw that is not looked at otherwise.
        if float(np.mean(moved(-1, fraction))) <= _MOVED:
            break
        fraction /= 2
    own = moved(None, fraction)
    scrambled: list[list[float]] = []
    for _ in range(_ROUNDS):
        scrambled += [
            moved(draw, fraction) for draw in range(len(scrambled), len(scrambled) + draws)
        ]
        if not _UNSURE[0] < p_value(own, scrambled) < _UNSURE[1]:
            break
    with held["tuned"]:
        exact = _logprobs(tuned)
        with changed_weights(tuned.model, lambda _, weight: weight.bfloat16().to(weight)):
            rounded = _logprobs(tuned)
    return Null(
        fraction=fraction,
        update=own,
        scrambled=scrambled,
        rounding=divergence(rounded[None], exact)[0].tolist(),
        changed=changed_blocks(base.model, tuned.model, update, held["base"]),
    )


def update_of(
    base: PreTrainedModel,
    tuned: PreTrainedModel,
    held: Mapping[Side, AbstractContextManager[object]],
) -> Update:
    """What tuned adds to each parameter of base; tokens that only one of them has are left out.

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

    def update(name: str, weight: Tensor) -> Tensor | None:
        if name not in others or not differs.get(name, True):
            return None
        tuned_weight = merged[name] if name in merged else parameter_value(*others[name])
        rows = min(len(tuned_weight), len(weight)) if tuned_weight.ndim else None
        if rows is not None and len(tuned_weight) != len(weight):
            tuned_weight = torch.cat([tuned_weight[:rows].to(weight), weight[rows:]])
        if tuned_weight.shape != weight.shape:
            return None
        added = precise(tuned_weight).to(weight.device) - precise(weight)
        if name not in differs:
            differs[name] = bool(added.any())
        return added if differs[name] else None

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
    update: Update, draw: int | None, fraction: float, drawn_as: Mapping[str, str]
) -> Callable[[str, Tensor], Tensor]:
    """A fraction of the update added; with signs of the draw, or its own."""

    def change(name: str, weight: Tensor) -> Tensor:
        added = update(name, weight)
        if added is None:
            return weight
        own = precise(weight)
        signs = torch.ones_like(own) if draw is None else _signs(drawn_as[name], own, draw)
        return torch.addcmul(own, added, signs, value=fraction).to(weight)

    return change


def _signs(name: str, like: Tensor, draw: int) -> Tensor:
    """Ones and minus ones: the same on every device, which is sent a bit for each."""
    drawn = np.random.default_rng([draw + 1, zlib.crc32(name.encode())])
    bits = torch.frombuffer(bytearray(drawn.bytes(math.ceil(like.numel() / 8))), dtype=torch.uint8)
    signs = nn.functional.embedding(bits.to(like.device).int(), _SIGNS.to(like))
    return signs.view(-1)[: like.numel()].view(like.shape)


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
                added = update(name, weight)
                count += weight.numel()
                own += float(torch.linalg.vector_norm(precise(weight))) ** 2
                squared += 0 if added is None else float(torch.linalg.vector_norm(added)) ** 2
        total += count
        length = math.sqrt(squared / (own or 1))
        spans.append((block, count, length))
    return [
        ChangedBlock(kind=block.kind, layer=block.layer, weights=count / total, length=length)
        for block, count, length in spans
        if count
    ]


def _logprobs(reading: Reading) -> Tensor:
    return reading.logits().double().log_softmax(dim=-1)
