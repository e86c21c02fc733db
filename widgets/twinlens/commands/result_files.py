"""Comparisons of feed-forward components in a folder: tables, settings and figures.

Bokeh is imported where it is used: it takes seconds to load.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from twinlens.weights.rotation_table import ConceptComparison

if TYPE_CHECKING:
    from bokeh.models.ui.ui_element import UIElement


def write_concepts(comparison: ConceptComparison, folder: Path) -> list[Path]:
    """Write tables, settings and the figure of the rotation.

    Returns
    -------
    list of Path
        ``components.csv``, ``rotation.csv``, ``added.csv``, ``parameters.json`` and
        ``rotation.html``, which needs no network.
    """
    from twinlens.figures.layer_charts import rotation_figure

    folder.mkdir(parents=True, exist_ok=True)
    parameters = folder / "parameters.json"
    text = json.dumps(comparison.parameters, indent=2, ensure_ascii=False)
    parameters.write_text(text + "\n", encoding="utf-8")
    return [
        write_table(folder / "components.csv", comparison.rows()),
        write_table(folder / "rotation.csv", comparison.rotation.rows()),
        write_table(folder / "added.csv", comparison.rotation.added_rows()),
        parameters,
        write_figure(folder / "rotation.html", rotation_figure(comparison.rotation), "Rotation"),
    ]


def write_table(path: Path, rows: Sequence[dict[str, Any]]) -> Path:
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
