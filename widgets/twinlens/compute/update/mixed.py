"""Passes through base with the update in it, in whole, in part, or more than it.

Every direction of every matrix has a gate g, that adds g times its part of the update to what the
matrix computes; every other tensor that differs is ``base + g * (tuned - base)``. With all gates 0
it is base, with all 1 tuned; the same gate on all of them is the straight way from the weights of
the one to those of the other. Nothing of the models is changed that is not put back.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor, nn

from twinlens.compute.models.dense import below_adapters, parameter_places
from twinlens.compute.passes.reading import Reading, precise
from twinlens.compute.update.directions import MatrixUpdate, Rest

if TYPE_CHECKING:
    from transformers import PreTrainedModel

#: Bounds the numbers of one pass: logits, and what directions read.
_NUMBERS_AT_ONCE = 2**24


@dataclass(frozen=True)
class Mixed:
    """A prompt with its answer, read by base with the update in part.

    Attributes
    ----------
    reading : Reading
        Of base.
    matrices : sequence of MatrixUpdate
    rest : sequence of Rest
    guard : context manager
        Entered while base runs.
    vocabulary : int
        Tokens that both models know: predictions are compared over these.
    """

    reading: Reading
    matrices: Sequence[MatrixUpdate]
    rest: Sequence[Rest]
    guard: AbstractContextManager[object] = field(repr=False)
    vocabulary: int

    @cached_property
    def bounds(self) -> list[int]:
        """Where each matrix's directions begin in a row of gates, and the end of all."""
        bounds = [0]
        for matrix in self.matrices:
            bounds.append(bounds[-1] + matrix.rank)
        return bounds

    @property
    def count(self) -> int:
        """Directions of all matrices, D."""
        return self.bounds[-1]

    def logprobs(self, gates: Tensor, rest: Tensor) -> Tensor:
        """Log-probability of each answer token.

        Parameters
        ----------
        gates : float tensor [B, D] or [B, T - 1, D]
            A gate for each direction, or for each direction at each token; may require a gradient.
        rest : float tensor [R]
            A gate for each other tensor.

        Returns
        -------
        float64 tensor [B, M]
            Nats.
        """
        ids = self.reading.read.expand(len(gates), -1)
        with self.guard, self.mixed(gates, rest):
            output = self.reading.model(ids, use_cache=False, logits_to_keep=self.reading.positions)
        logits = precise(output.logits)[..., : self.vocabulary].double()
        index = self.reading.targets.expand(len(gates), -1)[..., None]
        return logits.log_softmax(dim=-1).gather(-1, index)[..., 0]

    def nats(self, rows: Sequence[Tensor], rest: float | Tensor = 1.0) -> Tensor:
        """Log-probability of the whole answer under some rows of gates [D], float64 [rows]."""
        others = torch.as_tensor(rest, dtype=torch.float32).expand(len(self.rest))
        found = []
        for first in range(0, len(rows), self._together):
            gates = torch.stack(list(rows[first : first + self._together]))
            with torch.no_grad():
                found.append(self.logprobs(gates, others).sum(dim=-1).cpu())
        return torch.cat(found)

    @contextmanager
    def mixed(self, gates: Tensor, rest: Tensor) -> Iterator[None]:
        """Inside, base computes with the update in part; enter its guard first."""
        modules = {
            name: below_adapters(module) for name, module, _ in parameter_places(self._model)
        }
        with ExitStack() as undo:
            # Split at once: the slope of each slice by itself would be as wide as all gates.
            split = torch.split(gates, [matrix.rank for matrix in self.matrices], dim=-1)
            for matrix, own in zip(self.matrices, split, strict=True):
                hook = _added(matrix, own)
                if hook is not None:
                    handle = modules[matrix.name].register_forward_hook(hook)
                    undo.callback(handle.remove)
            for one, gate in zip(self.rest, rest, strict=True):
                undo.enter_context(_replaced(self._model, one, gate))
            yield

    @property
    def _model(self) -> PreTrainedModel:
        return self.reading.model

    @cached_property
    def _together(self) -> int:
        """Rows of gates in one pass."""
        widest = max((m.rank + m.left.shape[0] for m in self.matrices), default=1)
        numbers = self.reading.answer_length * self.vocabulary + len(self.reading.ids) * widest
        return max(1, min(16, _NUMBERS_AT_ONCE // numbers))


def _added(matrix: MatrixUpdate, gates: Tensor) -> Callable[..., Tensor] | None:
    """Hook that adds the directions of a matrix, each times its gate; None where all are shut."""
    left, sizes, right = matrix.left, matrix.sizes, matrix.right
    if not gates.requires_grad:
        open_ = gates.reshape(-1, gates.shape[-1]).ne(0).any(dim=0)
        if not bool(open_.any()):
            return None
        if not bool(open_.all()):
            left, sizes, right, gates = (
                left[:, open_],
                sizes[open_],
                right[:, open_],
                gates[..., open_],
            )

    def hook(_: nn.Module, given: tuple[Tensor, ...], output: Tensor) -> Tensor:
        read = given[0]
        texts = read.reshape(len(gates), -1, read.shape[-1]) if read.ndim == 2 else read
        scaled = (gates.to(sizes.device) * sizes).to(texts)
        scaled = scaled if gates.ndim == 3 else scaled[:, None]
        acted = (texts @ right.to(texts)) * scaled
        return output + (acted @ left.to(texts).T).reshape(output.shape)

    return hook


@contextmanager
def _replaced(model: PreTrainedModel, one: Rest, gate: Tensor) -> Iterator[None]:
    """Inside, a tensor of base is some way from its value to tuned's, wherever it is used."""
    parameter = next(
        below_adapters(module)._parameters[key]
        for name, module, key in parameter_places(model)
        if name == one.name
    )
    rows = min(len(one.base), len(one.tuned)) if one.base.ndim else 0
    change = (one.tuned[:rows] if rows else one.tuned).to(one.base) - (
        one.base[:rows] if rows else one.base
    )
    mixed = (one.base[:rows] if rows else one.base) + gate.to(one.base) * change
    if rows:
        # Tokens that only one of the models has keep their rows.
        mixed = torch.cat([mixed, one.base[rows:], one.tuned[rows:].to(one.base)])
    users = [
        (module, key)
        for module in model.modules()
        for key, own in module._parameters.items()
        if own is parameter
    ]
    try:
        for module, key in users:
            cast(Any, module._parameters)[key] = mixed
        yield
    finally:
        for module, key in users:
            module._parameters[key] = cast(nn.Parameter, parameter)
