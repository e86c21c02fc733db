"""A figure of what a panel shows: its numbers, and vector graphics written here without a browser.

Everything is in CSS pixels, as wide as a column of a journal; letters are those of a figure in a
paper, seven points high.
"""

from __future__ import annotations

import csv
import io
import math
import os
import re
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Literal, TypeAlias

import numpy as np

from twinlens.contract.palette import PALETTES, Palette
from twinlens.contract.wire import Array
from twinlens.contract.words import ChartTheme
from twinlens.errors import ArgumentError
from twinlens.support.browser import picture
from twinlens.support.files import check_file, checked_path, replacing
from twinlens.traces.frames import DataFrame, frame_of

Colour: TypeAlias = Literal["base", "tuned", "both", "difference"]

_FONT = "Helvetica, Arial, 'Liberation Sans', 'DejaVu Sans', sans-serif"
#: Height of letters (7 points), the width of one at most, and what is left free, in pixels.
_LETTERS, _WIDE, _GAP = 9.33, 6.4, 8.0
#: Width of a letter of a sentence, on average.
_AVERAGE = 4.7
#: Sizes of cells, in pixels: matrices stand below each other before theirs are narrower.
_NARROW, _WIDEST, _LOW, _HIGHEST = 2.4, 24.0, 4.0, 16.0
#: Cells of larger sides have gaps; what is negative is hollow from this share of the scale on.
_APART, _VISIBLE = 5.0, 0.02
_LONGEST_NAME = 14
_RAMP = 30.0
Column: TypeAlias = Literal["single", "double"]
Rows: TypeAlias = list[list[str | int | float]]

#: Widths of columns of a journal, in millimetres.
WIDTHS: dict[Column, float] = {"single": 89.0, "double": 183.0}
#: CSS pixels in a millimetre.
PIXELS = 96 / 25.4
#: Pixels of a PNG for one of the figure: 384 to an inch.
SHARP = 4


@dataclass(frozen=True, repr=False)
class Figure:
    """A figure; notebooks show it.

    Attributes
    ----------
    svg : str
        Vector graphics, as wide as a column of a journal.
    rows : list of list
        The numbers that are drawn; the first row names the columns.
    title : str
    """

    svg: str
    rows: Rows
    title: str

    def frame(self) -> DataFrame:
        """The numbers as a table.

        Raises
        ------
        ImportError
            If pandas is not installed.
        """
        names, *rows = self.rows
        return frame_of([dict(zip(map(str, names), row, strict=True)) for row in rows])

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write it as ``.svg``, its numbers as ``.csv``, or as ``.png``, which needs a browser.

        Raises
        ------
        ArgumentError
            If the path has another ending.
        OutputError
            If it cannot be written there.
        BrowserError
            If a ``.png`` is wanted where there is no Chromium, Chrome or Edge.
        """
        target = checked_path(path, "the figure to write")
        check_file(target)
        contents = {".svg": self.svg.encode, ".csv": self._csv, ".png": self._png}
        if target.suffix not in contents:
            raise ArgumentError(
                f"a figure cannot be written as {target.name}: end it in {', '.join(contents)}"
            )
        content = contents[target.suffix]()
        with replacing(target) as stream:
            stream.write(content)
        return target

    def _csv(self) -> bytes:
        stream = io.StringIO()
        csv.writer(stream).writerows(self.rows)
        return stream.getvalue().encode()

    def _png(self) -> bytes:
        view_box = re.search(r'viewBox="0 0 ([\d.]+) ([\d.]+)"', self.svg)
        width, height = map(float, view_box.groups()) if view_box else (0.0, 0.0)
        return picture(self.svg, width=width, height=height, sharp=SHARP)

    def _repr_svg_(self) -> str:
        return self.svg

    def __repr__(self) -> str:
        return f"Figure({self.title!r}, {len(self.rows) - 1} rows)"


@dataclass(frozen=True)
class Cells:
    """One matrix.

    Attributes
    ----------
    colour : {"base", "tuned", "both", "difference"}
        Of full size; a difference has two colours.
    values : array, shape [rows, columns]
        NaN where there is nothing.
    rows, columns : sequence of str
        Names along the edges; none for edges without.
    full : float
        What is drawn in full colour.
    unit : str
        With a blank before it.
    ends : tuple of str
        What no colour and full colour stand for, where that is not 0 and ``full``.
    """

    title: str
    colour: Colour
    values: Array
    rows: Sequence[str] = ()
    columns: Sequence[str] = ()
    full: float = 1.0
    unit: str = ""
    ends: tuple[str, str] = ("", "")


@dataclass(frozen=True)
class Bar:
    """A bar that goes on where the one before ended.

    Attributes
    ----------
    start, end : float
        Shares of the whole width, 0 to 1.
    """

    name: str
    value: str
    start: float
    end: float
    colour: Colour = "tuned"


def grids_svg(
    grids: Sequence[Cells],
    *,
    title: str,
    caption: str,
    width: Column,
    theme: ChartTheme = "light",
    square: bool = False,
) -> str:
    """Matrices side by side, or below each other where they are too wide for that.

    Parameters
    ----------
    square : bool
        Whether cells are as high as they are wide.
    """
    palette = PALETTES[theme]
    room = WIDTHS[width] * PIXELS
    # Names of rows stand once, where all have the same.
    shared = len({tuple(grid.rows) for grid in grids}) == 1
    gutters = [_gutter(grid.rows) if i == 0 or not shared else 0.0 for i, grid in enumerate(grids)]
    columns = [grid.values.shape[1] for grid in grids]
    free = room - sum(gutters) - (len(grids) - 1) * 1.5 * _GAP
    beside, slot = free / sum(columns), free / len(grids)
    stacked = beside < _NARROW
    if stacked:
        gutters = [_gutter(grid.rows) for grid in grids]
        beside = min((room - g) / n for g, n in zip(gutters, columns, strict=True))
    wide = min(beside, _WIDEST)
    high = wide if square else min(max(wide, _LOW), _HIGHEST)
    if any(grid.rows for grid in grids) and not square:
        high = min(max(high, _LETTERS * 1.1), _HIGHEST) if grids[0].values.shape[0] < 40 else high
    parts: list[str] = []
    x, y, bottom = 0.0, _heading(parts, title, room), 0.0
    for grid, gutter in zip(grids, gutters, strict=True):
        if stacked:
            x, y = 0.0, max(bottom, y)
        names = grid.rows if gutter else ()
        bottom = max(bottom, _grid(parts, grid, names, x + gutter, y, wide, high, palette))
        x += gutter + max(grid.values.shape[1] * wide, min(slot, _RAMP + 60)) + 1.5 * _GAP
    return _document(parts, caption, room, bottom, palette, title)


def bars_svg(
    bars: Sequence[Bar],
    *,
    mark: tuple[float, str],
    title: str,
    caption: str,
    width: Column,
    theme: ChartTheme = "light",
) -> str:
    """Bars below each other, with a line at the share ``mark`` and its name."""
    palette = PALETTES[theme]
    room = WIDTHS[width] * PIXELS
    parts: list[str] = []
    top = _heading(parts, title, room) + _LETTERS
    left = _gutter([bar.name for bar in bars], longest=40)
    right = _gutter([bar.value for bar in bars])
    track = room - left - right
    high = 1.7 * _LETTERS
    for i, bar in enumerate(bars):
        y = top + i * high
        base = y + high / 2 + 0.35 * _LETTERS
        colour = getattr(palette, bar.colour)
        parts += [
            _text(bar.name, left - 4, base, anchor="end"),
            f'<rect x="{left:.2f}" y="{y + 2:.2f}" width="{bar.start * track:.2f}" '
            f'height="{high - 4:.2f}" fill="{colour}" opacity="0.35"/>',
            f'<rect x="{left + min(bar.start, bar.end) * track:.2f}" y="{y + 2:.2f}" '
            f'width="{abs(bar.end - bar.start) * track:.2f}" height="{high - 4:.2f}" '
            f'fill="{colour}"/>',
            _text(bar.value, room - 1, base, anchor="end"),
        ]
    x, bottom = left + mark[0] * track, top + len(bars) * high
    parts += [
        f'<path d="M{x:.2f} {top:.2f}V{bottom:.2f}" stroke="{palette.ink}"/>',
        _text(mark[1], x, top - 2, anchor="middle"),
    ]
    return _document(parts, caption, room, bottom, palette, title)


def _grid(
    parts: list[str],
    grid: Cells,
    names: Sequence[str],
    x: float,
    y: float,
    wide: float,
    high: float,
    palette: Palette,
) -> float:
    """Draw one matrix with its title above and its scale below; returns where it ends."""
    parts.append(_text(grid.title, x, y + _LETTERS, weight="bold"))
    top = y + 1.6 * _LETTERS
    rows = len(grid.values)
    parts += _cells(grid, x, top, wide, high, palette)
    every = math.ceil(1.1 * _LETTERS / high)
    parts += [
        _text(name, x - 3, top + (i + 0.5) * high + 0.35 * _LETTERS, anchor="end")
        for i, name in enumerate(names)
        if i % every == 0
    ]
    below = top + rows * high
    every = math.ceil(1.2 * _LETTERS / wide)
    for i, name in list(enumerate(grid.columns))[::every]:
        place = f"translate({x + (i + 0.7) * wide:.2f} {below + 6:.2f}) rotate(-60)"
        parts.append(_text(name, 0, 0, anchor="end", transform=place))
    if grid.columns:
        below += 0.9 * _gutter(grid.columns) + 4
    return _scale(parts, grid, x, below + 4, palette)


def _cells(
    grid: Cells, x: float, y: float, wide: float, high: float, palette: Palette
) -> list[str]:
    """One path for each colour; negative cells are hollow."""
    gap = 1.0 if min(wide, high) >= _APART else 0.0
    paths: dict[str, list[str]] = {}
    zero = _mixed(palette, grid.colour, 0.0)
    holes: list[str] = []
    for (i, j), value in np.ndenumerate(grid.values):
        share = float(value) / grid.full if grid.full > 0 else 0.0
        colour = palette.absent if math.isnan(share) else _mixed(palette, grid.colour, share)
        paths.setdefault(colour, []).append(
            _square(x + j * wide, y + i * high, wide - gap, high - gap)
        )
        if share < -_VISIBLE:
            w, h = wide - gap, high - gap
            holes.append(
                _square(x + j * wide + 0.28 * w, y + i * high + 0.28 * h, 0.44 * w, 0.44 * h)
            )
    paths.setdefault(zero, [])
    drawn = [f'<path d="{"".join(d)}" fill="{colour}"/>' for colour, d in paths.items() if d]
    return [*drawn, f'<path d="{"".join(holes)}" fill="{zero}"/>'] if holes else drawn


def _square(x: float, y: float, w: float, h: float) -> str:
    return f"M{x:.2f} {y:.2f}h{w:.2f}v{h:.2f}h{-w:.2f}z"


def _scale(parts: list[str], grid: Cells, x: float, y: float, palette: Palette) -> float:
    """What the colours mean; returns where it ends."""
    low, high = ("0", f"{grid.full:.3g}{grid.unit}") if not any(grid.ends) else grid.ends
    if grid.colour == "difference":
        low, high = "", f"±{high}"
    base, at = y + _LETTERS, x + len(low) * _AVERAGE + (3 if low else 0)
    shares = np.linspace(-1.0 if grid.colour == "difference" else 0.0, 1.0, 13)
    step = _RAMP / len(shares)
    parts.append(_text(low, x, base))
    parts += [
        f'<rect x="{at + i * step:.2f}" y="{y + 2:.2f}" width="{step + 0.2:.2f}" '
        f'height="{_LETTERS - 2:.2f}" fill="{_mixed(palette, grid.colour, share)}"/>'
        for i, share in enumerate(shares)
    ]
    parts.append(_text(high, at + _RAMP + 3, base))
    return base + _GAP


def _heading(parts: list[str], title: str, room: float) -> float:
    lines = textwrap.wrap(title, int(room / _WIDE)) or [""]
    for i, line in enumerate(lines):
        parts.append(_text(line, 0, (i + 1) * 1.3 * _LETTERS, weight="bold", size=1.15))
    return len(lines) * 1.3 * _LETTERS + _GAP


def _document(
    parts: list[str], caption: str, room: float, bottom: float, palette: Palette, title: str
) -> str:
    lines = textwrap.wrap(caption, int(room / _AVERAGE))
    for line in lines:
        bottom += 1.3 * _LETTERS
        parts.append(_text(line, 0, bottom, colour=palette.muted))
    height = bottom + _GAP / 2
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" role="img" viewBox="0 0 {room:.1f} {height:.1f}" '
        f'width="{room / PIXELS:g}mm" height="{height / PIXELS:.1f}mm">'
        f"<title>{xml(title)}</title><desc>{xml(caption)}</desc>"
        f"<style>text{{font:{_LETTERS}px {_FONT};fill:{palette.ink}}}</style>"
        f'<rect width="{room:.1f}" height="{height:.1f}" fill="{palette.background}"/>'
        f"{''.join(parts)}</svg>"
    )


def _text(
    text: str,
    x: float,
    y: float,
    *,
    anchor: str = "",
    weight: str = "",
    transform: str = "",
    colour: str = "",
    size: float = 1.0,
) -> str:
    looks = [f"font-weight:{weight}"] if weight else []
    looks += [f"fill:{colour}"] if colour else []
    looks += [f"font-size:{size * _LETTERS:.2f}px"] if size != 1 else []
    attributes = {
        "text-anchor": anchor,
        "transform": transform,
        "style": ";".join(looks),
        "direction": "",
    }
    given = "".join(f' {name}="{value}"' for name, value in attributes.items() if value)
    return f'<text x="{x:.2f}" y="{y:.2f}"{given}>{xml(text)}</text>'


def xml(text: str) -> str:
    """Text as HTML and XML show it, which have no other control characters."""
    return escape("".join(c if c.isprintable() or c in "\n\t" else "\ufffd" for c in text))


def token_name(text: str) -> str:
    """A token as it stands at an edge: what is invisible made visible, and cut where it is long."""
    visible = text.replace("\n", "↵").replace("\t", "⇥").strip(" ") or "␣"
    return visible if len(visible) <= _LONGEST_NAME else visible[: _LONGEST_NAME - 1] + "…"


def _gutter(names: Sequence[str], longest: int = _LONGEST_NAME) -> float:
    return _WIDE * min(max(map(len, names)), longest) + 6 if names else 0.0


def _mixed(palette: Palette, colour: Colour, share: float) -> str:
    """The colour of a share of full colour, -1 to 1."""
    side = ("base" if share < 0 else "tuned") if colour == "difference" else colour
    start, end = (bytes.fromhex(c[1:]) for c in (palette.neutral, getattr(palette, side)))
    part = min(abs(share), 1.0)
    mixed = (round(a + (b - a) * part) for a, b in zip(start, end, strict=True))
    return f"#{bytes(mixed).hex()}"
