"""Files that appear whole or not at all."""

from __future__ import annotations

import contextlib
import errno
import glob
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, cast

from twinlens.errors import ArgumentError, OutputError, TwinlensError

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

_UNFINISHED = ".part"
#: Characters of an impossible path that are shown.
_SHOWN = 40


def cache_folder() -> Path:
    """Where results on weights are kept: ``TWINLENS_CACHE``, or the user's cache folder."""
    folder = os.environ.get("TWINLENS_CACHE")
    if folder:
        return Path(folder)
    import platformdirs

    return platformdirs.user_cache_path("twinlens")


def checked_path(value: Any, what: str, error_type: type[TwinlensError] = ArgumentError) -> Path:
    """A path that can be used; if it is none, that is an error of the type, which `what` begins."""
    if not isinstance(value, str | os.PathLike):
        raise error_type(f"{what} is given by its path, not by {value!r}")
    path = possible_path(value, what, error_type)
    check_place(path, what, error_type)
    return path


def possible_path(
    value: str | os.PathLike[str], what: str, error_type: type[TwinlensError]
) -> Path:
    """A path that a disk could have: too long a one, or a zero in it, is an error of that type."""
    path = Path(value)
    try:
        path.lstat()
    except (ValueError, OSError) as error:  # UnicodeError is a ValueError
        if isinstance(error, ValueError) or error.errno == errno.ENAMETOOLONG:
            shown = os.fspath(value)[:_SHOWN].encode("utf-8", "backslashreplace").decode()
            reason = getattr(error, "strerror", None) or error
            raise error_type(f"{what} cannot be called {shown!r} ({reason})") from error
    return path


def check_place(path: Path, what: str, error_type: type[TwinlensError]) -> None:
    """Check that the folder of this process is there, where a path begins in it."""
    try:
        path.absolute()
    except OSError as error:
        raise error_type(
            f"{what} {str(path)!r} would lie in the folder that this process works in, which is "
            "gone: give an absolute path, or change to another folder"
        ) from error


def check_file(target: Path, suffixes: tuple[str, ...] = ()) -> None:
    """Check that a file can be written.

    Raises
    ------
    OutputError
        If its folder is not there or takes no files, it is a folder itself, or a device or a pipe
        that a file would take the place of, or it ends in none of the suffixes.
    """
    check_place(target, "the file to write", OutputError)
    if target.is_dir():
        raise OutputError(
            f"{target} is a folder: name the file to write, such as "
            f"{target / ('result' + (suffixes or ('.html',))[0])}"
        )
    if suffixes and target.suffix.lower() not in suffixes:
        raise OutputError(
            f"the file to write ends in {' or '.join(suffixes)}, not {target.suffix!r} ({target})"
        )
    if not target.resolve().parent.is_dir():
        raise OutputError(f"there is no folder {target.parent} to write {target.name} into")
    if target.exists() and not target.is_file():
        raise OutputError(f"{target} is a device or a pipe: name a file to write")
    try:
        # Permissions do not say whether a disk takes files.
        tempfile.TemporaryFile(dir=target.parent).close()
    except OSError as error:
        raise _not_written(target, error) from error


@contextmanager
def replacing(target: Path) -> Iterator[BinaryIO]:
    """Open a file that takes the target's place when the block ends without an error.

    Parameters
    ----------
    target : Path
        An error or an interrupt leaves an older file as it was; what a killed process left
        behind of the same file goes.

    Yields
    ------
    binary stream, open for writing

    Raises
    ------
    OutputError
        If it cannot be written there: no folder, no permission, a full disk.
    """
    check_file(target)
    _sweep(target)
    try:
        handle, name = tempfile.mkstemp(
            dir=target.parent, prefix=f".{target.name}.", suffix=_UNFINISHED
        )
    except OSError as error:
        raise _not_written(target, error) from error
    try:
        _hold(handle)
        with os.fdopen(handle, "wb") as stream:
            yield cast(BinaryIO, stream)
        os.chmod(name, 0o644)
        os.replace(name, target)
    except BaseException as error:
        with contextlib.suppress(OSError):  # its disk may be gone
            os.unlink(name)
        if isinstance(error, OSError) and not isinstance(error, TwinlensError):
            raise _not_written(target, error) from error
        raise


def _not_written(target: Path, error: OSError) -> OutputError:
    return OutputError(f"{target} could not be written: {error.strerror or error}")


def _hold(handle: int) -> None:
    """Mark an open file as being written, for as long as this process has it open."""
    if fcntl is not None:
        with contextlib.suppress(OSError):  # some network disks know no locks
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)


def _sweep(target: Path) -> None:
    """Remove unfinished files of this target whose process is gone.

    Windows does not remove files that are open; elsewhere the writer's lock tells.
    """
    for left in target.parent.glob(f".{glob.escape(target.name)}.*{_UNFINISHED}"):
        with contextlib.suppress(OSError):
            if fcntl is None:
                left.unlink()
                continue
            with left.open("rb") as stream:
                fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
                left.unlink()
