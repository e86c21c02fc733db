"""Keys of blocks with the update, or a part of it, times a scale.

``dial/0.5/attention/base/3/5`` turns all of it, ``dial/0.5@layer:3/attention/base/3/5`` what is in
one layer. A page builds them (`js/src/contract/dialled.ts`), the trace that a live trace gives for
that place answers what stands behind.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

_DIAL = "dial/"
_PART = re.compile(r"(?P<number>layer|direction):(?P<index>\d{1,9})|kind:(?P<kind>\w[\w.-]*)")
#: The first number in the name of a tensor is its layer.
_LAYER = re.compile(r"(?:^|\.)(\d+)\.")


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
    """Scale, what is turned, and the key behind them; None of any other key."""
    place, _, plain = key.removeprefix(_DIAL).partition("/")
    scale, at, part = place.partition("@")
    try:
        if not key.startswith(_DIAL):
            return None
        return float(scale), TurnedPart.of(part) if at else TurnedPart(), plain
    except ValueError:
        return None
