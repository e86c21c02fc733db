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
    file = files("twinlens") / "static" / name
    try:
        return file.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise TwinlensError(
            f"the front end is not built ({name} is missing): run `make js` in the checkout"
        ) from error
