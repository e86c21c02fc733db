"""A lock that goes round: who has waited comes before who had it last."""

from __future__ import annotations

from threading import Lock, get_ident


class Turns:
    """A lock that its thread may take again, held while it is entered.

    One of ``threading`` goes to whoever is there first. Long work that lets go of it between pieces
    takes it back before others have woken up, and they wait for all of it.
    """

    def __init__(self) -> None:
        #: Held by the thread that waits longest, so that all others come after it.
        self._next = Lock()
        self._lock = Lock()
        self._holder: int | None = None
        self._depth = 0

    def __enter__(self) -> None:
        thread = get_ident()
        if self._holder != thread:
            with self._next:
                self._lock.acquire()
            self._holder = thread
        self._depth += 1

    def __exit__(self, *error: object) -> None:
        self._depth -= 1
        if self._depth == 0:
            self._holder = None
            self._lock.release()
