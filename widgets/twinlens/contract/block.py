"""What a block is: its key, what may stand in it, its form, and what follows from these.

A block is declared by a function whose parameters are those of its key; the declaration is the
builder of keys. Parameters are known by their names in the pattern, see `PARAMETERS`.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, ParamSpec

from twinlens.contract.manifest import Manifest
from twinlens.contract.words import (
    ABLATIONS,
    PARTS_OF_LAYER,
    SIDES,
    THEMES,
    UNIT_KINDS,
    UNITS,
    TurnedPart,
    parse_unit,
)
from twinlens.errors import UnknownBlockError

P = ParamSpec("P")

#: Values of the parameters of one key; None for the word that stands for all.
Values = Mapping[str, Any]

_DTYPES = {"f32": "float32", "f16": "float16"}
_PLACE = re.compile(r"\{(\w+)(?:\|(\w+))?\}")


@dataclass(frozen=True)
class Parameter:
    """What may stand in one place of a key.

    Attributes
    ----------
    what : str
        Its name for people.
    choices : callable
        From the manifest and the values in front of it to the choices: words, or the number of
        indices that count from 0.
    where : str
        Parameter in front of it that an error names, too.
    """

    what: str
    choices: Callable[[Manifest, Values], Sequence[str] | int]
    where: str = ""

    def every(self, manifest: Manifest, values: Values) -> Sequence[Any]:
        """All values it can have."""
        choices = self.choices(manifest, values)
        return range(choices) if isinstance(choices, int) else choices

    def read(self, text: str, manifest: Manifest, values: Values) -> Any:
        """The value written in a key.

        Raises
        ------
        UnknownBlockError
            If it is none of the choices, which the message names.
        """
        choices = self.choices(manifest, values)
        if isinstance(choices, int):
            if text.isascii() and text.isdecimal() and int(text) < choices:
                return int(text)
            value_text = text if text.isascii() and text.isdecimal() else repr(text)
            choices_text = f"0 to {choices - 1}" if choices else "there are none"
        else:
            if text in choices:
                return text
            value_text, choices_text = repr(text), f"one of {', '.join(choices)}"
        where = ""
        if values.get(self.where) is not None:
            front = "of" if self.where == "side" else f"in {PARAMETERS[self.where].what}"
            where = f" {front} {values[self.where]}"
        raise UnknownBlockError(f"there is no {self.what} {value_text}{where}: {choices_text}")


class _Unit(Parameter):
    """A component or a neuron, as kind and index."""

    def every(self, manifest: Manifest, values: Values) -> list[str]:
        """The components: neurons are too many."""
        return [f"component:{k}" for k in range(manifest.components)]

    def read(self, text: str, manifest: Manifest, values: Values) -> tuple[str, int]:
        try:
            kind, index = parse_unit(text)
        except ValueError as error:
            raise UnknownBlockError(f"there is no unit {text!r}: {error}") from error
        PARAMETERS[kind].read(str(index), manifest, values)
        return kind, index


class _Part(Parameter):
    """What of the update a dial turns."""

    def every(self, manifest: Manifest, values: Values) -> list[str]:
        """The layers: kinds and directions are not known before the update is taken apart."""
        return [f"layer:{layer}" for layer in range(manifest.pair.layers)]

    def read(self, text: str, manifest: Manifest, values: Values) -> str:
        try:
            part = TurnedPart.of(text)
        except ValueError as error:
            raise UnknownBlockError(f"there is no part of the update {text!r}: {error}") from error
        if part.layer is not None:
            PARAMETERS["layer"].read(str(part.layer), manifest, values)
        return text


class _Word(Parameter):
    """Any text; it may hold slashes, so it comes last."""

    def read(self, text: str, manifest: Manifest, values: Values) -> str:
        if not text:
            raise UnknownBlockError("there is no word to find: write one")
        return text


def _positions(manifest: Manifest, values: Values) -> int:
    sides = [values["side"]] if "side" in values else SIDES
    return max(manifest.length(side) for side in sides)


#: What a name in a pattern stands for.
PARAMETERS: dict[str, Parameter] = {
    "side": Parameter("model", lambda m, v: SIDES),
    "unembedding": Parameter("unembedding", lambda m, v: SIDES),
    "method": Parameter("method", lambda m, v: [method.name for method in m.methods]),
    "grouping": Parameter("grouping", lambda m, v: UNITS[1:]),
    "ablation": Parameter("replacement of a head", lambda m, v: ABLATIONS),
    "layer": Parameter("layer", lambda m, v: m.pair.layers),
    "head": Parameter("head", lambda m, v: m.pair.heads, "layer"),
    "component": Parameter("component", lambda m, v: m.components, "layer"),
    "neuron": Parameter("neuron", lambda m, v: m.pair.intermediate, "layer"),
    "answer_token": Parameter(
        "answer token", lambda m, v: m.answer_length(v.get("side", "tuned")), "side"
    ),
    "token": Parameter("token", _positions),
    "chart": _Word("chart", lambda m, v: ()),
    "theme": Parameter("theme", lambda m, v: THEMES),
    "unit": _Unit("unit", lambda m, v: UNIT_KINDS),
    "part": _Part("part of the update", lambda m, v: ()),
    "word": _Word("word", lambda m, v: ()),
}

#: Lengths of the axes of arrays; those of a side are that of the key, or tuned's.
AXES: dict[str, Callable[[Manifest, Values], int]] = {
    "N": lambda m, v: m.prompt_length,
    "M": lambda m, v: m.answer_length(v.get("side", "tuned")),
    "T": lambda m, v: m.length(v.get("side", "tuned")),
    "C": lambda m, v: m.common_length,
    "L": lambda m, v: m.pair.layers,
    "L+1": lambda m, v: m.pair.layers + 1,
    "H": lambda m, v: m.pair.heads,
    "K": lambda m, v: m.components,
    "I": lambda m, v: m.pair.intermediate,
    "B": lambda m, v: len(PARTS_OF_LAYER),
}


class Block(Generic[P]):
    """One kind of block; called with its parameters it gives a key.

    Attributes
    ----------
    name : str
        Of the function that declares it.
    pattern : str
        Its keys: ``{layer}`` is a parameter, ``{layer|all}`` one that may be the word ``all``,
        which is None among the values.
    form : str or type
        Type and axes of an array, such as ``"f16 [T, T]"``, or the form of a JSON value.
    meaning : str
        What the value is, with its unit.
    causal : bool
        Whether it is a lower-triangular matrix.
    exact : bool
        Whether its numbers stay as they are where those of others are rounded, in pages: arrays to
        8 bits, JSON to four digits.
    grows : bool
        Whether it says how far a computation has come, so that it is no answer for good.
    shared : bool
        Whether it needs one answer that both models read.
    page : bool
        Whether it is made for pages, by no trace.
    recorded : bool
        Whether a recording keeps it; what is asked for on request only is not kept.
    costly : bool
        Whether it takes a large pair seconds, so that a recording keeps it only where it was asked
        for before.
    """

    def __init__(
        self, declaration: Callable[P, None], pattern: str, form: Any, **flags: bool
    ) -> None:
        self.name = declaration.__name__
        self.pattern = pattern
        self.form = form
        self.meaning = inspect.cleandoc(declaration.__doc__ or "")
        self.causal = flags.pop("causal", False)
        self.exact = flags.pop("exact", False)
        self.grows = flags.pop("grows", False)
        self.shared = flags.pop("shared", False)
        self.page = flags.pop("page", False)
        self.recorded = flags.pop("recorded", True)
        self.costly = flags.pop("costly", False)
        self.parts = pattern.split("/")
        self.literals = sum(_PLACE.fullmatch(part) is None for part in self.parts)
        #: Word that stands for all, by parameter; empty where there is none.
        self.parameters = dict(_PLACE.findall(pattern))
        self._signature = inspect.signature(declaration)
        if flags or list(self._signature.parameters) != list(self.parameters):
            raise TypeError(f"block {self.name} is not declared as its pattern says")

    def __repr__(self) -> str:
        return f"<Block {self.pattern}>"

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> str:
        """The key of some values, as they are: `read` says whether they exist."""
        return self._key(self._signature.bind(*args, **kwargs).arguments)

    def _key(self, values: Values) -> str:
        return _PLACE.sub(
            lambda m: str(m[2] if values[m[1]] is None else values[m[1]]), self.pattern
        )

    def texts(self, key: str) -> dict[str, str] | None:
        """What a key holds in place of each parameter; None if it is no key of this block."""
        word_last = "word" in self.parameters
        parts = key.split("/", len(self.parts) - 1) if word_last else key.split("/")
        if len(parts) != len(self.parts):
            return None
        texts = {}
        for part, text in zip(self.parts, parts, strict=True):
            parameter = _PLACE.fullmatch(part)
            if parameter:
                texts[parameter[1]] = text
            elif part != text:
                return None
        return texts

    def read(self, texts: Mapping[str, str], manifest: Manifest) -> dict[str, Any]:
        """Values of the parameters.

        Raises
        ------
        UnknownBlockError
            If one of them does not exist in this trace; names the choices.
        """
        if self.shared and not manifest.shared:
            raise UnknownBlockError(
                f"{self.name} needs one answer read by both models: trace with response='shared'"
            )
        values: dict[str, Any] = {}
        for name, text in texts.items():
            all_of_them = self.parameters[name]
            if all_of_them and text == all_of_them:
                values[name] = None
            else:
                values[name] = PARAMETERS[name].read(text, manifest, values)
        return values

    def every(self, manifest: Manifest) -> Iterator[str]:
        """All keys of a trace, the first parameter slowest; the word for all comes first."""

        def choices(values: dict[str, Any], names: Sequence[str]) -> Iterator[dict[str, Any]]:
            if not names:
                yield values
                return
            name, *rest = names
            listed = PARAMETERS[name].every(manifest, values)
            for value in [None, *listed] if self.parameters[name] else listed:
                yield from choices({**values, name: value}, rest)

        if manifest.shared or not self.shared:
            yield from (self._key(values) for values in choices({}, list(self.parameters)))

    @property
    def dtype(self) -> str | None:
        """Type of its array; None for JSON."""
        return _DTYPES[self.form.split()[0]] if isinstance(self.form, str) else None

    def shape(self, manifest: Manifest, values: Values) -> tuple[int, ...]:
        """Shape of its array under some values."""
        axes = re.findall(r"[\w+]+", self.form.split(maxsplit=1)[1])
        return tuple(AXES[axis](manifest, values) if axis in AXES else int(axis) for axis in axes)
