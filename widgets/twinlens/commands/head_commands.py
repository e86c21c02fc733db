"""Command ``twinlens heads``: word pairs of attention heads from the files of two models."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from twinlens.commands.options import (
    COUNT,
    PATH,
    TEXT,
    ModelFiles,
    bar,
    device_option,
    file_options,
    json_option,
    output_file,
    valued,
)
from twinlens.commands.result_files import write_figure

if TYPE_CHECKING:
    from twinlens.weights.head_words import HeadWords
    from twinlens.weights.word_pair_table import RiseTable


@click.command()
@click.option("--words", type=PATH, help="File with one word per line.")
@click.option("--vectors", type=PATH, help="GloVe or word2vec text file.")
@click.option("--top", type=COUNT, help="K, words per neuron and side.")
@valued("--z", kind=float, default=1.96, about="Of the threshold.")
@valued(
    "--frequent",
    kind=COUNT,
    default=3000,
    about="Most frequent words that the threshold is taken over.",
)
@valued("--layers", "group", kind=COUNT, default=8, about="Layers per group of the table.")
@click.option(
    "--list",
    "lists",
    type=(str, PATH),
    multiple=True,
    metavar="NAME FILE",
    help="Word list; later ones are tested against the first.",
)
@click.option("--word", type=TEXT, help="Only say in which heads the pairs of this word changed.")
@output_file(".html", ".csv", about=".html: the figure; .csv: the pairs of all heads.")
@file_options
@device_option
@json_option
def heads(
    models: ModelFiles,
    words: Path | None,
    vectors: Path | None,
    group: int,
    lists: tuple[tuple[str, Path], ...],
    word: str | None,
    output: Path | None,
    as_json: bool,
    **settings: Any,
) -> None:
    """Say which words the heads of TUNED put together more often than those of BASE.

    Reads the weights of two models (hub ids, folders or safetensors files) layer by layer, finds
    the word pairs of every head, and counts how often the words of some lists rise (table 3 of Wu
    et al. 2310.00492): by default instruction verbs against general verbs.
    """
    from twinlens.compute.heads.search import stored_search
    from twinlens.weights.vocabulary import vocabulary

    word_lists = {name: vocabulary(path).words for name, path in lists}
    search = stored_search(words=words, cooccurrence=vectors, **vars(models), **settings)
    with bar("word pairs") as report:
        head_words = search.find(None, report)
    if word is not None:
        rows = head_words.word(word)
        click.echo(json.dumps(rows, ensure_ascii=False) if as_json else _heads_of(word, rows))
        return
    table = head_words.table(word_lists or None, group=group)
    if output is not None:
        _write(head_words, table, output)
    if as_json:
        result = {
            "rows": table.rows,
            "hypothesis": table.hypothesis,
            "parameters": table.parameters,
            "heads_changed": head_words.heads_changed,
        }
        click.echo(json.dumps(result, ensure_ascii=False, indent=2))
    else:
        click.echo(as_text(head_words, table))


def as_text(head_words: HeadWords, table: RiseTable) -> str:
    """The table for a terminal."""
    settings = table.parameters
    width = max(len(row["list"]) for row in table.rows)
    lines = [f"{'layers':8}{'words of':{width + 2}}{'rise in':>8}{'words':>7}{'absent':>8}{'p':>9}"]
    for row in table.rows:
        share, p = (
            f"{row['share']:.1%}" if row["share"] is not None else "-",
            f"{row['p']:.3g}" if row["p"] is not None else "",
        )
        lines.append(
            f"{row['layers']:8}{row['list']:{width + 2}}{share:>8}{row['words']:>7}"
            f"{row['absent']:>8}{p:>9}"
        )
    heads = len(head_words.base.layers) * head_words.base.heads
    return "\n".join(
        [
            *lines,
            "",
            "rise in: share of the changed heads in which a word is in more pairs, mean over words",
            f"p: that {table.hypothesis}",
            f"{head_words.heads_changed} of {heads} heads changed; K = {settings['top']}, "
            f"z = {settings['z']}, {settings['words']:,} words ({settings['vocabulary']}), "
            f"{len(settings['words_without_vectors'])} left out",
            f"co-occurrence: {settings['cooccurrence']}, "
            f"{settings['words_without_cooccurrence']} words without a vector",
        ]
    )


def _heads_of(word: str, rows: list[dict[str, Any]]) -> str:
    if not rows:
        return f"{word}: its pairs changed in no head"
    lines = [f"{'head':8}{'base':>6}{'tuned':>7}  partners"]
    for row in rows:
        partners = [
            *(f"+{partner}" for partner in row["gained"]),
            *(f"-{partner}" for partner in row["lost"]),
        ]
        head = f"{row['layer']}.{row['head']}"
        lines.append(f"{head:8}{row['base']:>6}{row['tuned']:>7}  {' '.join(partners)}")
    return "\n".join(lines)


def _write(head_words: HeadWords, table: RiseTable, output: Path) -> None:
    if output.suffix == ".csv":
        head_words.to_frame().to_csv(output, index=False)
        return
    from twinlens.figures.paper_figures import rise_figure

    title = f"Word pairs of {head_words.base.model} and {head_words.tuned.model}"
    write_figure(output, rise_figure(table), title)
