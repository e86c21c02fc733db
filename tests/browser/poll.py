"""Wait for something to become true, without sleeping longer than needed."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def until(read: Callable[[], T], wanted: Callable[[T], bool], what: str, seconds: float = 180) -> T:
    """Read again and again until the value is as wanted; say the last one if it never is."""
    deadline = time.monotonic() + seconds
    while True:
        value = read()
        if wanted(value):
            return value
        if time.monotonic() > deadline:
            raise AssertionError(f"waited {seconds} s for {what}, which is {value}")
        time.sleep(0.05)
