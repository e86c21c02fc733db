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
from typing import Any, TypeAlias, cast

import torch
from torch import Tensor, nn

from twinlens.compute.models.dense import below_adapters, parameter_places
from twinlens.compute.passes.reading import Reading, precise
from twinlens.compute.update.directions import MatrixUpdate, Rest
from twinlens.support.cached import cached_property

#: A module of base and the name of a parameter in it.
Place: TypeAlias = tuple[nn.Module, str]

#: Bounds the numbers of one pass: logits, and what directions read.
_NUMBERS_AT_ONCE = 2**24


@dataclass(frozen=True)
class Mixed:
    """A prompt with its answer, read by base with the update in part.

    Attributes
    ----------
    reading : Reading
        Of base.
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
        sums = []
        for first in range(0, len(rows), self._together):
            gates = torch.stack(list(rows[first : first + self._together]))
            with torch.no_grad():
                sums.append(self.logprobs(gates, others).sum(dim=-1).cpu())
        return torch.cat(sums)

    @contextmanager
    def mixed(self, gates: Tensor, rest: Tensor) -> Iterator[None]:
        """Inside, base computes with the update in part; enter its guard first."""
        with ExitStack() as undo:
            # Split at once: the slope of each slice by itself would be as wide as all gates.
            split = torch.split(gates, [matrix.rank for matrix in self.matrices], dim=-1)
            for matrix, own in zip(self.matrices, split, strict=True):
                hook = _added(matrix, own)
                if hook is not None:
                    undo.enter_context(self._places[matrix.name][0].register_forward_hook(hook))
            for tensor, users, gate in zip(self.rest, self._users, rest, strict=True):
                undo.enter_context(_replaced(users, tensor, gate))
            yield

    @cached_property
    def _places(self) -> dict[str, Place]:
        """Where base keeps its parameters."""
        return {
            name: (below_adapters(module), key)
            for name, module, key in parameter_places(self.reading.model)
        }

    @cached_property
    def _users(self) -> list[list[Place]]:
        """Places of each other tensor, several where it is tied."""
        users: dict[int, list[Place]] = {}
        for module in self.reading.model.modules():
            for key, own in module._parameters.items():
                users.setdefault(id(own), []).append((module, key))
        held = (self._places[tensor.name] for tensor in self.rest)
        return [users[id(module._parameters[key])] for module, key in held]

    @cached_property
    def _together(self) -> int:
        """Rows of gates in one pass."""
        widest = max((m.rank + m.shape[0] for m in self.matrices), default=1)
        numbers = self.reading.answer_length * self.vocabulary + len(self.reading.ids) * widest
        return max(1, min(16, _NUMBERS_AT_ONCE // numbers))


def _added(matrix: MatrixUpdate, gates: Tensor) -> Callable[..., Tensor] | None:
    """Hook that adds the directions of a matrix, each times its gate; None where all are shut."""
    only: Tensor | None = None
    if not gates.requires_grad:
        open_ = gates.reshape(-1, gates.shape[-1]).ne(0).any(dim=0)
        if not bool(open_.any()):
            return None
        if not bool(open_.all()):
            only, gates = open_, gates[..., open_]
    gates = gates if gates.ndim == 3 else gates[:, None]

    def hook(_: nn.Module, given: tuple[Tensor, ...], output: Tensor) -> Tensor:
        added: Tensor = cast(Any, _Acting).apply(output, given[0], gates, matrix, only)
        return added

    return hook


class _Acting(torch.autograd.Function):
    """What a matrix computes, and its directions beside it: ``output + left (g s right' read)``.

    Directions are read anew on the way back, so that those of one matrix are there at a time.
    """

    @staticmethod
    def forward(
        ctx: Any,
        output: Tensor,
        read: Tensor,
        gates: Tensor,
        matrix: MatrixUpdate,
        only: Tensor | None,
    ) -> Tensor:
        left, sizes, right = _directions(matrix, only, read)
        acted = (read.reshape(-1, read.shape[-1]) @ right).reshape(len(gates), -1, len(sizes))
        scaled = gates.to(read) * sizes
        ctx.save_for_backward(acted, scaled)
        ctx.matrix, ctx.only, ctx.gates = matrix, only, (gates.shape, gates.device)
        flat = output.reshape(-1, output.shape[-1])
        added = torch.addmm(flat, (acted * scaled).flatten(0, 1), left.T)
        return added.reshape(output.shape)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, slope: Tensor) -> tuple[Tensor | None, ...]:
        acted, scaled = ctx.saved_tensors
        left, sizes, right = _directions(ctx.matrix, ctx.only, slope)
        written = (slope.reshape(-1, slope.shape[-1]) @ left).reshape(acted.shape)
        read = gates = None
        if ctx.needs_input_grad[1]:
            read = (written * scaled).flatten(0, 1) @ right.T
            read = read.reshape(*slope.shape[:-1], -1)
        if ctx.needs_input_grad[2]:
            shape, device = ctx.gates
            gates = (acted * written * sizes).sum_to_size(shape).float().to(device)
        return slope, read, gates, None, None


def _directions(
    matrix: MatrixUpdate, only: Tensor | None, like: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Left, sizes and right of a matrix, or of some of its directions."""
    (left, right), sizes = matrix.directions(), matrix.sizes
    if only is not None:
        left, sizes, right = left[:, only], sizes[only], right[:, only]
    return left.to(like), sizes.to(like), right.to(like)


@contextmanager
def _replaced(users: Sequence[Place], tensor: Rest, gate: Tensor) -> Iterator[None]:
    """Inside, a tensor of base is some way from its value to tuned's, wherever it is used."""
    module, key = users[0]
    parameter = module._parameters[key]
    rows = slice(min(len(tensor.base), len(tensor.tuned))) if tensor.base.ndim else ...
    base = tensor.base[rows]
    mixed = base + gate.to(base) * (tensor.tuned[rows].to(base) - base)
    if base.ndim:
        # Tokens that only one of the models has keep their rows.
        mixed = torch.cat([mixed, tensor.base[len(base) :], tensor.tuned[len(base) :].to(base)])
    try:
        for module, key in users:
            cast(Any, module._parameters)[key] = mixed
        yield
    finally:
        for module, key in users:
            module._parameters[key] = parameter
