"""A lock whose turns are given in order: pieces of long work come after all others."""

from __future__ import annotations

from bisect import insort
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from threading import Condition, get_ident


class Turns:
    """A lock that its thread may take again, held while it is entered.

    Who asks first comes first. One of ``threading`` goes to whoever is awake: long work that lets
    go of it between pieces takes it back before those who wait have woken up, and they wait for
    all of it.
    """

    def __init__(self) -> None:
        self._free = Condition()
        self._numbers = count()
        #: Of those who wait: whether it is a piece of long work, and its number.
        self._waiting: list[tuple[bool, int]] = []
        self._holder: int | None = None
        self._depth = 0

    def __enter__(self) -> None:
        self._take(piece=False)

    def __exit__(self, *error: object) -> None:
        with self._free:
            self._depth -= 1
            if self._depth == 0:
                self._holder = None
                self._free.notify_all()

    @contextmanager
    def piece(self) -> Iterator[None]:
        """Hold it for a piece of long work, after all who wait for something else."""
        self._take(piece=True)
        try:
            yield
        finally:
            self.__exit__()

    def _take(self, *, piece: bool) -> None:
        thread = get_ident()
        with self._free:
            if self._holder != thread:
                turn = piece, next(self._numbers)
                insort(self._waiting, turn)
                try:
                    self._free.wait_for(lambda: self._holder is None and self._waiting[0] == turn)
                finally:  # the wait may be interrupted
                    self._waiting.remove(turn)
                    self._free.notify_all()
                self._holder = thread
            self._depth += 1
