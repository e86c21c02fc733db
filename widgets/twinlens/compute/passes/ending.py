"""The end of a text by itself: what stands in front of it is read once, and stays as it was."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from twinlens.compute.models import architectures
from twinlens.compute.passes.conditions import Conditions, Prefix, hookable, observed
from twinlens.compute.passes.reading import Reading


@dataclass(frozen=True)
class Ending:
    """Where passes begin in a text.

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
