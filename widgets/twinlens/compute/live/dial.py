"""A pair with the dial turned: base, and base with the update times a scale in place of tuned."""

from __future__ import annotations

from dataclasses import replace
from functools import cached_property
from typing import Any

from twinlens.compute.pair import Pair
from twinlens.compute.update.turned import turned_model
from twinlens.contract.dialled import TurnedPart
from twinlens.contract.words import SIDES, Side
from twinlens.errors import ModelLoadError


class TurnedPair(Pair):
    """A pair whose tuned model has its update, or a part of it, times a scale.

    Base is the one of `pair`.
    """

    def __init__(self, pair: Pair, scale: float, part: TurnedPart) -> None:
        direction = None if part.direction is None else pair.taken_apart().place(part.direction)
        turned = turned_model(pair, scale, part, direction)
        worked_out = {
            name
            for kind in type(pair).__mro__
            for name, value in vars(kind).items()
            if isinstance(value, cached_property)
        }
        known = {name: value for name, value in vars(pair).items() if name not in worked_out}
        self.__dict__.update(known, _update=None, _checked=set(SIDES))
        self._resident = {"base": pair._resident["base"], "tuned": turned}
        name = f"{pair.names['tuned']}{'' if part.whole else f', {part}'} × {scale:g}"
        self.names = {**pair.names, "tuned": name}
        # Files are hashed for it: those of the pair were.
        self.info = replace(pair.info, tuned=replace(pair.info.tuned, name=name))

    def __getstate__(self) -> dict[str, Any]:
        raise ModelLoadError(
            "a pair with its dial turned is in memory only: give the pair itself to other processes"
        )

    def _lent(self, side: Side) -> bool:
        return side == "base" and super()._lent(side)

    def _adapters(self, side: Side) -> bool | None:
        return super()._adapters(side) if side == "base" else None
