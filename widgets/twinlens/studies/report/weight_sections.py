"""Sections of the report about questions 2 and 3, from the tables of `weight_changes`."""

from __future__ import annotations

import html
import json
from collections.abc import Iterable

from twinlens.studies.analysis.weight_changes import shown_components
from twinlens.studies.data.change_tables import Changes, ChangeTable, TableName
from twinlens.studies.report.html_tables import CaseSets, Cell, Column, number, table, tint
from twinlens.studies.report.report_page import figure_html

#: Words per list in the report; the files of the study hold all.
SHOWN_WORDS = 60
_LABELS: dict[TableName, str] = {
    "task": "Which user tasks do the concepts serve?",
    "level": "On which linguistic levels do the concepts lie?",
}


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
