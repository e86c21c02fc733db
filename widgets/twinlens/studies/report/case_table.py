"""The table of all cases of a study, which figures and numbers filter."""

from __future__ import annotations

import html
import math
from collections.abc import Sequence

from twinlens.studies.analysis.scoring import Score
from twinlens.studies.report import html_tables
from twinlens.studies.report.html_tables import Cell, Column
from twinlens.studies.report.report_page import figure_html


def cases_section(title: str, base: Sequence[Score], tuned: Sequence[Score], how: str = "") -> str:
    """All cases: two figures, the table, and room for one of them; `how` is HTML in front."""
    lengths = "Difference of the scores against the answer lengths."
    return (
        f'<h2 id="cases-title" tabindex="-1">{title}</h2>{how}<div class="figures">'
        f"{figure_html('scores', 'Score of each prompt.')}"
        f"{figure_html('lengths', lengths)}</div>"
        '<p id="filter"><span id="filter-note" role="status"></span> '
        '<button type="button" class="plain" id="clear" hidden>Show all</button></p>'
        f'{case_table(base, tuned)}<section id="case" aria-live="polite"></section>'
    )


def case_table(base: Sequence[Score], tuned: Sequence[Score]) -> str:
    """The table of all cases, which figures and numbers filter, as HTML."""
    columns = (
        Column("case", kind="text"),
        Column("group", kind="text"),
        Column("category", kind="text"),
        Column("this number", kind="own"),
        Column("base score"),
        Column("tuned score"),
        Column("tuned − base"),
        Column("prompt tokens"),
        Column("instruction tokens"),
        Column("base answer tokens"),
        Column("tuned answer tokens"),
        Column("rating"),
        Column("followed"),
    )
    cells = [_case_cells(a, b) for a, b in zip(base, tuned, strict=True)]
    # Columns that hold nothing are hidden; the page fills one of them when a point is clicked.
    empty = [not any(cell.text for cell in column) for column in zip(*cells, strict=True)]
    hidden = [" hidden" if nothing else "" for nothing in empty]
    head = "".join(
        f'<th scope="col" class="{column.kind}"{hide}>'
        f'<button type="button">{html.escape(column.title)}</button></th>'
        for column, hide in zip(columns, hidden, strict=True)
    )
    rows = []
    for score, row in zip(tuned, cells, strict=True):
        name = html.escape(score.id)
        first = f'<td class="text"><button type="button" class="open">{name}</button></td>'
        rest = "".join(
            f"<td{_class(column)}{html_tables.sort_value(cell)}{hide}>{html.escape(cell.text)}</td>"
            for column, cell, hide in list(zip(columns, row, hidden, strict=True))[1:]
        )
        rows.append(f'<tr data-id="{name}">{first}{rest}</tr>')
    return (
        f'<div id="cases" class="scroll" tabindex="0" role="region" aria-labelledby="cases-title">'
        f"<table><thead><tr>{head}</tr></thead><tbody>{''.join(rows)}</tbody></table></div>"
    )


def _class(column: Column) -> str:
    return f' class="{column.kind}"' if column.kind else ""


def _case_cells(base: Score, tuned: Score) -> list[Cell]:
    followed = "" if tuned.followed is None else ("yes" if tuned.followed else "no")
    scores = (base.score, tuned.score, tuned.score - base.score)
    if not tuned.instruction_length:
        scores = (math.nan,) * 3
    return [
        Cell(tuned.id),
        Cell(tuned.group),
        Cell(tuned.category),
        Cell("", math.nan),
        *(
            Cell(html_tables.number(value, form), value)
            for value, form in zip(scores, (".4f", ".4f", "+.4f"), strict=True)
        ),
        *(
            Cell(str(count), count)
            for count in (
                tuned.prompt_length,
                tuned.instruction_length,
                base.answer_length,
                tuned.answer_length,
            )
        ),
        Cell("", math.nan) if tuned.rating is None else Cell(str(tuned.rating), tuned.rating),
        Cell(followed),
    ]
