"""Blocks kept in memory, those used last."""

from __future__ import annotations

from collections import OrderedDict
from threading import Lock

import numpy as np

from twinlens.contract.wire import Value


class Cache:
    """The blocks used last, up to a number of bytes; safe to use from several threads."""

    def __init__(self, limit: int) -> None:
        self._limit, self._used = limit, 0
        self._blocks: OrderedDict[str, Value] = OrderedDict()
        self._lock = Lock()

    def get(self, key: str) -> Value | None:
        """The block, or None if it is not kept."""
        with self._lock:
            if key in self._blocks:
                self._blocks.move_to_end(key)
            return self._blocks.get(key)

    def put(self, key: str, value: Value) -> None:
        """Keep a block, at the cost of those not used for longest."""
        with self._lock:
            if key in self._blocks:
                return
            self._blocks[key] = value
            self._used += _bytes(value)
            while self._used > self._limit and len(self._blocks) > 1:
                self._used -= _bytes(self._blocks.popitem(last=False)[1])


def _bytes(value: Value) -> int:
    return value.nbytes if isinstance(value, np.ndarray) else 2**16
