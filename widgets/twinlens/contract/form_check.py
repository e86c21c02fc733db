"""Whether a JSON value has the form it claims: what comes from a file is checked before use."""

from __future__ import annotations

import dataclasses
import json
import math
from functools import cache
from types import NoneType, UnionType
from typing import Any, Literal, NotRequired, Union, get_args, get_origin, get_type_hints
from typing import is_typeddict as is_typed_dict

#: Most values in one JSON text; a Python object for each takes up to some hundred bytes.
MAXIMUM_VALUES = 2_000_000


def read_json(data: bytes) -> Any:
    """Parse JSON from outside, in bounded memory.

    Raises
    ------
    ValueError
        If it is no JSON, is nested too deeply, or holds more than `MAXIMUM_VALUES` values.
    """
    if sum(map(data.count, (b",", b"[", b"{"))) > MAXIMUM_VALUES:
        raise ValueError("it holds more values than any block")
    try:
        return json.loads(data)
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error


def check(value: Any, form: Any, where: str = "it") -> None:
    """Check a JSON value against a form: a TypedDict, a dataclass, or types made of these.

    Numbers have to be finite and texts whole characters, so that the value can be sent on.

    Raises
    ------
    ValueError
        Naming the first place that does not fit.
    """
    if not _fits(value, form, where):
        expected = getattr(form, "__name__", str(form))
        raise ValueError(f"{where} is no {expected}")


def _fits(value: Any, form: Any, where: str) -> bool:
    origin, inner = get_origin(form), get_args(form)
    if form is Any:
        return _is_json(value, where)
    if form is float:
        return type(value) in (int, float) and math.isfinite(value)
    if form is str:
        return isinstance(value, str) and _is_text(value)
    if form in (int, bool, NoneType):
        return type(value) is form
    if origin is Literal:
        return value in inner
    if origin in (Union, UnionType):
        return any(_fits_quietly(value, choice, where) for choice in inner)
    if origin is list or (origin is tuple and inner[-1] is Ellipsis):
        return isinstance(value, list) and _each(value, [inner[0]] * len(value), where)
    if origin is tuple:
        return isinstance(value, list) and len(value) == len(inner) and _each(value, inner, where)
    if origin is dict:
        if not isinstance(value, dict):
            return False
        keys, values = inner
        choices = get_args(keys) if get_origin(keys) is Literal else None
        if choices is not None and set(value) != set(choices):
            return False
        return all(_is_text(key) for key in value) and _each(
            list(value.values()), [values] * len(value), where
        )
    return _fits_structure(value, form, where)


def _fits_structure(value: Any, form: Any, where: str) -> bool:
    required, hints = _fields(form)
    if not isinstance(value, dict) or not required <= value.keys() <= hints.keys():
        return False
    for name, item in value.items():
        check(item, hints[name], f"{where}.{name}")
    return True


def _fits_quietly(value: Any, form: Any, where: str) -> bool:
    try:
        return _fits(value, form, where)
    except ValueError:
        return False


def _each(values: list[Any], forms: Any, where: str) -> bool:
    for index, (value, form) in enumerate(zip(values, forms, strict=True)):
        check(value, form, f"{where}[{index}]")
    return True


def _is_json(value: Any, where: str) -> bool:
    if isinstance(value, list):
        return _each(value, [Any] * len(value), where)
    if isinstance(value, dict):
        return all(map(_is_text, value)) and _each(list(value.values()), [Any] * len(value), where)
    return any(_fits(value, form, where) for form in (float, str, bool, NoneType))


def _is_text(value: str) -> bool:
    """Half a surrogate pair is no text: it cannot be written in a page."""
    if value.isascii():
        return True
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


@cache
def _fields(form: Any) -> tuple[frozenset[str], dict[str, Any]]:
    """Names that have to be there, and the form of each."""
    hints = get_type_hints(form, include_extras=True)
    if is_typed_dict(form):  # its own list takes optional ones along where hints are texts
        required = {name for name, hint in hints.items() if get_origin(hint) is not NotRequired}
    elif dataclasses.is_dataclass(form):
        required = {
            field.name
            for field in dataclasses.fields(form)
            if field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
        }
    else:
        raise TypeError(f"{form} is no form of a block")
    plain = {
        name: get_args(hint)[0] if get_origin(hint) is NotRequired else hint
        for name, hint in hints.items()
    }
    return frozenset(required), plain
