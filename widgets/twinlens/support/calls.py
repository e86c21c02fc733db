"""Calls that do not fit what is called: one sentence that names the choices, before it begins."""

from __future__ import annotations

import difflib
import operator
import reprlib
from collections.abc import Callable, Iterator
from functools import cache, partial, wraps
from inspect import Parameter, isfunction, signature
from typing import Any, Literal, ParamSpec, TypeVar, get_args, get_origin

from twinlens.errors import ArgumentError, TwinlensError

P = ParamSpec("P")
R = TypeVar("R")
C = TypeVar("C", bound=type)


def called_rightly(function: Callable[P, R]) -> Callable[P, R]:
    """A public function that refuses what it cannot be called with in one sentence.

    Arrays in place of a text, a number or a flag, which are neither true nor false, are refused
    before it begins; other values it may refuse itself, in better words. Whole numbers of NumPy and
    torch become those of Python.

    Raises
    ------
    ArgumentError
        By the function, where Python raises a TypeError for the call itself, or anything else
        and an argument is not what its annotation says.
    """

    @wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        plain: Any = tuple(map(partial(_plain, function), _names(function), args))
        surplus: Any = args[len(plain) :]
        named: Any = {name: _plain(function, name, value) for name, value in kwargs.items()}
        try:
            return function(*plain, *surplus, **named)
        except TwinlensError:
            raise
        except Exception as error:
            # One that comes from within has frames behind this one.
            within = error.__traceback__ is None or error.__traceback__.tb_next is not None
            if isinstance(error, TypeError) and not within:
                wrong = _wrong(function, args, kwargs)
            else:
                misfits = (
                    _misfit(name, value, kinds)
                    for name, value, kinds in _annotated(function, args, kwargs)
                    if not any(_fits(value, kind) for kind in kinds)
                )
                wrong = next(misfits, "")
                if not wrong:
                    raise
        raise ArgumentError(wrong)

    return call


def methods_called_rightly(made: C) -> C:
    """The same for a class: making one, and its public methods."""
    for name, function in list(vars(made).items()):
        if isfunction(function) and (name == "__init__" or not name.startswith("_")):
            setattr(made, name, called_rightly(function))
    return made


_NAMES = {"bool": "True or False", "int": "a whole number", "float": "a number", "str": "a text"}


@cache
def _kinds(function: Callable[..., Any]) -> dict[str, tuple[Any, ...]]:
    """What parameters may be, of those that take texts, numbers and flags only.

    Names of types, None, and tuples of choices.
    """
    kinds_of = {}
    for name, parameter in signature(function).parameters.items():
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
            continue
        kinds: list[Any] = []
        for part in str(parameter.annotation).split(" | "):
            known = getattr(function, "__globals__", {}).get(part)
            if part in _NAMES:
                kinds.append(part)
            elif part == "None":
                kinds.append(None)
            elif get_origin(known) is Literal:
                kinds.append(get_args(known))
            else:
                break
        else:
            kinds_of[name] = tuple(kinds)
    return kinds_of


@cache
def _names(function: Callable[..., Any]) -> tuple[str, ...]:
    """What parameters are called, in their order."""
    return tuple(signature(function).parameters)


#: What is never changed, nor refused before a function begins.
_OF_PYTHON = frozenset((str, int, float, bool, type(None)))


def _plain(function: Callable[..., Any], name: str, value: Any) -> Any:
    """The value of an argument; refuses an array that is to be a text, a number or a flag."""
    kinds = () if type(value) in _OF_PYTHON else _kinds(function).get(name, ())
    if bool(getattr(value, "ndim", 0)) and kinds:
        raise ArgumentError(_misfit(name, value, kinds))
    return operator.index(value) if "int" in kinds and _fits(value, "int") else value


def _annotated(
    function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
) -> Iterator[tuple[str, Any, tuple[Any, ...]]]:
    """Arguments that are to be texts, numbers or flags: names, values, and what they may be."""
    kinds = _kinds(function)
    for name, value in (*zip(_names(function), args, strict=False), *kwargs.items()):
        if name in kinds:
            yield name, value, kinds[name]


def _fits(value: Any, kind: Any) -> bool:
    """Whether a value is of a kind, numbers and flags of NumPy included."""
    if kind is None:
        return value is None
    if isinstance(kind, tuple):
        return isinstance(value, str) and value in kind
    flag = isinstance(value, bool) or str(getattr(value, "dtype", "")) == "bool"
    if kind in ("bool", "str"):
        return flag if kind == "bool" else isinstance(value, str)
    try:
        (operator.index if kind == "int" else float)(value)
    except (TypeError, ValueError):
        return False
    return not (flag or isinstance(value, str))


def _misfit(name: str, value: Any, kinds: tuple[Any, ...]) -> str:
    """What is wrong with the value of an argument."""
    wanted = [
        " or ".join(f'"{choice}"' for choice in kind) if isinstance(kind, tuple) else _NAMES[kind]
        for kind in kinds
        if kind is not None
    ]
    shown = " ".join(reprlib.repr(value).split())
    return f"{name} is {', or '.join(wanted)}, not {shown}"


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
