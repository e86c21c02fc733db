"""Whether a value has a JSON form of `twinlens.contract.forms`."""

from __future__ import annotations

import dataclasses
from types import NoneType, UnionType
from typing import Any, NotRequired, Union, get_args, get_origin, get_type_hints, is_typeddict

import numpy as np


def has_form(value: Any, form: Any) -> bool:
    origin, inner = get_origin(form), get_args(form)
    if is_typeddict(form) or dataclasses.is_dataclass(form):
        hints = get_type_hints(form, include_extras=True)
        needed = {name for name, hint in hints.items() if get_origin(hint) is not NotRequired}
        return needed <= set(value) <= set(hints) and all(
            has_form(value[name], hints[name]) for name in value
        )
    if origin is NotRequired:
        return has_form(value, inner[0])
    if origin in (Union, UnionType):
        return any(has_form(value, one) for one in inner)
    if origin is list:
        return isinstance(value, list) and all(has_form(one, inner[0]) for one in value)
    if origin is tuple:
        return len(value) == len(inner) and all(map(has_form, value, inner))
    if origin is dict:
        return isinstance(value, dict) and all(has_form(one, inner[1]) for one in value.values())
    kinds = {float: (float, int), Any: object, None: NoneType}
    return isinstance(value, kinds.get(form, form)) and not (form is int and value is True)


def alike(ours: Any, theirs: Any, rtol: float = 1e-3, atol: float = 1e-4) -> None:
    """Assert that two values of a block are the same but for rounding."""
    if isinstance(ours, dict):
        assert ours.keys() == theirs.keys()
        for key in ours:
            alike(ours[key], theirs[key], rtol, atol)
    elif isinstance(ours, list):
        for one, other in zip(ours, theirs, strict=True):
            alike(one, other, rtol, atol)
    elif isinstance(ours, float | np.ndarray):
        np.testing.assert_allclose(ours, theirs, rtol=rtol, atol=atol)
    else:
        assert ours == theirs
