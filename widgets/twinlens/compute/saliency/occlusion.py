"""Exact effects: the text is read again with a prompt token, or a group of them, taken away.

One pass gives the effect on every answer token. By causality nothing changes before the token,
so those positions are read once, from the intact text.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Literal, TypeAlias, cast

import numpy as np
import torch
from torch import Tensor, nn

from twinlens.compute.passes.conditions import Conditions, Prefix, hookable, observed
from twinlens.compute.passes.folding import embed
from twinlens.compute.passes.reading import Reading, precise
from twinlens.compute.passes.rotary import rotary_of
from twinlens.compute.saliency.registry import Piece, SaliencyMethod, Wanted, saliency_method
from twinlens.contract.manifest import Method
from twinlens.contract.wire import Array
from twinlens.contract.words import Unit
from twinlens.errors import PromptError, UnsupportedArchitectureError

OcclusionKind: TypeAlias = Literal["mask", "zero", "replace", "remove"]

#: Texts read together: few where they are long, so that they share more of their prefix.
_FEWEST, _MOST, _POSITIONS_AT_ONCE = 4, 16, 256
#: Bounds the logits in memory.
_LOGITS_AT_ONCE = 2**25


@dataclass(frozen=True)
class Intact:
    """The text as it is: what occluded passes are compared with, and what they share with it."""

    embedded: Tensor
    logprobs: Tensor
    stored: dict[nn.Module, tuple[Tensor, Tensor]]


def read_intact(reading: Reading) -> Intact:
    """One pass over the whole text; keeps keys and values, and the answer's log-probabilities."""
    embedded = embed(reading)
    stored: dict[nn.Module, tuple[Tensor, Tensor]] = {}
    around: AbstractContextManager[None] = nullcontext()
    if hookable(reading.model):
        around = observed(reading.model, Conditions(stored=stored))
    with torch.no_grad(), around:
        logits = reading.model(
            inputs_embeds=embedded, use_cache=False, logits_to_keep=reading.positions
        ).logits
    return Intact(embedded, _answer_logprobs(logits, reading)[0], stored)


def occluded(
    reading: Reading, intact: Intact, groups: Sequence[Sequence[int]], kind: OcclusionKind
) -> Tensor:
    """Log-probabilities of the answer with each of the groups taken away, shape [groups, M].

    Parameters
    ----------
    groups : sequence of sequences of int
        Prompt positions; with kind ``remove`` all groups of one call have the same size.
    kind : {"mask", "zero", "replace", "remove"}
        No other token attends to it; zero embedding; another token; deleted, what follows moves up.

    Raises
    ------
    PromptError
        If nothing is left in front of the answer after removal.
    UnsupportedArchitectureError
        If a token shall be masked in a model whose attention cannot be reached.
    """
    model, embedded = reading.model, intact.embedded
    length, count = embedded.shape[1], len(groups)
    # Where nothing was stored, every position is computed.
    start = min(map(min, groups)) if intact.stored else 0
    places = reading.positions
    texts = embedded.expand(count, -1, -1)
    hidden = None
    if kind == "mask":
        if not hookable(model):
            raise UnsupportedArchitectureError(
                f"attention of {model.config.model_type!r} models cannot be masked from here: "
                "use occlusion by zero, replacement or removal, or gradient × input"
            )
        hidden = torch.zeros(count, length, dtype=torch.bool, device=embedded.device)
        for place, group in enumerate(groups):
            hidden[place, list(group)] = True
    elif kind == "remove":
        removed = len(groups[0])
        if removed == reading.prompt_length:
            raise PromptError(
                "removing the whole prompt leaves nothing to predict the answer from: "
                "use occlusion by masking"
            )
        keep = torch.ones(count, length, dtype=torch.bool, device=embedded.device)
        for place, group in enumerate(groups):
            keep[place, list(group)] = False
        texts = texts[keep].reshape(count, length - removed, -1)
        places = places - removed
        # The first answer token may now be predicted where the prefix would have ended.
        start = min(start, int(places[0]))
    else:
        texts = texts.clone()
        for place, group in enumerate(groups):
            texts[place, list(group)] = (
                0 if kind == "zero" else _replacement(reading, group).to(texts.dtype)
            )
    conditions = Conditions(prefix=Prefix(intact.stored, start) if start else None, hidden=hidden)
    around = observed(model, conditions) if hookable(model) else nullcontext()
    # Not every family that cannot be hooked takes positions, and there they are the default.
    numbers = torch.arange(start, texts.shape[1], device=embedded.device).expand(count, -1)
    with torch.no_grad(), rotary_of(model, length), around:
        logits = model(
            inputs_embeds=texts[:, start:],
            use_cache=False,
            logits_to_keep=places - start,
            **({"position_ids": numbers} if hookable(model) else {}),
        ).logits
    return _answer_logprobs(logits, reading)


def _answer_logprobs(logits: Tensor, reading: Reading) -> Tensor:
    index = reading.targets.expand(len(logits), -1)[..., None]
    scores = precise(logits)
    return scores.gather(-1, index)[..., 0] - scores.logsumexp(dim=-1)


def _replacement(reading: Reading, group: Sequence[int]) -> Tensor:
    """Embeddings [group, hidden] of the tokens that stand in for a group."""
    if reading.replacements is None:
        vocabulary = reading.model.config.vocab_size
        chosen = np.random.default_rng(0).integers(vocabulary, size=reading.prompt_length)
    else:
        chosen = np.asarray(reading.replacements)
    ids = torch.tensor(chosen[list(group)], device=reading.model.device)
    with torch.no_grad():
        return cast(Tensor, reading.model.get_input_embeddings()(ids))


def occlusion_rows(
    reading: Reading, wanted: Wanted, kind: OcclusionKind = "mask", unit: Unit = "token"
) -> Iterator[Piece]:
    """Effects in nats, a few neighbouring groups at a time, those first that should matter most."""
    groups = [[n] for n in range(reading.prompt_length)]
    if unit != "token" and reading.groups is not None:
        groups = [list(group) for group in reading.groups[unit]]
    intact = read_intact(reading)
    for batch in _batches(reading, groups, kind):
        missing = np.asarray(wanted().any(axis=1))
        if unfinished := [group for group in batch if missing[group].any()]:
            effect = (intact.logprobs - occluded(reading, intact, unfinished, kind)).cpu().numpy()
            rows = [row for group in unfinished for row in group]
            sizes = [len(group) for group in unfinished]
            yield rows, slice(None), np.repeat(effect, sizes, axis=0)


def _batches(
    reading: Reading, groups: list[list[int]], kind: OcclusionKind
) -> Iterator[list[list[int]]]:
    """Neighbouring groups together, they share a prefix; batches in the order of the estimate."""
    length, answer = len(reading.ids), max(1, reading.answer_length)
    size = min(_MOST, max(_FEWEST, _POSITIONS_AT_ONCE // length))
    size = max(1, min(size, _LOGITS_AT_ONCE // (answer * int(reading.model.config.vocab_size))))
    batches: list[list[list[int]]] = []
    for group in groups:
        full = not batches or len(batches[-1]) == size
        if full or (kind == "remove" and len(batches[-1][0]) != len(group)):
            batches.append([])
        batches[-1].append(group)
    order = reading.order
    if order is not None:
        strength = np.asarray(np.abs(order)).tolist()
        batches.sort(key=lambda batch: -max(strength[n] for group in batch for n in group))
    return iter(batches)


def deletion_curve(
    reading: Reading, importance: Array, steps: int = 10, *, kind: OcclusionKind = "mask"
) -> tuple[Array, Array, Array]:
    """Loss of the answer's log-probability as the tokens that matter most, or least, are hidden.

    Parameters
    ----------
    importance : array [N]
        One number per prompt token, such as a method's effect summed over the answer.
    steps : int
        Points of the curve, evenly spread from none to all tokens.
    kind : {"mask", "zero", "replace"}

    Returns
    -------
    share : float array [steps + 1]
        Share of the prompt tokens that is hidden.
    most, least : float arrays [steps + 1]
        Drop in nats, summed over the answer, hiding the most or the least important first. A
        faithful estimate has `most` far above `least`.
    """
    n = reading.prompt_length
    counts = np.unique(np.linspace(0, n, steps + 1).round().astype(int))
    intact = read_intact(reading)
    falling = np.argsort(-np.asarray(importance), kind="stable").tolist()

    def drop(ranking: list[int]) -> Array:
        hidden = [ranking[:count] for count in counts[1:].tolist()]
        losses = [0.0]
        for first in range(0, len(hidden), _FEWEST):
            answers = occluded(reading, intact, hidden[first : first + _FEWEST], kind)
            losses += (intact.logprobs - answers).sum(dim=-1).tolist()
        return np.array(losses)

    return counts / n, drop(falling), drop(falling[::-1])


def occlusion_method(
    name: str, title: str, how: str, source: str, kind: OcclusionKind, unit: Unit
) -> SaliencyMethod:
    """Occlusion of one kind and unit, as a method."""
    what = "the prompt token" if unit == "token" else f"the prompt token's {unit}"
    number = "N" if unit == "token" else f"one per {unit}"

    @saliency_method(
        Method(
            name=name,
            title=title,
            measures=f"Drop of the answer token's log-probability, in nats, when {what} {how}.",
            source=source,
            exact=True,
            cost=f"1 forward pass, and {number} from the token on",
            unit=unit,
        )
    )
    def compute(reading: Reading, wanted: Wanted) -> Iterator[Piece]:
        return occlusion_rows(reading, wanted, kind, unit)

    return compute


_HIDDEN = "is hidden from every other token"
_MASK = "Leave one out by attention mask, positions kept"
#: The exact methods.
OCCLUSIONS = (
    occlusion_method("occlusion", "Occlusion", _HIDDEN, _MASK, "mask", "token"),
    occlusion_method("occlusion_word", "Occlusion by word", _HIDDEN, _MASK, "mask", "word"),
    occlusion_method(
        "occlusion_sentence", "Occlusion by sentence", _HIDDEN, _MASK, "mask", "sentence"
    ),
    occlusion_method(
        "occlusion_segment", "Occlusion by segment", _HIDDEN, _MASK, "mask", "segment"
    ),
    occlusion_method(
        "occlusion_zero",
        "Occlusion, zero embedding",
        "has a zero embedding",
        "Leave one out by zero embedding, positions kept",
        "zero",
        "token",
    ),
    occlusion_method(
        "occlusion_replace",
        "Occlusion, replaced",
        "is replaced by a word token drawn from the vocabulary (seed 0)",
        "Leave one out by replacement, positions kept",
        "replace",
        "token",
    ),
    occlusion_method(
        "occlusion_remove",
        "Occlusion, removed",
        "is deleted and what follows moves up",
        "Leave one out by deletion",
        "remove",
        "token",
    ),
)
