"""Work with one model in several threads, where its passes only read the weights.

Products of narrow models are too small for the threads of one product to help one another much:
they wait for each other longer than they compute. Then each thread is given work of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TypeVar

import torch
from transformers import PreTrainedModel

from twinlens.compute.models import architectures
from twinlens.compute.passes.rotary import rotary_by_length
from twinlens.compute.passes.row import can_be_read_as_row

#: Widest residual stream of models that are called narrow.
_NARROW = 1024
#: Most threads: each needs the interpreter now and then, and memory for its work.
_THREADS = 4

Item = TypeVar("Item")
Result = TypeVar("Result")


def in_threads(
    model: PreTrainedModel | None, work: Callable[[Item], Result], items: Sequence[Item]
) -> Generator[Callable[[], Result]]:
    """Do some work in its order, several at once where that helps.

    Parameters
    ----------
    model : PreTrainedModel, optional
        Held by the caller until all is done; without one nothing is done at once.
    work : callable
        Changes nothing of the model, nor of torch, where its layers can be read as a `Row`.

    Yields
    ------
    callable
        For each item, in their order: gives its result or raises what the work raised. Work that
        nobody has asked for is dropped when the iterator is closed.
    """
    threads = torch.get_num_threads()
    count = min(threads, _THREADS, len(items))
    if model is None or count < 2 or not _only_read(model):
        yield from (partial(work, item) for item in items)
        return
    # What a thread sets holds for the products of that thread, and for threads to come.
    pool = ThreadPoolExecutor(
        count, initializer=torch.set_num_threads, initargs=(threads // count,)
    )
    try:
        yield from [pool.submit(work, item).result for item in items]
    finally:
        pool.shutdown(cancel_futures=True)
        torch.set_num_threads(threads)


def _only_read(model: PreTrainedModel) -> bool:
    """Whether it is narrow, and passes set nothing in it."""
    narrow = architectures.sizes(model.config).hidden <= _NARROW
    return narrow and can_be_read_as_row(model) and not rotary_by_length(model)
