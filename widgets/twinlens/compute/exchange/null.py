"""What a model predicts whose weights moved as far as tuned's did, and learned nothing."""

from __future__ import annotations

import math
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from typing import TYPE_CHECKING, cast

import torch
from torch import Tensor, nn

from twinlens.compute.exchange.path import divergence
from twinlens.compute.models.dense import (
    below_adapters,
    dense_weight,
    is_plain,
    parameter_places,
)
from twinlens.compute.passes.reading import Reading, precise
from twinlens.contract.forms import Noised, Null
from twinlens.contract.words import Side
from twinlens.errors import UnsupportedArchitectureError
from twinlens.support.progress import Report

if TYPE_CHECKING:
    from transformers import PreTrainedModel

#: Draws of the noise, for small models and for others.
DRAWS, FEW_DRAWS = 9, 5


def null(
    base: Reading,
    tuned: Reading,
    held: Mapping[Side, AbstractContextManager[object]],
    answer: Callable[[PreTrainedModel], list[int]] | None = None,
    report: Report | None = None,
) -> Null:
    """What is predicted by models that learned nothing, see `Null`.

    Parameters
    ----------
    held : mapping of Side to context manager
        Entered while a model runs.
    answer : callable, optional
        From a model to the answer it gives itself; of small models.

    Raises
    ------
    UnsupportedArchitectureError
        If weights are quantised: nothing can be added to them.
    """
    lengths = noise_lengths(base.model, tuned.model, held)
    with held["base"]:
        before = _logprobs(base)
    noise = []
    draws = FEW_DRAWS if answer is None else DRAWS
    for draw in range(draws):
        if report:
            report(draw, draws, "what noise as long as the update does")
        # What is answered takes many passes: of a small model the noise is kept for them.
        change = _noise(lengths, draw)
        change = change if answer is None else _kept(change)
        with held["base"], changed_weights(base.model, change):
            kl = divergence(_logprobs(base)[None], before)[0]
            own = None if answer is None else _read(base, answer(base.model))
            noised = None if own is None else _logprobs(own)
        certain = None
        if own is not None and noised is not None:
            with held["base"]:
                apart = divergence(noised[None], _logprobs(own))[0]
            certain = float((apart + (noised.exp() * noised).sum(-1)).mean())
        noise.append(Noised(kl=kl.tolist(), certain=certain))
    with held["tuned"]:
        exact = _logprobs(tuned)
        with changed_weights(tuned.model, lambda _, weight: weight.bfloat16().to(weight)):
            rounded = _logprobs(tuned)
    return Null(noise=noise, rounding=divergence(rounded[None], exact)[0].tolist())


def noise_lengths(
    base: PreTrainedModel,
    tuned: PreTrainedModel,
    held: Mapping[Side, AbstractContextManager[object]],
) -> dict[str, float]:
    """Frobenius norm of the noise on every parameter that both have.

    All together are as long as tuned's update; each has a share in proportion to its weights, so
    that an update of one place is held against noise that knows no place.
    """
    others = {name: (module, key) for name, module, key in parameter_places(tuned)}
    own, squared = {}, 0.0
    for name, module, key in parameter_places(base):
        if name not in others:
            continue
        with held["base"]:
            weight = _value(module, key)
        with held["tuned"]:
            other = _value(*others[name])
        if other.ndim:  # tokens that only one of them has are left out
            rows = min(len(other), len(weight))
            weight, other = weight[:rows], other[:rows]
        if other.shape == weight.shape:
            update = precise(other).to(weight.device) - precise(weight)
            squared += float(torch.linalg.vector_norm(update)) ** 2
            own[name] = float(torch.linalg.vector_norm(precise(weight)))
    relative = math.sqrt(squared) / (math.hypot(*own.values()) or 1)
    return {name: relative * length for name, length in own.items()}


def _value(module: nn.Module, key: str) -> Tensor:
    if key != "weight":
        return cast(Tensor, getattr(module, key)).detach()
    if not is_plain(below_adapters(module)):
        raise UnsupportedArchitectureError(
            "what noise does to quantised weights cannot be said, because nothing can be added to "
            "them: load the models in a floating-point type"
        )
    return dense_weight(module)


@contextmanager
def changed_weights(
    model: PreTrainedModel, change: Callable[[str, Tensor], Tensor]
) -> Iterator[None]:
    """Run the model with other weights, made anew where each is used: no copy of all is held."""
    names: dict[int, str] = {}
    for name, module, key in parameter_places(model):
        names.setdefault(id(below_adapters(module)._parameters[key]), name)
    own: dict[nn.Module, dict[str, nn.Parameter | None]] = {}

    def put(module: nn.Module, _: object) -> None:
        own[module] = dict(module._parameters)
        for key, weight in own[module].items():
            if weight is not None and weight.is_floating_point():
                changed = change(names.get(id(weight), ""), weight.detach())
                module._parameters[key] = nn.Parameter(changed, requires_grad=False)

    def put_back(module: nn.Module, *_: object) -> None:
        module._parameters.update(own.pop(module, {}))

    with ExitStack() as stack, torch.no_grad():
        for module in model.modules():
            if module._parameters:
                stack.callback(module.register_forward_pre_hook(put).remove)
                hook = module.register_forward_hook(put_back, always_call=True)
                stack.callback(hook.remove)
        try:
            yield
        finally:
            for module in list(own):
                put_back(module)


def _noise(lengths: dict[str, float], draw: int) -> Callable[[str, Tensor], Tensor]:
    def change(name: str, weight: Tensor) -> Tensor:
        if not lengths.get(name):
            return weight
        generator = torch.Generator().manual_seed(zlib.crc32(f"{draw} {name}".encode()))
        # Even noise: what it is drawn from does not matter, and this is drawn fast.
        noise = torch.rand(weight.shape, generator=generator).sub_(0.5)
        noise *= lengths[name] / float(torch.linalg.vector_norm(noise))
        return weight + noise.to(weight)

    return change


def _kept(change: Callable[[str, Tensor], Tensor]) -> Callable[[str, Tensor], Tensor]:
    known: dict[str, Tensor] = {}

    def changed(name: str, weight: Tensor) -> Tensor:
        if name not in known:
            known[name] = change(name, weight)
        return known[name]

    return changed


def _read(reading: Reading, answer: Sequence[int]) -> Reading:
    """The same prompt with another answer."""
    prompt = reading.ids[: reading.prompt_length]
    return Reading(reading.model, [*prompt, *answer], reading.prompt_length)


def _logprobs(reading: Reading) -> Tensor:
    with torch.no_grad():
        output = reading.model(reading.read, use_cache=False, logits_to_keep=reading.positions)
    return precise(output.logits)[0].double().log_softmax(dim=-1)
