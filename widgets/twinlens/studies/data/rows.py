"""Data sets in: many forms to one kind of row; bad rows set aside with their number.

Columns (others are ignored; `columns` renames):

==================  ============================================================================
``prompt``          the text both models get (the only one that must be there)
``instruction``     the marked instruction: text of the prompt, a list of texts, or a list of
                    ``[start, end)`` code points; nothing marked means the whole prompt
``context``         the marked context, in the same forms
``annotation``      ``fragment|||fragment&&&context``, widened to sentences; in place of the two
``id``              a name for the case (default: the row's number)
``group``           the data set or kind it belongs to; ``dataset`` is read too
``category``        a finer division
``answer``          a given answer, for both models
``rating``          judgement of tuned's answer, 1 (not followed) to 4; -1 or nothing: not judged
``followed``        true or false, in place of ``rating``
==================  ============================================================================

In CSV files lists are written as JSON. Rows without a prompt in a well-known form, such as Alpaca's
or a chat, are understood, see `twinlens.studies.data.row_forms`; a warning says so.
"""

from __future__ import annotations

import csv
import json
import math
import sys
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

from twinlens.errors import DataError, PromptError
from twinlens.studies.data.row_forms import find_span, known_form, parse_annotation, widen
from twinlens.support.text_files import text_lines
from twinlens.traces.marks import CharacterSpan

_COLUMNS = (
    *("prompt", "instruction", "context", "annotation", "id", "group", "dataset", "category"),
    *("answer", "rating", "followed"),
)
_TRUE, _FALSE = {"true", "yes", "1"}, {"false", "no", "0"}


@dataclass(frozen=True)
class StudyRow:
    """One prompt of a data set.

    Attributes
    ----------
    number : int
        Its place in the data, from 1.
    id : str
    prompt : str
    instruction : tuple of CharacterSpan
        The instruction, widened to sentences where it came from an annotation.
    fragments : tuple of CharacterSpan
        The instruction as it was marked.
    context : tuple of CharacterSpan
    group, category : str
    answer : str or None
        A given answer.
    rating : int or None
        1 .. 4, of tuned's answer.
    followed : bool or None
        Whether tuned's answer follows the instruction: rating 2 or more.
    """

    number: int
    id: str
    prompt: str
    instruction: tuple[CharacterSpan, ...] = ()
    fragments: tuple[CharacterSpan, ...] = ()
    context: tuple[CharacterSpan, ...] = ()
    group: str = "all"
    category: str = ""
    answer: str | None = None
    rating: int | None = None
    followed: bool | None = None


@dataclass(frozen=True)
class Problem:
    """A row that was set aside: its number (from 1) and what was wrong with it."""

    number: int
    message: str


def read_rows(
    source: Any,
    *,
    columns: Mapping[str, str] | None = None,
    published_quirk: bool = True,
) -> Iterator[StudyRow | Problem]:
    """Read a data set row by row.

    Parameters
    ----------
    source : path, sequence, `datasets` object or pandas frame
        A ``.jsonl``, ``.json``, ``.csv``, ``.tsv`` or ``.parquet`` file, text as UTF-8 or with a
        byte order mark; or an iterable of prompts or of mappings with the columns above.
    columns : mapping, optional
        From a column name above to the name it has in the data.
    published_quirk : bool
        See `twinlens.studies.data.row_forms.widen`.

    Yields
    ------
    StudyRow or Problem
        One for each row of the data, in order.

    Raises
    ------
    DataError
        If the data as a whole cannot be read.

    Examples
    --------
    >>> from twinlens.studies import read_rows
    >>> [type(row).__name__ for row in read_rows(["Name a city.", {"question": "Why?"}])]
    ['StudyRow', 'Problem']
    """
    columns = {} if columns is None else columns
    if not isinstance(columns, Mapping):
        raise DataError("columns= is a mapping: write {'prompt': 'name in the data'}")
    unknown = [name for name in columns if name not in _COLUMNS]
    if unknown:
        raise DataError(
            f"columns= renames {', '.join(map(repr, unknown))}, but the columns are "
            f"{', '.join(_COLUMNS)}: write {{'prompt': 'name in the data'}}"
        )
    seen: set[str] = set()
    notes: set[str] = set()
    for number, record in enumerate(raw_records(source), start=1):
        try:
            if isinstance(record, Exception):
                raise DataError(f"it cannot be read ({record}): correct the line")
            form = (
                known_form(record)
                if isinstance(record, Mapping) and "prompt" not in columns
                else None
            )
            if form:
                note, record = form
                if note not in notes:
                    notes.add(note)
                    warnings.warn(note, stacklevel=2)
            row = _row(number, record, columns, published_quirk)
            if row.id in seen:
                raise DataError(f"its id {row.id!r} was used before: give every row its own")
            seen.add(row.id)
            yield row
        except (DataError, PromptError) as error:
            yield Problem(number, str(error))


def collect_rows(source: Any, **options: Any) -> tuple[list[StudyRow], list[Problem]]:
    """Read a whole data set with `read_rows`: the good rows, and the report on the bad ones.

    Parameters
    ----------
    source : path, sequence, `datasets` object or pandas frame
        As `read_rows` takes it.
    **options
        ``columns`` and ``published_quirk`` of `read_rows`.

    Returns
    -------
    list of StudyRow, list of Problem
        Each in the order of the data.

    Raises
    ------
    DataError
        If the data as a whole cannot be read.

    Examples
    --------
    >>> from twinlens.studies import collect_rows
    >>> rows, problems = collect_rows([{"q": "Name a city."}], columns={"prompt": "q"})
    >>> rows[0].prompt, problems
    ('Name a city.', [])
    """
    items = list(read_rows(source, **options))
    return (
        [item for item in items if isinstance(item, StudyRow)],
        [item for item in items if isinstance(item, Problem)],
    )


def raw_records(source: Any) -> Iterator[Any]:
    """Rows of a file, sequence or frame as they are; a line that cannot be read is its error.

    Raises
    ------
    DataError
        If the data as a whole cannot be read.
    """
    if isinstance(source, (str, Path)):
        path = Path(source)
        if not path.is_file():
            raise DataError(f"there is no data file {path}: check the path")
        readers = {".jsonl": _jsonl, ".ndjson": _jsonl, ".json": _json, ".parquet": _parquet}
        readers |= {".csv": _delimited, ".tsv": _delimited}
        suffix = path.suffix.lower()
        if suffix not in readers:
            raise DataError(f"{path.name} is none of {', '.join(readers)}: convert it to one")
        yield from readers[suffix](path)
    elif hasattr(source, "to_dict") and hasattr(source, "columns"):  # a pandas frame
        yield from (
            {
                key: value.tolist() if hasattr(value, "tolist") else value
                for key, value in record.items()
                if not (isinstance(value, float) and math.isnan(value))
            }
            for record in source.to_dict("records")
        )
    elif isinstance(source, Mapping) or not isinstance(source, Iterable):
        raise DataError(
            f"data of type {type(source).__name__} is no list of prompts: give a file, a list, "
            "or one split of a data set"
        )
    else:
        yield from source


def usable(rows: Iterable[StudyRow | Problem]) -> Iterator[StudyRow | Problem]:
    """The same rows, once it is known that one of them can be used.

    Raises
    ------
    DataError
        If there is no such row; at once, before the first is asked for.
    """
    items = iter(rows)
    problems: list[Problem] = []
    for item in items:
        if isinstance(item, StudyRow):
            return chain(problems, [item], items)
        problems.append(item)
    raise no_row(problems)


def no_row(problems: Sequence[Problem]) -> DataError:
    """What to raise for data without a row that can be used."""
    if not problems:
        return DataError("the data hold no row: give at least one prompt")
    first = problems[0]
    return DataError(
        f"none of the {len(problems)} rows can be used; row {first.number}: {first.message}"
    )


def _jsonl(path: Path) -> Iterator[Any]:
    for number, line in enumerate(text_lines(path, DataError), 1):
        if line.strip():
            try:
                yield json.loads(line)
            except (ValueError, RecursionError) as error:
                yield ValueError(f"line {number}: {error}")


def _json(path: Path) -> Iterator[Any]:
    """A list of rows; what does not begin as one is taken for JSON lines."""
    text = "".join(text_lines(path, DataError))
    if not text.lstrip().startswith("["):
        yield from _jsonl(path)
        return
    try:
        yield from json.loads(text)
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path.name} is no JSON ({error}): repair it") from error


def _delimited(path: Path) -> Iterator[Any]:
    csv.field_size_limit(sys.maxsize)
    lines = text_lines(path, DataError)
    header = next(lines, "")
    delimiter = "\t" if path.suffix.lower() == ".tsv" else ","
    if delimiter not in header and ";" in header:
        delimiter = ";"  # as spreadsheets write where the comma is in numbers
    table = csv.DictReader(chain([header], lines), delimiter=delimiter, strict=True)
    try:
        for record in table:
            if None in record or None in record.values():
                yield ValueError(
                    f"line {table.line_num}: it has more or fewer cells than the header"
                )
                continue
            yield {key: _cell(value) for key, value in record.items() if value != ""}
    except csv.Error as error:
        raise DataError(
            f"{path.name} cannot be read from line {table.line_num + 1} on ({error}): repair it"
        ) from error


def _cell(value: str) -> Any:
    if value.startswith("["):
        try:
            return json.loads(value)
        except ValueError:
            return value
    return value


def _parquet(path: Path) -> Iterator[Any]:
    import pyarrow
    import pyarrow.parquet as parquet

    try:
        with parquet.ParquetFile(path) as file:
            for batch in file.iter_batches(batch_size=64):
                yield from batch.to_pylist()
    except pyarrow.ArrowException as error:
        raise DataError(f"{path.name} is no Parquet file ({error}): write it again") from error


def _row(number: int, record: Any, columns: Mapping[str, str], quirk: bool) -> StudyRow:
    if isinstance(record, str):
        record = {"prompt": record}
    if not isinstance(record, Mapping):
        raise DataError(f"it is a {type(record).__name__}: give a prompt or a mapping of columns")

    def get(name: str) -> Any:
        return record.get(columns.get(name, name))

    prompt = get("prompt")
    if not isinstance(prompt, str) or not prompt.strip():
        name = columns.get("prompt", "prompt")
        others = ", ".join(str(key) for key in record if key != name)[:200]
        raise DataError(
            f"it has no text in column {name!r}: write the prompt there"
            + (f", or name its column with columns={{'prompt': ...}} ({others})" if others else "")
        )
    if not prompt.isascii() and any("\ud800" <= c <= "\udfff" for c in prompt):
        raise DataError("its prompt holds half a character (a lone surrogate): repair the text")
    annotation = get("annotation")
    if annotation:
        marked, around = parse_annotation(str(annotation))
        fragments = tuple(find_span(prompt, text) for text in marked)
        context = tuple(find_span(prompt, text) for text in around)
        instruction = tuple(widen(prompt, marked, published_quirk=quirk))
    else:
        instruction = fragments = _spans(prompt, get("instruction"), "instruction")
        context = _spans(prompt, get("context"), "context")
    rating, followed = judgement(get("rating"), get("followed"))
    answer = get("answer")
    if answer is not None and (not isinstance(answer, str) or not answer):
        raise DataError("its answer is not text: write text or leave the column out")
    given = get("id")
    group = get("group") if get("group") is not None else get("dataset")
    return StudyRow(
        number=number,
        id=str(number) if given is None else str(given),
        prompt=prompt,
        instruction=instruction or ((0, len(prompt)),),
        fragments=fragments or ((0, len(prompt)),),
        context=context,
        group="all" if group is None else str(group),
        category=str(get("category") or ""),
        answer=answer,
        rating=rating,
        followed=followed,
    )


def _spans(prompt: str, marked: Any, name: str) -> tuple[CharacterSpan, ...]:
    if marked is None or marked == "":
        return ()
    items = [marked] if isinstance(marked, str) else marked
    if not isinstance(items, Sequence):
        raise DataError(f"its {name} is a {type(marked).__name__}: mark text or code points")
    if len(items) == 2 and all(isinstance(item, int) for item in items):
        items = [items]
    return tuple(
        find_span(prompt, item) if isinstance(item, str) else _offsets(prompt, item, name)
        for item in items
    )


def _offsets(prompt: str, item: Any, name: str) -> CharacterSpan:
    try:
        start, end = (int(value) for value in item)
    except (TypeError, ValueError) as error:
        raise DataError(
            f"its {name} holds {item!r}: mark text or pairs of code points [start, end)"
        ) from error
    if not 0 <= start < end <= len(prompt):
        raise DataError(
            f"its {name} span [{start}, {end}) does not lie in the {len(prompt)} characters of "
            "the prompt: count code points from 0"
        )
    return start, end


def judgement(rating: Any, followed: Any) -> tuple[int | None, bool | None]:
    """Rating 1 to 4 and whether the instruction is followed, from what stands in the data.

    Raises
    ------
    DataError
        If it is neither.
    """
    if rating not in (None, "", -1, "-1"):
        try:
            number = int(float(rating))
        except (TypeError, ValueError) as error:
            raise DataError(f"its rating {rating!r} is no number from 1 to 4") from error
        if number not in (1, 2, 3, 4) or number != float(rating):
            raise DataError(f"its rating {rating!r} is not 1, 2, 3 or 4 (or -1 for not judged)")
        return number, number >= 2
    if followed in (None, ""):
        return None, None
    word = str(followed).strip().lower()
    if word not in _TRUE | _FALSE:
        raise DataError(f"its followed value {followed!r} is neither true nor false")
    return None, word in _TRUE
