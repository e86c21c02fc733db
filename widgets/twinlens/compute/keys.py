"""Reading the parts of a block key."""

from __future__ import annotations

from twinlens.errors import UnknownBlockError


def index(key: str, text: str, size: int, what: str) -> int:
    """An index written in a key.

    Raises
    ------
    UnknownBlockError
        If it is not one of 0 .. size - 1.
    """
    if not (text.isascii() and text.isdecimal() and int(text) < size):
        raise UnknownBlockError(
            f"there is no block {key!r}: {what} {text!r} is not one of 0 .. {size - 1}"
        )
    return int(text)
