"""The words and positions everything is said in: sides, segments, panels, units.

Positions count the tokens a model reads: prompt tokens ``0 .. N-1``, answer tokens
``N .. N+M-1``. The prompt is the same for both models; with a shared answer the answer
tokens are too. Whatever happens *inside* the models for a selected answer token is read at
the position that predicts it, see `reading_position`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias, get_args

Side: TypeAlias = Literal["base", "tuned"]
SIDES: tuple[Side, Side] = get_args(Side)

Segment: TypeAlias = Literal["special", "template", "instruction", "context", "other"]
SEGMENTS: tuple[Segment, ...] = get_args(Segment)

#: Segments that people mark.
MARKED: tuple[Segment, Segment] = ("instruction", "context")

PanelKind: TypeAlias = Literal[
    "dashboard", "findings", "saliency", "carried", "update", "heads", "concepts", "overview"
]
PANELS: tuple[PanelKind, ...] = get_args(PanelKind)

ChartTheme: TypeAlias = Literal["light", "dark"]
THEMES: tuple[ChartTheme, ChartTheme] = get_args(ChartTheme)

#: What is taken away together: tokens, or all tokens of a word, sentence or segment.
Unit: TypeAlias = Literal["token", "word", "sentence", "segment"]
UNITS: tuple[Unit, ...] = get_args(Unit)

#: Units of a feed-forward layer.
UNIT_KINDS = ("component", "neuron")

#: What a head's output is replaced by to measure its exact effect.
ABLATIONS: tuple[str, str, str] = ("zero", "mean", "other")
#: Heads of largest estimated effect that a table of exact effects holds.
TOP_HEADS = 20

#: The method of Wu et al. (2310.00492).
PUBLISHED = "gradient_x_input"
#: The method that stands for the truth.
EXACT = "occlusion"
#: Tasks and levels of language that a concept may be labelled with.
TASKS = ("writing", "maths", "coding", "translation")
LEVELS = ("phonology", "morphology", "syntax", "semantics")

#: Shift of an answer token (Lin et al. 2312.01552), by its rank under the other model: 1, 2 to 3,
#: and what is left.
SHIFT_CLASSES: tuple[str, str, str] = ("unshifted", "marginal", "shifted")
#: Parts of a model that are exchanged for the other's.
PARTS: tuple[str, ...] = ("embedding", "head", "attention", "feed_forward", "unembedding")
#: What of a layer is exchanged by itself.
PARTS_OF_LAYER: tuple[str, str, str] = ("output", "attention", "feed_forward")
#: Why the words of a component say little: its direction is not told from its neighbours', or it
#: has no good match in the other model.
DOUBTS: tuple[str, ...] = ("", "not separable", "weak match")
#: Kinds of findings.
FINDINGS: tuple[str, ...] = (
    "nothing",
    "copies",
    "parts",
    "place",
    "segments",
    "carries",
    "kept",
    "template",
)

#: Traits of the explorer that make up the selection; -1 and "" mean nothing is selected.
SELECTION_DEFAULTS: dict[str, int | str] = {"token": -1, "layer": -1, "head": -1, "unit": ""}
_DIAL = "dial/"
_PART = re.compile(r"(?P<number>layer|direction):(?P<index>\d{1,9})|kind:(?P<kind>\w[\w.-]*)")
#: The first number in the name of a tensor is its layer.
_LAYER = re.compile(r"(?:^|\.)(\d+)\.")


class Given(str):
    """An answer that is given as a text, also where it reads like a choice, such as ``base``."""


def reading_position(token: int, prompt_length: int) -> int:
    """Position at which the inside of the models is read for a selected token.

    An answer token is read where it is predicted, one position earlier; a prompt token where
    it stands.
    """
    return token - 1 if token >= prompt_length else token


_UNIT = re.compile(r"(component|neuron):(\d+)")


def parse_unit(unit: str) -> tuple[str, int]:
    """Split a unit such as ``component:2`` or ``neuron:117`` into kind and index.

    Raises
    ------
    ValueError
        If it has another form.
    """
    match = _UNIT.fullmatch(unit)
    if match is None:
        raise ValueError(f"unit {unit!r} is neither 'component:K' nor 'neuron:N'")
    return match[1], int(match[2])


@dataclass(frozen=True)
class TurnedPart:
    """What of the update a dial turns, all of it by default; the rest stays as it is in tuned.

    Attributes
    ----------
    kind : str or None
        Of matrix, such as ``q_proj``.
    direction : int or None
        Counted over all matrices.
    """

    layer: int | None = None
    kind: str | None = None
    direction: int | None = None

    @classmethod
    def of(cls, text: str) -> TurnedPart:
        """A part as keys name it: ``layer:3``, ``kind:q_proj`` or ``direction:17``.

        Raises
        ------
        ValueError
            If it is none.
        """
        match = _PART.fullmatch(text)
        if match is None:
            raise ValueError("it is layer:L, kind:K or direction:D")
        given: Any = {"kind": match["kind"]}
        return cls(**(given if match["kind"] else {match["number"]: int(match["index"])}))

    @property
    def whole(self) -> bool:
        """Whether it is all of the update."""
        return self == TurnedPart()

    def holds(self, name: str) -> bool:
        """Whether a tensor of this name is in it, but for single directions."""
        layer = _LAYER.search(name)
        inside = self.layer is None or (layer is not None and int(layer[1]) == self.layer)
        return inside and (self.kind is None or self.kind in name.split("."))

    def __str__(self) -> str:
        """For people."""
        if self.direction is not None:
            return f"direction {self.direction}"
        layer = "" if self.layer is None else f"layer {self.layer}"
        return " of ".join(part for part in (self.kind, layer) if part)


def dialled(key: str) -> tuple[float, TurnedPart, str] | None:
    """Scale, what is turned, and the key behind them; None of any other key.

    ``dial/0.5/attention/base/3/5`` turns all of the update, ``dial/0.5@layer:3/attention/base/3/5``
    what is in one layer. A page builds them (`js/src/contract/units.ts`), the trace that a live
    trace gives for that place answers what stands behind.
    """
    place, _, plain = key.removeprefix(_DIAL).partition("/")
    scale, at, part = place.partition("@")
    try:
        if not key.startswith(_DIAL):
            return None
        return float(scale), TurnedPart.of(part) if at else TurnedPart(), plain
    except ValueError:
        return None
