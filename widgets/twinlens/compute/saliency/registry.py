"""Saliency: what every prompt token does to every answer token.

A method is one generator function, declared with `saliency_method` and listed in `methods`. It is
told which cells of the [N, M] table are wanted and yields finished pieces of it, so that work can
be shown as it comes, stopped, and taken up again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial
from typing import TypeAlias

import numpy as np
import torch

from twinlens.compute.passes.reading import Reading
from twinlens.contract.manifest import Method
from twinlens.contract.wire import Array
from twinlens.contract.words import Side
from twinlens.errors import NotFiniteError
from twinlens.support.progress import Report

#: Rows and columns of finished cells, and their values; one of the two is all.
Piece: TypeAlias = tuple[list[int] | slice, list[int] | slice, Array]
#: Says which cells are still wanted, as a boolean array [N, M].
Wanted: TypeAlias = Callable[[], Array]
Compute: TypeAlias = Callable[[Reading, Wanted], Iterator[Piece]]
#: Whole tables [N, M] of texts that one model reads together.
Together: TypeAlias = Callable[[Sequence[Reading]], list[Array]]


@dataclass(frozen=True)
class SaliencyMethod:
    """A method, the generator that computes it, and the same for many texts if it can be.

    Whether all that is done for some texts only reads the weights of the model says `only_reads`:
    nothing listens to it meanwhile, and no attention function is put in, so that threads share it.
    """

    method: Method
    compute: Compute
    together: Together | None = None
    only_reads: Callable[[Sequence[Reading]], bool] = lambda _: False


def saliency_method(
    method: Method,
    together: Together | None = None,
    only_reads: Callable[[Sequence[Reading]], bool] = lambda _: False,
) -> Callable[[Compute], SaliencyMethod]:
    """Declare a generator ``(reading, wanted) -> pieces`` as a saliency method.

    Between pieces other work may use the model, and even fill cells of the same table: a
    generator asks `wanted` again before each piece, and changes no global state (gradient mode,
    attention function) across a ``yield``. A piece without rows lets others through during long
    work.
    """
    return partial(SaliencyMethod, method, together=together, only_reads=only_reads)


def complete(
    method: SaliencyMethod,
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
    title = method.method.title
    pieces = method.compute(reading, wanted)
    while wanted().any():
        # Not in a caller's inference mode: what is made there can enter no gradient.
        with guard, torch.inference_mode(False):
            if not wanted().any():
                break  # another thread filled the rest while this one waited
            try:
                rows, places, piece = next(pieces)
            except NotFiniteError as error:
                raise NotFiniteError(f"{title} of the {side} model {error}") from error
            if not np.isfinite(piece).all():
                raise NotFiniteError(
                    f"{title} of the {side} model is NaN or infinite although its forward pass is "
                    "not: load the pair with dtype=torch.float32"
                )
            values[rows, places] = piece
        if report:
            report(total - int(wanted().sum()), total, f"{title}, {side}")
