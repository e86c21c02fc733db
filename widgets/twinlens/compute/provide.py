"""Who answers for a block: methods of a room, marked with the block's row.

A room is an object made once for a live trace. Its methods take the parameters of the key,
``report`` if they want one, and ``block`` if they answer for several.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

from twinlens.compute.models.running import plainly
from twinlens.contract.block import Block
from twinlens.contract.wire import Value
from twinlens.support.progress import Report
from twinlens.traces.trace import Trace

Method = TypeVar("Method", bound=Callable[..., Any])


def provides(*listed: Block[Any], cached: bool = True) -> Callable[[Method], Method]:
    """Mark the method of a room that computes blocks; `cached` is False where they may change."""

    def mark(method: Method) -> Method:
        method.__dict__["provides"] = listed, cached
        return method

    return mark


def records(*listed: Block[Any]) -> Callable[[Method], Method]:
    """Mark the method of a room that says which keys of some blocks a recording keeps.

    It is called with the trace and a block, and with ``everything`` if it wants to know whether
    more is kept than panels show; without it a recording keeps all keys of the block.
    """

    def mark(method: Method) -> Method:
        method.__dict__["records"] = listed
        return method

    return mark


@dataclass(frozen=True)
class Provider:
    """A bound method that computes a block, and whether its value is kept."""

    compute: Callable[..., Value]
    cached: bool
    reports: bool

    def __call__(self, values: dict[str, Any], report: Report | None) -> Value:
        with plainly():
            return self.compute(**values, **({"report": report} if self.reports else {}))


def providers(rooms: Iterable[object]) -> dict[Block[Any], Provider]:
    """Methods of rooms by the block they compute."""
    by_block = {}
    for method in _methods(rooms, "provides"):
        wanted = inspect.signature(method).parameters
        listed, cached = method.provides
        for block in listed:
            compute = partial(method, block=block) if "block" in wanted else method
            by_block[block] = Provider(compute, cached, "report" in wanted)
    return by_block


@dataclass(frozen=True)
class Recorder:
    """A bound method that lists recorded keys, and whether it tells more from everything."""

    keys: Callable[..., Iterable[str]]
    tells: bool

    def __call__(self, trace: Trace, block: Block[Any], everything: bool) -> Iterable[str]:
        return self.keys(trace, block, **({"everything": everything} if self.tells else {}))


def recorders(rooms: Iterable[object]) -> dict[Block[Any], Recorder]:
    """Methods of rooms by the block whose recorded keys they list."""
    return {
        block: Recorder(method, "everything" in inspect.signature(method).parameters)
        for method in _methods(rooms, "records")
        for block in method.records
    }


def _methods(rooms: Iterable[object], mark: str) -> Iterable[Any]:
    for room in rooms:
        for name in dir(type(room)):
            method = getattr(type(room), name)
            if mark in getattr(method, "__dict__", {}):
                yield getattr(room, name)
