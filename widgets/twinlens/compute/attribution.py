"""Saliency: what every prompt token does to every answer token.

A method is one generator function registered with `saliency_method`. It is told which cells of
the [N, M] table are wanted and yields finished pieces of it, so that work can be shown as it
comes, stopped, and taken up again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
import torch
from torch import Tensor

from twinlens.blocks import Array
from twinlens.compute.capture import observed
from twinlens.errors import NotFiniteError
from twinlens.schema import Method, Side
from twinlens.trace import Report

if TYPE_CHECKING:
    from transformers import PreTrainedModel


@dataclass(frozen=True)
class Reading:
    """A model, the tokens it reads, and how many of them are the prompt."""

    model: PreTrainedModel
    ids: Sequence[int]
    prompt_length: int

    @property
    def read(self) -> Tensor:
        """Ids that are read, shape [1, T - 1]: nothing is predicted after the last token."""
        return torch.tensor([list(self.ids[:-1])], device=self.model.device)

    @property
    def targets(self) -> Tensor:
        """Answer tokens, shape [M]."""
        return torch.tensor(list(self.ids[self.prompt_length :]), device=self.model.device)

    @property
    def positions(self) -> Tensor:
        """Where each answer token is predicted, shape [M]."""
        return torch.arange(self.prompt_length - 1, len(self.ids) - 1, device=self.model.device)


#: Prompt tokens that occlusion hides in one batch.
ROWS_AT_ONCE = 16

#: Rows and columns of finished cells, and their values.
Piece: TypeAlias = tuple[list[int] | slice, int | slice, Array]
#: Says which cells are still wanted, as a boolean array [N, M].
Wanted: TypeAlias = Callable[[], Array]
Compute: TypeAlias = Callable[[Reading, Wanted], Iterator[Piece]]


@dataclass(frozen=True)
class SaliencyMethod:
    """A method and the generator that computes it."""

    method: Method
    compute: Compute


#: Methods by name, in the order the front end offers them.
METHODS: dict[str, SaliencyMethod] = {}


def saliency_method(method: Method) -> Callable[[Compute], Compute]:
    """Register a generator ``(reading, wanted) -> pieces`` as a saliency method.

    Between pieces other work may use the model, and even fill cells of the same table: a
    generator asks `wanted` again before each piece, and changes no global state (gradient mode,
    attention function) across a ``yield``.
    """

    def register(compute: Compute) -> Compute:
        METHODS[method.name] = SaliencyMethod(method, compute)
        return compute

    return register


def complete(
    name: str,
    reading: Reading,
    values: Array,
    columns: Sequence[int],
    *,
    side: Side,
    guard: AbstractContextManager[object],
    report: Report | None = None,
) -> None:
    """Fill the missing cells (NaN) of some columns of a table, in place.

    Parameters
    ----------
    values : float32 array [N, M]
        What was finished stays in it when the work is interrupted.
    columns : sequence of int
        Answer tokens that are wanted.
    guard : context manager
        Held while a piece is computed, free between pieces.

    Raises
    ------
    NotFiniteError
        If a value is NaN or infinite.
    Interrupted
        If `report` asked to stop.
    """
    chosen = np.zeros(values.shape, dtype=bool)
    chosen[:, columns] = True

    def wanted() -> Array:
        return np.asarray(chosen & np.isnan(values))

    total = int(wanted().sum())
    title = METHODS[name].method.title
    pieces = METHODS[name].compute(reading, wanted)
    while wanted().any():
        with guard:
            rows, places, piece = next(pieces)
            if not np.isfinite(piece).all():
                raise NotFiniteError(
                    f"{title} of the {side} model is NaN or infinite although its forward pass is "
                    "not: load the pair with dtype=torch.float32"
                )
            values[rows, places] = piece
        if report:
            report(total - int(wanted().sum()), total, f"{title}, {side}")


@saliency_method(
    Method(
        name="gradient_x_input",
        title="Gradient × input",
        measures="First-order change of the answer token's probability along the embedding "
        "of the prompt token.",
        source="Wu et al. 2024, section 3.1: gradient of the token's softmax probability times "
        "the input embedding, summed over dimensions",
        exact=False,
        cost="1 forward and M backward passes",
    )
)
def gradient_x_input(reading: Reading, wanted: Wanted) -> Iterator[Piece]:
    """The paper's attribution, a column for each backward pass."""
    columns = [int(column) for column in np.flatnonzero(wanted().any(axis=0))]
    model, rows = reading.model, reading.prompt_length
    with torch.enable_grad(), observed(model):
        # Through the module: Gemma scales its embeddings there.
        embedded = model.get_input_embeddings()(reading.read).detach().requires_grad_()
        logits = model(
            inputs_embeds=embedded, use_cache=False, logits_to_keep=reading.positions[columns]
        ).logits[0]
        chosen = _precise(logits).softmax(dim=-1)[range(len(columns)), reading.targets[columns]]
    for place, column in enumerate(columns):
        if not wanted()[:, column].any():
            continue
        (gradient,) = torch.autograd.grad(chosen[place], embedded, retain_graph=True)
        effect = (_precise(gradient) * _precise(embedded.detach()))[0, :rows].sum(dim=-1)
        yield slice(None), column, effect.cpu().numpy()


@saliency_method(
    Method(
        name="occlusion",
        title="Occlusion",
        measures="Drop of the answer token's log-probability, in nats, when later tokens cannot "
        "attend to the prompt token.",
        source="Leave one out by attention mask, positions kept",
        exact=True,
        cost="N + 1 forward passes",
    )
)
def occlusion(reading: Reading, wanted: Wanted) -> Iterator[Piece]:
    """Exact effect of hiding one prompt token at a time, all answer tokens in one pass."""
    ids = reading.read
    # Bounds the logits in memory to 32 million numbers.
    size = min(ROWS_AT_ONCE, max(1, 2**25 // (len(reading.targets) * reading.model.config.vocab_size)))
    intact = _logprobs(reading, torch.ones_like(ids))
    while rows := np.flatnonzero(wanted().any(axis=1))[:size].tolist():
        mask = torch.ones(len(rows), ids.shape[1], dtype=ids.dtype, device=ids.device)
        mask[range(len(rows)), rows] = 0
        yield rows, slice(None), (intact - _logprobs(reading, mask)).cpu().numpy()


def _logprobs(reading: Reading, mask: Tensor) -> Tensor:
    """Log-probabilities of the answer under several masks, shape [masks, M]."""
    ids = reading.read.expand(len(mask), -1)
    positions = torch.arange(ids.shape[1], device=ids.device).expand(len(mask), -1)
    with torch.no_grad(), observed(reading.model):
        logits = reading.model(
            ids,
            attention_mask=mask,
            position_ids=positions,
            use_cache=False,
            logits_to_keep=reading.positions,
        ).logits
    index = reading.targets.expand(len(mask), -1)[..., None]
    return _precise(logits).log_softmax(dim=-1).gather(-1, index)[..., 0]


def _precise(tensor: Tensor) -> Tensor:
    return tensor.to(torch.promote_types(tensor.dtype, torch.float32))
