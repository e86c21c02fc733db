"""Keys of blocks with the update times a scale: ``dial/0.5/attention/base/3/5``.

A page builds them (`js/src/contract/dialled.ts`), the trace that a live trace gives for that scale
answers what stands behind.
"""

from __future__ import annotations

_DIAL = "dial/"


def dialled(key: str) -> tuple[float, str] | None:
    """Scale and key behind it; None of any other key."""
    scale, _, plain = key.removeprefix(_DIAL).partition("/")
    try:
        return (float(scale), plain) if key.startswith(_DIAL) else None
    except ValueError:
        return None
