"""What an explorer is asked to show first, checked before there is a trace."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

import traitlets as t

from twinlens.contract.manifest import Token
from twinlens.contract.words import parse_unit
from twinlens.errors import AnnotationError, ArgumentError, PromptError
from twinlens.labels.given_names import check
from twinlens.traces.marks import read_marks
from twinlens.traces.story import read_story
from twinlens.view.chosen import Whole, check_names
from twinlens.view.explorer import Explorer


def check_traits(
    traits: Mapping[str, Any],
    methods: Collection[str],
    sizes: Mapping[str, int],
    beside: Iterable[str] = (),
) -> None:
    """Check initial values of an explorer before there is a trace.

    Parameters
    ----------
    traits : mapping
        Traits with their values.
    methods : collection of str
        Saliency methods there will be.
    sizes : mapping
        Number of the models' layers, and of heads, components and neurons in each, as ``layer``,
        ``head``, ``component`` and ``neuron``.
    beside : iterable of str
        See `check_names`.

    Raises
    ------
    ArgumentError
        If there is no such trait, or its value can be right in no trace of this pair.
    """
    check_names(traits, beside)
    for name, value in traits.items():
        trait = Explorer.class_traits()[name]
        try:
            trait.validate(None, value) if hasattr(trait, "validate") else None
        except (t.TraitError, ValueError) as error:
            raise ArgumentError(f"{name}={value!r} cannot be: {_wanted(name, trait)}") from error
    if traits.get("method") and traits["method"] not in methods:
        raise ArgumentError(
            f"there is no saliency method {traits['method']!r}: use one of {', '.join(methods)}"
        )
    if not isinstance(traits.get("marks"), (list, tuple, type(None))):
        raise ArgumentError(
            f"marks={traits['marks']!r} cannot be: give a list of (start, end, segment)"
        )
    for name, count in (("token", None), ("layer", sizes["layer"]), ("head", sizes["head"])):
        _check_index(name, traits.get(name, -1), count)
    for name in ("head", "unit"):
        if traits.get(name, -1) not in (-1, "") and traits.get("layer", -1) < 0:
            raise ArgumentError(f"{name}={traits[name]!r} needs a layer: set layer= as well")
    if traits.get("unit"):
        try:
            kind, index = parse_unit(traits["unit"])
        except ValueError as error:
            raise ArgumentError(f"there is no unit {traits['unit']!r}: {error}") from error
        _check_index(kind, index, sizes[kind], none='""')
    read_story(traits.get("slides", []))
    try:
        check(traits.get("labels", {}))
    except AnnotationError as error:
        raise ArgumentError(f"labels={traits['labels']!r} cannot be: {error}") from error


def check_places(traits: Mapping[str, Any], prompt: Sequence[Token], length: int) -> None:
    """Check initial values that lie in a text as soon as that is known.

    Parameters
    ----------
    prompt : sequence of Token
        Tokens of the prompt.
    length : int
        Tokens of prompt and answer, at most.

    Raises
    ------
    ArgumentError
        If the token or a mark is not in it.
    """
    _check_index("token", traits.get("token", -1), length)
    try:
        read_marks(traits.get("marks"), prompt)
    except PromptError as error:
        raise ArgumentError(str(error)) from error


def _check_index(what: str, index: int, count: int | None, none: str = "-1") -> None:
    if index < -1 or (count is not None and index >= count):
        known = "0 or more" if count is None else f"0 to {count - 1}"
        raise ArgumentError(f"there is no {what} {index}: {known}; {none} selects none")


def _wanted(name: str, trait: Any) -> str:
    if isinstance(trait, t.Enum):
        return f"use one of {', '.join(trait.values or ())}"
    kinds = {
        Whole: "a whole number",
        t.Bool: "True or False",
        t.Dict: "a dictionary",
        t.List: "a list",
    }
    return f"{name} is {kinds.get(type(trait), 'a text')}"
