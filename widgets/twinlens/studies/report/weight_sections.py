"""Sections and figures of the report about questions 2 and 3, from tables of `weight_changes`."""

from __future__ import annotations

import html
import json
import math
from collections.abc import Iterable, Sequence
from typing import Any, cast

from bokeh.models import BasicTicker, ColumnDataSource, FactorRange, Range1d
from bokeh.plotting import figure

from twinlens.contract.palette import PALETTES
from twinlens.contract.words import ChartTheme
from twinlens.figures.paper_figures import rise_figure
from twinlens.figures.theme import hover, layer_line
from twinlens.studies.analysis.weight_changes import ChangeRow, shown_components
from twinlens.studies.data.change_tables import Changes, ChangeTable, TableName
from twinlens.studies.report.figures import blank, legend_in_lines
from twinlens.studies.report.html_tables import CaseSets, Cell, Column, number, table, tint
from twinlens.studies.report.report_page import figure_html
from twinlens.weights.word_pair_table import RiseTable

#: Words per list in the report; the files of the study hold all.
SHOWN_WORDS = 60
_LABELS: dict[TableName, str] = {
    "task": "Which user tasks do the concepts serve?",
    "level": "On which linguistic levels do the concepts lie?",
}


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


def weight_sections(changes: Changes, sets: CaseSets) -> Iterable[str]:
    """HTML of everything the tables allow; figures are named as in `weight_figures`."""
    if "heads" in changes:
        yield "<h2>Do attention heads gain word pairs with instruction verbs?</h2>"
        yield figure_html("heads", "How often words rise in the heads that changed.")
        yield _heads(changes["heads"], sets)
        if "words" in changes:
            yield _words(changes["words"], sets)
        yield _settings(changes["heads"])
    for kind, title in _LABELS.items():
        table = changes.get(kind)
        if table:
            yield f"<h2>{title}</h2>"
            yield figure_html(
                f"labels-{kind}", "Mean over the rounds of annotation; bars: one sd over rounds."
            )
            yield _labels(table, sets)
            yield _settings(table)
    if "rotation" in changes:
        yield "<h2>How far are the feed-forward concepts turned?</h2>"
        k = shown_components(changes["rotation"])
        yield (
            f"<p>The {k} leading principal components of the value vectors of each layer, base "
            "against tuned. Angles can be large without much change where neighbouring components "
            "explain about equally much; the share of variance is not misled by that.</p>"
        )
        yield '<div class="figures">'
        yield figure_html("rotation-angle", "Mean principal angle.")
        yield figure_html(
            "rotation-variance", "Share of base's variance that the components of each model hold."
        )
        yield figure_html("rotation-difference", "Norm of the weight difference over that of base.")
        yield "</div>"
        yield _rotation(changes["rotation"], k, sets)
        if "added" in changes:
            yield _added(changes["added"], sets)
        yield _settings(changes["rotation"])


def _heads(changes: ChangeTable, sets: CaseSets) -> str:
    columns = [
        Column("layers", kind="text"),
        Column("list", kind="text"),
        Column("words", "with at least one changed head"),
        Column("not in the vocabulary"),
        Column("rises in (sd)", "share of changed heads, mean and sd over words"),
        *(Column(name) for name, _ in _TEST),
    ]
    rows = [
        [
            Cell(row["layers"], row["first_layer"]),
            Cell(row["list"]),
            _count(row["words"]),
            _count(row["absent"]),
            Cell(f"{number(row['share'], '.1%')} ({number(row['sd'], '.1%')})", row["share"]),
            *(Cell(number(row[name], form), row[name]) for name, form in _TEST),
        ]
        for row in changes.rows
    ]
    caption = (
        "Share of the heads whose number of pairs with a word changed, in which it rose. p tests "
        f"that {changes.hypothesis}; nothing is corrected for the groups of layers."
    )
    return table(caption, columns, rows, sets)


_TEST = (("t", ".2f"), ("df", ".1f"), ("p", ".3g"))


def _words(changes: ChangeTable, sets: CaseSets) -> str:
    columns = [
        Column("word", kind="text"),
        Column("list", kind="text"),
        Column("heads changed"),
        Column("rises in"),
        Column("share"),
        Column("pairs, base", kind="base"),
        Column("pairs, tuned", kind="tuned"),
    ]
    lists = dict.fromkeys(row["list"] for row in changes.rows)
    chosen = [
        row
        for name in lists
        for row in sorted(
            (row for row in changes.rows if row["list"] == name),
            key=lambda row: -row["heads_changed"],
        )[:SHOWN_WORDS]
    ]
    rows = [
        [
            Cell(row["word"]),
            Cell(row["list"]),
            _count(row["heads_changed"]),
            _count(row["heads_rose"]),
            Cell(number(row["share"], ".1%"), row["share"]),
            _count(row["pairs_base"]),
            _count(row["pairs_tuned"]),
        ]
        for row in chosen
    ]
    caption = (
        f"The words behind it, those with most changed heads first ({len(rows)} of "
        f"{len(changes.rows)}; all are in the study's tables)."
    )
    return _folded("Words behind it", table(caption, columns, rows, sets))


def _labels(changes: ChangeTable, sets: CaseSets) -> str:
    models = changes.parameters["models"]
    columns = [Column("layers", kind="text"), Column("label", kind="text")]
    columns += [Column(f"{model} (sd)", "mean and sd over rounds", tint(model)) for model in models]
    columns += [Column("t"), Column("df"), Column("p")]
    rows = [
        [
            Cell(row["layers"]),
            Cell(row["label"]),
            *(
                Cell(
                    f"{number(row[f'mean_{model}'], '.1%')} "
                    f"({number(row.get(f'sd_{model}'), '.1%')})",
                    row[f"mean_{model}"],
                )
                for model in models
            ),
            *(Cell(number(row[name], form), row[name]) for name, form in _TEST),
        ]
        for row in changes.rows
    ]
    caption = f"Share of the labelled concepts. p tests that {changes.hypothesis}."
    return table(caption, columns, rows, sets)


def _rotation(changes: ChangeTable, k: int, sets: CaseSets) -> str:
    columns = [
        Column("layer"),
        Column("mean angle", "degrees"),
        Column("smallest"),
        Column("largest"),
        Column("random (sd)", "mean angle of random rotations"),
        Column("variance in tuned's", "share of base's variance in tuned's components"),
        Column("in base's"),
        Column("in random"),
        Column("relative difference", "norm of tuned less base over that of base"),
    ]
    rows = [
        [
            _count(row["layer"]),
            *(Cell(f"{row[name]:.1f}°", row[name]) for name in ("mean", "smallest", "largest")),
            Cell(f"{row['null_mean']:.1f}° ({number(row['null_sd'], '.1f')})", row["null_mean"]),
            *(Cell(f"{row[name]:.1%}", row[name]) for name in ("inside", "own", "null_inside")),
            Cell(f"{row['difference']:.3f}", row["difference"]),
        ]
        for row in changes.rows
        if row["k"] == k
    ]
    return table(f"By layer, {k} leading components.", columns, rows, sets)


def _added(changes: ChangeTable, sets: CaseSets) -> str:
    columns = [
        Column("layer"),
        Column("direction"),
        Column("share of the difference"),
        Column("words", kind="text wrap"),
    ]
    rows = [
        [
            _count(row["layer"]),
            _count(row["direction"] + 1),
            Cell(f"{row['share']:.1%}", row["share"]),
            Cell(row["words"]),
        ]
        for row in changes.rows
    ]
    caption = "Leading directions of the weight difference, as words of tuned's output embeddings."
    return _folded("What tuning added, in words", table(caption, columns, rows, sets))


def _settings(table: ChangeTable) -> str:
    said = ", ".join(
        f"{key} {value if isinstance(value, str | int | float) else json.dumps(value)}"
        for key, value in table.parameters.items()
        if value not in ([], None)
    )
    return f'<p class="muted">Settings: {html.escape(said)}.</p>'


def _folded(title: str, body: str) -> str:
    return f"<details><summary>{html.escape(title)}</summary>{body}</details>"


def _count(value: int) -> Cell:
    return Cell(str(value), value)
