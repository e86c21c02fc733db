"""Files that appear whole or not at all."""

from __future__ import annotations

import errno
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, cast

from twinlens.errors import ArgumentError


def cache_folder() -> Path:
    """Where results on weights are kept: ``TWINLENS_CACHE``, or the user's cache folder."""
    folder = os.environ.get("TWINLENS_CACHE")
    if folder:
        return Path(folder)
    import platformdirs

    return platformdirs.user_cache_path("twinlens")


def checked_path(value: Any, what: str) -> Path:
    """A path.

    Raises
    ------
    ArgumentError
        If it is none; `what` begins the sentence.
    """
    if not isinstance(value, str | os.PathLike):
        raise ArgumentError(f"{what} is given by its path, not by {value!r}")
    return Path(value)


@contextmanager
def replacing(target: Path) -> Iterator[BinaryIO]:
    """Open a file that takes the target's place when the block ends without an error.

    Parameters
    ----------
    target : Path
        Its folder must exist. An error or an interrupt leaves an older file as it was.

    Yields
    ------
    binary stream, open for writing

    Raises
    ------
    OSError
        If the folder does not exist or cannot be written to.
    """
    if target.is_dir():
        raise IsADirectoryError(errno.EISDIR, "name the file to write, not a folder", str(target))
    if not target.parent.is_dir():
        message = "there is no such folder to write into"
        raise FileNotFoundError(errno.ENOENT, message, str(target.parent))
    handle, name = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.", suffix=".part")
    try:
        with os.fdopen(handle, "wb") as stream:
            yield cast(BinaryIO, stream)
        os.chmod(name, 0o644)
        os.replace(name, target)
    except BaseException:
        os.unlink(name)
        raise
