"""Feed-forward components of two models beside each other, as tables and files.

`twinlens.compute.weights.concepts` computes them.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from twinlens.changes.rotation import Rotation, Row

if TYPE_CHECKING:
    import pandas as pd
    from bokeh.models.ui.ui_element import UIElement


@dataclass(frozen=True)
class ConceptComparison:
    """Components of both models, layer by layer, and how far they are turned.

    Attributes
    ----------
    blocks : dict of int to list
        ``components`` blocks by layer, see `twinlens.schema`.
    rotation : Rotation
    parameters : dict
        Every setting, plain JSON values.
    """

    blocks: dict[int, list[dict[str, Any]]]
    rotation: Rotation
    parameters: dict[str, Any]

    def rows(self) -> list[Row]:
        """One row per component of base with its match in tuned."""
        return [
            {
                "layer": layer,
                "component": k,
                "explained_base": entry["base"]["explained"],
                "words_base": _said(entry["base"]["words"]),
                "component_tuned": entry["tuned"]["index"],
                "explained_tuned": entry["tuned"]["explained"],
                "words_tuned": _said(entry["tuned"]["words"]),
                "cosine": entry["cosine"],
                "angle": entry["angle"],
            }
            for layer, block in self.blocks.items()
            for k, entry in enumerate(block)
        ]

    def to_frame(self) -> pd.DataFrame:
        """`rows` as a table; the settings are in its ``attrs``."""
        import pandas as pd

        frame = pd.DataFrame(self.rows())
        frame.attrs.update(self.parameters)
        return frame

    def write(self, folder: Path) -> list[Path]:
        """Write tables, settings and the figure of the rotation into a folder.

        Returns
        -------
        list of Path
            ``components.csv``, ``rotation.csv``, ``added.csv``, ``parameters.json``,
            ``rotation.html`` (which needs no network).
        """
        from twinlens.changes.rotation_figure import rotation_figure

        folder.mkdir(parents=True, exist_ok=True)
        text = json.dumps(self.parameters, indent=2, ensure_ascii=False)
        (folder / "parameters.json").write_text(text + "\n", encoding="utf-8")
        return [
            write_table(folder / "components.csv", self.rows()),
            write_table(folder / "rotation.csv", self.rotation.rows()),
            write_table(folder / "added.csv", self.rotation.added_rows()),
            folder / "parameters.json",
            write_figure(folder / "rotation.html", rotation_figure(self.rotation), "Rotation"),
        ]


def write_table(path: Path, rows: Sequence[Row]) -> Path:
    """Write rows of the same columns as CSV; nothing but a line end where there are none."""
    with path.open("w", encoding="utf-8", newline="") as file:
        table = csv.DictWriter(file, list(rows[0]) if rows else [])
        table.writeheader()
        table.writerows(rows)
    return path


def write_figure(path: Path, figure: UIElement, title: str) -> Path:
    """Write a Bokeh figure as a page that needs no network."""
    from bokeh.embed import file_html
    from bokeh.resources import INLINE

    path.write_text(file_html(figure, INLINE, title), encoding="utf-8")
    return path


def _said(words: Iterable[Sequence[Any]]) -> str:
    return ", ".join(f"{word} {score:+.3f}" for word, score in words)
