"""Bokeh figures of questions 2 and 3: words that rise in heads, labels and rotation of concepts."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, cast

from bokeh.models import BasicTicker, ColumnDataSource, FactorRange, Range1d
from bokeh.plotting import figure

from twinlens.contract.palette import PALETTES
from twinlens.contract.words import ChartTheme
from twinlens.figures.theme import hover, layer_line
from twinlens.figures.word_pairs_figure import rise_figure
from twinlens.studies.analysis.weight_changes import ChangeRow, shown_components
from twinlens.studies.data.change_tables import Changes, ChangeTable
from twinlens.studies.report.figures import blank, legend_in_lines
from twinlens.weights.word_pair_table import RiseTable


def weight_figures(changes: Changes, theme: ChartTheme = "light") -> dict[str, figure]:
    """All figures that the tables allow, by name."""
    figures: dict[str, figure] = {}
    if "heads" in changes:
        heads = changes["heads"]
        table = RiseTable(heads.rows, heads.hypothesis, heads.parameters)
        figures["heads"] = rise_figure(table, theme)
    for kind in ("task", "level"):
        if kind in changes:
            figures[f"labels-{kind}"] = label_figure(changes[kind], theme)
    if "rotation" in changes:
        figures |= rotation_figures(changes["rotation"], theme)
    return figures


def label_figure(table: ChangeTable, theme: ChartTheme) -> figure:
    """Share of each label by group of layers, both models, sd over the rounds of annotation."""
    models = table.parameters["models"]
    labels = list(dict.fromkeys(row["label"] for row in table.rows))
    factors = [
        (label, row["layers"]) for label in labels for row in table.rows if row["label"] == label
    ]
    fig: Any = blank(
        f"labels-{table.name}",
        "label, layers",
        "share of labelled concepts",
        340,
        theme,
        x_range=FactorRange(factors=factors),
    )
    fig.y_range.start = 0
    fig.xaxis.major_label_orientation = math.pi / 2
    fig.xaxis.group_text_color = PALETTES[theme].ink
    colours = (PALETTES[theme].base, PALETTES[theme].tuned)
    for place, model in enumerate(models):
        points = [
            (
                (row["label"], row["layers"], 0.2 * (place - (len(models) - 1) / 2)),
                row[f"mean_{model}"],
                row.get(f"sd_{model}") or 0.0,
            )
            for row in table.rows
            if row[f"mean_{model}"] is not None
        ]
        _marks(fig, points, model, colours[place], ("circle", "square")[place])
    legend_in_lines(fig, theme)
    return cast("figure", fig)


def _marks(
    fig: figure, points: Sequence[tuple[Any, float, float]], name: str, colour: str, marker: Any
) -> None:
    """Marks with error bars."""
    source = ColumnDataSource(
        {
            "x": [x for x, _, _ in points],
            "mean": [mean for _, mean, _ in points],
            "low": [mean - error for _, mean, error in points],
            "high": [mean + error for _, mean, error in points],
        }
    )
    fig.segment("x", "low", "x", "high", source=source, color=colour, line_width=2)
    marks = fig.scatter(
        "x", "mean", source=source, size=10, color=colour, marker=marker, legend_label=name
    )
    hover(fig, marks, [(name, "@mean{0.000} (@low{0.000} to @high{0.000})")], visible=False)


def rotation_figures(table: ChangeTable, theme: ChartTheme) -> dict[str, figure]:
    """By layer: mean principal angle, share of base's variance, size of the difference."""
    k = shown_components(table)
    rows = [row for row in table.rows if row["k"] == k]
    colours = PALETTES[theme]
    angle = _by_layer("rotation-angle", "mean angle, degrees", rows, theme)
    _curve(angle, rows, "null_mean", "random rotation", colours.muted, "diamond")
    _curve(angle, rows, "mean", "base to tuned", colours.ink, "circle")
    share = _by_layer("rotation-variance", "share of base's variance", rows, theme)
    _curve(share, rows, "null_inside", "random", colours.muted, "diamond")
    _curve(share, rows, "own", "base", colours.base, "circle")
    _curve(share, rows, "inside", "tuned", colours.tuned, "square")
    norm = _by_layer("rotation-difference", "relative norm of the difference", rows, theme)
    _curve(norm, rows, "difference", "tuned less base", colours.ink, "circle")
    for fig in (angle, share, norm):
        fig.y_range.start = 0
        legend_in_lines(fig, theme)
    return {"rotation-angle": angle, "rotation-variance": share, "rotation-difference": norm}


def _by_layer(name: str, y_label: str, rows: Sequence[ChangeRow], theme: ChartTheme) -> Any:
    layers = [row["layer"] for row in rows]
    around = Range1d(start=min(layers) - 0.5, end=max(layers) + 0.5)
    fig: Any = blank(name, "layer", y_label, 300, theme, x_range=around)
    fig.xaxis.ticker = BasicTicker(min_interval=1)
    return fig


def _curve(
    fig: Any, rows: Sequence[ChangeRow], column: str, title: str, colour: str, marker: Any
) -> None:
    source = ColumnDataSource(
        {"layer": [row["layer"] for row in rows], "value": [row[column] for row in rows]}
    )
    marks = layer_line(fig, source, "value", title, colour, marker)
    hover(fig, marks, [("layer", "@layer"), (title, "@value{0.0000}")], visible=False)
