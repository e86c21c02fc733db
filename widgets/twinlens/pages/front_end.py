"""The built front end, as text."""

from __future__ import annotations

from importlib.resources import files

from twinlens.errors import TwinlensError


def front_end(name: str) -> str:
    """Text of one built file of the front end.

    Raises
    ------
    TwinlensError
        If it is not built.
    """
    return _built(name).decode()


def zipped_front_end(name: str) -> bytes:
    """Gzip of a script that travels inside other files: ``page.js`` and ``explorer.js``.

    It was packed when the front end was built, for longer than a page could wait.

    Raises
    ------
    TwinlensError
        If it is not built.
    """
    return _built(f"{name}.gz")


def _built(name: str) -> bytes:
    file = files("twinlens") / "static" / name
    try:
        return file.read_bytes()
    except FileNotFoundError as error:
        raise TwinlensError(
            f"the front end is not built ({name} is missing): run `make js` in the checkout"
        ) from error
