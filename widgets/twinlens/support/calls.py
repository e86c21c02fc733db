"""Calls that do not fit what is called: one sentence that names the choices, before it begins."""

from __future__ import annotations

import difflib
from collections.abc import Callable
from functools import wraps
from inspect import Parameter, isfunction, signature
from typing import Any, ParamSpec, TypeVar

from twinlens.errors import ArgumentError

P = ParamSpec("P")
R = TypeVar("R")
C = TypeVar("C", bound=type)


def called_rightly(function: Callable[P, R]) -> Callable[P, R]:
    """A public function that refuses unknown, missing and surplus arguments in one sentence.

    Raises
    ------
    ArgumentError
        By the function, where Python raises a TypeError for the call itself.
    """

    @wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return function(*args, **kwargs)
        except TypeError as error:
            # One that comes from within has frames behind this one.
            if error.__traceback__ is None or error.__traceback__.tb_next is not None:
                raise
            wrong = _wrong(function, args, kwargs)
        raise ArgumentError(wrong)

    return call


def methods_called_rightly(made: C) -> C:
    """The same for a class: making one, and its public methods."""
    for name, function in list(vars(made).items()):
        if isfunction(function) and (name == "__init__" or not name.startswith("_")):
            setattr(made, name, called_rightly(function))
    return made


def _wrong(function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> str:
    """What does not fit about a call."""
    parameters = [p for p in signature(function).parameters.values() if p.name != "self"]
    names = [p.name for p in parameters if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)]
    called = function.__qualname__.removesuffix(".__init__").rpartition(".")[2]
    known = f"{called} takes {', '.join(names) or 'no argument'}"
    unknown = next((name for name in kwargs if name not in names), None)
    if unknown is not None and not any(p.kind is p.VAR_KEYWORD for p in parameters):
        near = difflib.get_close_matches(unknown, names, n=1)
        hint = f" (did you mean {near[0]}?)" if near else ""
        return f"there is no argument {unknown}{hint}: {known}"
    given = args[1:] if "self" in signature(function).parameters else args
    placed = [p.name for p in parameters if p.kind is Parameter.POSITIONAL_OR_KEYWORD]
    if len(given) > len(placed):
        return f"there are {len(given)} arguments without a name, and {len(placed)} can be: {known}"
    twice = [name for name in placed[: len(given)] if name in kwargs]
    if twice:
        return f"{', '.join(twice)} is given twice: {known}"
    needed = [p.name for p in parameters if p.default is p.empty and p.name in names]
    missing = [name for name in needed if name not in (*placed[: len(given)], *kwargs)]
    return f"{', '.join(missing)} is missing: {known}"
