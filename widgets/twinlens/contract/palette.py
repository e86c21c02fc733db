"""Colours of the product, in light and dark."""

from __future__ import annotations

from dataclasses import dataclass

from twinlens.contract.words import ChartTheme


@dataclass(frozen=True)
class Palette:
    """Colours of one theme; every mark keeps a contrast of 3:1 to the background."""

    ink: str
    quiet: str
    rule: str
    base: str
    tuned: str
    attention: str
    feed_forward: str
    marker: str


PALETTES: dict[ChartTheme, Palette] = {
    "light": Palette(
        ink="#1a1c1f",
        quiet="#636870",
        rule="#e4e6e9",
        base="#2f6cb5",
        tuned="#d2601a",
        attention="#7a4fa3",
        feed_forward="#1f8577",
        marker="#c9cdd3",
    ),
    "dark": Palette(
        ink="#eceef1",
        quiet="#a0a6ae",
        rule="#33373d",
        base="#6fa8ec",
        tuned="#f0955a",
        attention="#bb98e0",
        feed_forward="#58bfae",
        marker="#565c65",
    ),
}
