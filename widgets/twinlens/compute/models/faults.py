"""What libraries raise when a model cannot be loaded, as one sentence."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from twinlens.errors import ModelLoadError


@contextmanager
def load_errors(name: str, what: str) -> Iterator[None]:
    """Turn whatever the libraries raise for a bad file or a missing network into one sentence."""
    try:
        yield
    except (MemoryError, KeyboardInterrupt, ModelLoadError):
        raise
    except Exception as error:
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise ModelLoadError(
            f"the {what} of {name!r} cannot be loaded: check the name, the files and, for a "
            f"model from the hub, the network ({reason})"
        ) from error
