"""Pickled result files read without running anything in them.

Only plain containers and NumPy arrays of numbers are rebuilt; NumPy's own unpickling code is
not called either, so that a file can neither import a name nor claim more memory than it has.
"""

from __future__ import annotations

import io
import pickle
import struct
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from twinlens.errors import RecordingError

#: More values than any result of a prompt holds.
MAXIMUM_VALUES = 20_000_000
_MODULES = ("numpy", "numpy.core.multiarray", "numpy._core.multiarray")


class _Type:
    """Stands for ``numpy.dtype``: records the code of a number type and its byte order."""

    def __init__(self, code: Any = "", *_: Any) -> None:
        self.code = str(code)
        self.order = "="

    def __setstate__(self, state: Any) -> None:
        self.order = {"|": "=", "=": "=", "<": "<", ">": ">"}[state[1]]

    def number_type(self) -> np.dtype[Any]:
        dtype = np.dtype(self.code).newbyteorder(self.order)  # type: ignore[arg-type]
        if dtype.kind not in "biuf":
            raise pickle.UnpicklingError(f"arrays of {dtype} are not read")
        return dtype


class _Array:
    """Stands for ``numpy.ndarray``: takes its bytes, whatever size it claimed before."""

    value: np.ndarray[Any, Any] | None = None

    def __setstate__(self, state: Any) -> None:
        _, shape, kind, fortran, data = state
        if not isinstance(kind, _Type) or not isinstance(data, bytes):
            raise pickle.UnpicklingError("an array holds objects")
        flat = np.frombuffer(data, dtype=kind.number_type())
        self.value = flat.reshape(tuple(shape), order="F" if fortran else "C")


def _reconstruct(*_: Any) -> _Array:
    return _Array()


_ALLOWED = {"_reconstruct": _reconstruct, "ndarray": _Array, "dtype": _Type}


#: Of keys: what names something, and numbers of a size whose hashes do not meet by design.
_KEYS = (str, bytes, int, float, bool, type(None))
_LARGEST_KEY = 1 << 63
#: The one of C lets nobody look at keys.
_InPython: Any = vars(pickle)["_Unpickler"]


class _Unpickler(_InPython):  # type: ignore[misc]
    """Keys are seen before a dictionary is made of them.

    Of keys whose hashes are alike it takes the square of their number: hours for some megabytes.
    """

    dispatch: ClassVar[dict[int, Any]] = dict(_InPython.dispatch)

    def _set_item(self) -> None:
        self._check(self.stack[-2:-1])
        super().load_setitem()

    def _set_items(self) -> None:
        self._check(self.stack[::2])
        super().load_setitems()

    def _dictionary(self) -> None:
        self._check(self.stack[::2])
        super().load_dict()

    def _set(self) -> None:
        raise pickle.UnpicklingError("it holds a set")

    dispatch |= {
        pickle.SETITEM[0]: _set_item,
        pickle.SETITEMS[0]: _set_items,
        pickle.DICT[0]: _dictionary,
        pickle.ADDITEMS[0]: _set,
        pickle.FROZENSET[0]: _set,
    }

    @staticmethod
    def _check(keys: Sequence[Any]) -> None:
        for key in keys:
            if type(key) not in _KEYS or (isinstance(key, int) and abs(key) >= _LARGEST_KEY):
                raise pickle.UnpicklingError("a key of it is no text and no number of usual size")

    def find_class(self, module: str, name: str) -> Any:
        if module in _MODULES and name in _ALLOWED:
            return _ALLOWED[name]
        raise pickle.UnpicklingError(f"it wants {module}.{name}")


def read_pickle(path: Path) -> Any:
    """Read a pickle of numbers, texts, lists, tuples, dictionaries and numeric arrays.

    Raises
    ------
    RecordingError
        If the file is damaged or holds anything else.
    """
    try:
        return _plain(_Unpickler(io.BytesIO(path.read_bytes())).load(), {})[0]
    except (
        pickle.UnpicklingError,
        EOFError,
        AttributeError,
        IndexError,
        KeyError,
        TypeError,
        ValueError,
        RecursionError,
        MemoryError,
        OverflowError,
        struct.error,
    ) as error:
        reason = "it asks for too much memory" if isinstance(error, MemoryError) else error
        if isinstance(error, (EOFError, IndexError, struct.error)):
            reason = "parts of it are missing"
        raise RecordingError(
            f"{path.name} is damaged or holds more than plain numbers and texts ({reason}): "
            "it was not read further"
        ) from error


def _plain(value: Any, seen: dict[int, tuple[Any, int]]) -> tuple[Any, int]:
    """The value if it is plain, and how many values it holds.

    What stands in several places is looked at once, but counts wherever it stands: a few bytes
    can name each other often enough to fill any memory.
    """
    if id(value) not in seen:
        seen[id(value)] = _looked_at(value, seen)
    return seen[id(value)]


def _looked_at(value: Any, seen: dict[int, tuple[Any, int]]) -> tuple[Any, int]:
    if isinstance(value, _Array):
        if value.value is None:
            raise pickle.UnpicklingError("an array has no contents")
        return value.value, 1
    if isinstance(value, (dict, list, tuple)):
        items = (
            [item for pair in value.items() for item in pair] if isinstance(value, dict) else value
        )
        plain = [_plain(item, seen) for item in items]
        count = 1 + sum(size for _, size in plain)
        if count > MAXIMUM_VALUES:
            raise pickle.UnpicklingError(f"it holds more than {MAXIMUM_VALUES} values")
        contents = [item for item, _ in plain]
        if isinstance(value, dict):
            return dict(zip(contents[::2], contents[1::2], strict=True)), count
        return type(value)(contents), count
    if value is None or isinstance(value, (bool, int, float, str, bytes)):
        return value, 1
    raise pickle.UnpicklingError(f"it holds a {type(value).__name__}")
