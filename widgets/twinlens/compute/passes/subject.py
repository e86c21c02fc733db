"""What a live trace is about: both models and the one text each of them has read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from transformers import PreTrainedModel

from twinlens.compute.models.models import Models
from twinlens.compute.passes.capture import Capture
from twinlens.compute.passes.ending import Ending, ending
from twinlens.compute.passes.reading import Reading
from twinlens.contract.manifest import Manifest
from twinlens.contract.words import SIDES, Side
from twinlens.support.lru import Cache

#: Bytes of what stands in front of positions where passes begin. It lies with the models.
_ENDINGS = 2**25


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
        """Where passes of one side begin: every layer and part asks for the same positions."""
        key = f"{side} {first}"
        model, start = self._endings.get(key) or (None, None)
        if start is None or model is not reading.model:
            start = ending(reading, first)
            # It holds on to the model, which would stay where the other one takes its place.
            if start.nbytes <= _ENDINGS and self.models.memory == "both":
                self._endings.put(key, (reading.model, start))
        return start

    def answer_ids(self, side: Side) -> list[int]:
        """Tokens of an answer."""
        return self.ids[side][self.manifest.prompt_length :]

    def reading(self, side: Side, model: PreTrainedModel, **known: Any) -> Reading:
        """What one side reads, see `Reading` for what may be known beside it."""
        return Reading(model, self.ids[side], self.manifest.prompt_length, **known)
