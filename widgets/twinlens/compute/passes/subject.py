"""What a live trace is about: both models and the one text each of them has read."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from twinlens.compute.models import architectures
from twinlens.compute.models.models import Models
from twinlens.compute.passes.capture import Capture
from twinlens.compute.passes.conditions import Conditions, Prefix, hookable, observed
from twinlens.compute.passes.reading import Reading
from twinlens.contract.manifest import Manifest
from twinlens.contract.words import SIDES, Side
from twinlens.support.cached import cached_property
from twinlens.support.lru import Cache

#: Bytes of what stands in front of positions where passes begin. It lies with the models.
_ENDINGS = 2**25


@dataclass(frozen=True)
class Ending:
    """Where passes begin in a text: what stands in front is read once, and stays as it was.

    Attributes
    ----------
    first : int
        First position that they read; 0 for whole passes.
    stored : dict of module to (keys, values)
        Of the positions in front of it.
    """

    first: int
    stored: dict[nn.Module, tuple[Tensor, Tensor]]

    @property
    def nbytes(self) -> int:
        """Bytes of what is stored."""
        return sum(keys.nbytes + values.nbytes for keys, values in self.stored.values())

    @contextmanager
    def reading_on(self, model: PreTrainedModel) -> Iterator[None]:
        """Inside, the model is given the positions from `first` on."""
        conditions = Conditions(prefix=Prefix(self.stored, self.first))
        with observed(model, conditions) if self.first else nullcontext():
            yield

    def placed(self, ids: Tensor) -> dict[str, Tensor]:
        """Arguments that say where some tokens [B, S] from `first` on stand."""
        if not self.first:
            return {}
        places = torch.arange(self.first, self.first + ids.shape[1], device=ids.device)
        return {"position_ids": places.expand(len(ids), -1)}


@torch.inference_mode(False)
def ending(reading: Reading, first: int) -> Ending:
    """Read what stands in front of a position; nothing where attention cannot be reached.

    What is stored may be kept, and enter a gradient later.
    """
    model = reading.model
    stored: dict[nn.Module, tuple[Tensor, Tensor]] = {}
    if first == 0 or not hookable(model):
        return Ending(0, stored)
    with torch.no_grad(), reading.at_its_length(), observed(model, Conditions(stored=stored)):
        architectures.body(model)(reading.read[:, :first], use_cache=False)
    return Ending(first, stored)


@dataclass(frozen=True)
class Subject:
    """Two models, what they have read, and what one pass through each has left.

    Attributes
    ----------
    own_answers : dict of Side to (list of int, bool)
        Answers that are not read, once they are generated, and whether they came to an end.
    """

    models: Models
    manifest: Manifest
    captures: Mapping[Side, Capture]
    own_answers: dict[Side, tuple[list[int], bool]] = field(default_factory=dict)

    @cached_property
    def ids(self) -> dict[Side, list[int]]:
        """Tokens each side reads: prompt and answer, with stand-ins for what it does not know."""
        m = self.manifest
        return {
            side: self.models.readable(
                side, [token.id for token in (*m.prompt_tokens, *m.answers[side].tokens)]
            )
            for side in SIDES
        }

    @cached_property
    def _endings(self) -> Cache[tuple[PreTrainedModel, Ending]]:
        return Cache(_ENDINGS, lambda of_model: of_model[1].nbytes)

    def ending(self, side: Side, reading: Reading, first: int) -> Ending:
        """Where passes of one side begin: every layer and part asks for the same positions.

        A text that is not too long is read once for all positions.
        """
        for key in (side, f"{side} {first}"):
            model, known = self._endings.get(key) or (None, None)
            if known is not None and model is reading.model:
                return Ending(min(first, known.first), known.stored)
        keeps, length = self.models.memory == "both", len(reading.ids) - 1
        size = length * self._bytes_of_position(reading.model)
        whole = first > 0 and keeps and size <= _ENDINGS
        start = ending(reading, length if whole else first)
        # It holds on to the model, which would stay where the other one takes its place.
        if keeps and start.nbytes <= _ENDINGS:
            self._endings.put(side if whole else f"{side} {first}", (reading.model, start))
        return Ending(min(first, start.first), start.stored)

    def _bytes_of_position(self, model: PreTrainedModel) -> int:
        """About what keys and values of one position take: families differ in the size of heads."""
        shape = self.models.sizes
        keys = shape.layers * shape.hidden * shape.kv_heads // shape.heads
        return 2 * keys * model.dtype.itemsize

    def answer_ids(self, side: Side) -> list[int]:
        """Tokens of an answer."""
        return self.ids[side][self.manifest.prompt_length :]

    def reading(self, side: Side, model: PreTrainedModel, **known: Any) -> Reading:
        """What one side reads, see `Reading` for what may be known beside it."""
        return Reading(model, self.ids[side], self.manifest.prompt_length, **known)
