"""What was used last, up to a number of bytes."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from threading import Lock
from typing import Generic, TypeVar

Item = TypeVar("Item")


class Cache(Generic[Item]):
    """The values used last, by key; safe to use from several threads.

    Parameters
    ----------
    limit : int
        Bytes; the value put last stays whatever its size.
    size : callable
        Bytes of a value.
    """

    def __init__(self, limit: int, size: Callable[[Item], int]) -> None:
        self._limit, self._size, self._used = limit, size, 0
        self._values: OrderedDict[str, Item] = OrderedDict()
        self._lock = Lock()

    def get(self, key: str) -> Item | None:
        """The value, or None if it is not kept."""
        with self._lock:
            if key in self._values:
                self._values.move_to_end(key)
            return self._values.get(key)

    def put(self, key: str, value: Item) -> None:
        """Keep a value, at the cost of those not used for longest."""
        with self._lock:
            if key in self._values:
                return
            self._values[key] = value
            self._used += self._size(value)
            while self._used > self._limit and len(self._values) > 1:
                self._used -= self._size(self._values.popitem(last=False)[1])
