"""Values that are worked out once wait for no other object's."""

from __future__ import annotations

import threading

from twinlens.support.cached import cached_property


class Waiting:
    """Its value is worked out once a lock is free."""

    def __init__(self, lock: threading.Lock, begun: threading.Event) -> None:
        self._lock, self._begun = lock, begun
        self.times = 0

    @cached_property
    def value(self) -> int:
        self._begun.set()
        self.times += 1
        if not self._lock.acquire(timeout=20):
            raise TimeoutError
        self._lock.release()
        return self.times


def test_who_holds_what_another_waits_for_gets_a_value() -> None:
    lock, begun = threading.Lock(), threading.Event()
    first, free = Waiting(lock, begun), threading.Lock()
    lock.acquire()
    thread = threading.Thread(target=lambda: first.value, daemon=True)
    thread.start()
    assert begun.wait(20)
    holder = threading.Thread(target=lambda: Waiting(free, begun).value, daemon=True)
    holder.start()
    holder.join(5)
    waited = holder.is_alive()
    lock.release()
    thread.join(20)
    assert not waited
    assert (first.value, first.times) == (1, 1)
    assert isinstance(Waiting.value, cached_property)
