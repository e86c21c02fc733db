"""A figure of what a panel shows: vector graphics, and its numbers."""

from __future__ import annotations

import csv
import io
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias

from twinlens.errors import ArgumentError
from twinlens.support.browser import picture
from twinlens.support.files import check_file, checked_path, replacing
from twinlens.traces.frames import DataFrame, frame_of

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
