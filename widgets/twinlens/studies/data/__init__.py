"""Cases: many prompts and what was computed for them, from files or the published release."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from twinlens.studies.data.rows import collect_rows, read_rows

__all__ = ["collect_rows", "read_rows"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'twinlens.studies.data' has no attribute {name!r}")
    from twinlens.studies.data import rows

    return getattr(rows, name)
