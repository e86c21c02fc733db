"""Data sets in: every form gives the same rows; bad rows are set aside."""

from __future__ import annotations

import csv
import json

import pytest
from twinlens.errors import DataError
from twinlens.studies.data.rows import Problem, StudyRow, collect_rows, read_rows

RECORDS = [
    {
        "id": "a",
        "prompt": "Say it. The dog sleeps.",
        "instruction": "Say it.",
        "context": [[8, 23]],
        "group": "g1",
        "category": "c",
        "answer": "It.",
        "rating": 4,
    },
    {
        "id": "b",
        "prompt": "Be brief. Say hi.",
        "instruction": ["Be brief.", "Say hi."],
        "group": "g2",
        "rating": -1,
    },
    {"id": "c", "prompt": "Only a prompt"},
]


def as_jsonl(path):
    path.write_text("\n".join(json.dumps(record) for record in RECORDS) + "\n\n")


def as_csv(path):
    names = ["id", "prompt", "instruction", "context", "group", "category", "answer", "rating"]
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(names)
        for record in RECORDS:
            cells = [record.get(name, "") for name in names]
            writer.writerow([json.dumps(c) if isinstance(c, list) else c for c in cells])


def as_parquet(path):
    pytest.importorskip("pyarrow")
    import pyarrow
    from pyarrow import parquet

    records = [
        {**record, "instruction": [record["instruction"]]}
        if isinstance(record.get("instruction"), str)
        else record
        for record in RECORDS
    ]
    names = {name for record in records for name in record}
    rows = [{name: record.get(name) for name in names} for record in records]
    parquet.write_table(pyarrow.Table.from_pylist(rows), path)


@pytest.mark.parametrize(
    ("name", "write"),
    [("d.jsonl", as_jsonl), ("d.csv", as_csv), ("d.parquet", as_parquet)],
)
def test_files_give_the_rows_of_the_list(tmp_path, name, write):
    write(tmp_path / name)
    expected, none = collect_rows(RECORDS)
    assert not none
    assert collect_rows(tmp_path / name) == (expected, [])
    first, second, third = expected
    assert first.instruction == ((0, 7),)
    assert first.context == ((8, 23),)
    assert (first.rating, first.followed, second.rating, second.followed) == (4, True, None, None)
    assert second.instruction == ((0, 9), (10, 17))
    assert third.instruction == third.fragments == ((0, 13),)
    assert (third.group, first.category, first.answer) == ("all", "c", "It.")


def test_a_frame_gives_the_rows_of_the_list():
    pandas = pytest.importorskip("pandas")
    assert collect_rows(pandas.DataFrame(RECORDS)) == collect_rows(RECORDS)


def test_an_annotation_is_widened():
    prompt = "Be kind. Say why now.\nInput: a dog"
    rows, problems = collect_rows([{"prompt": prompt, "annotation": "why&&&a dog"}])
    assert not problems
    assert [prompt[slice(*span)] for span in rows[0].instruction] == ["Say why now."]
    assert [prompt[slice(*span)] for span in rows[0].fragments] == ["why"]
    assert [prompt[slice(*span)] for span in rows[0].context] == ["a dog"]


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ({"text": "x"}, "column 'prompt'"),
        ({"prompt": 3}, "column 'prompt'"),
        ({"prompt": "abc", "instruction": "xyz"}, "'xyz' is marked"),
        ({"prompt": "abc", "instruction": [[0, 9]]}, r"\[0, 9\) does not lie in the 3"),
        ({"prompt": "abc", "instruction": [{"a": 1}]}, "pairs of code points"),
        ({"prompt": "abc", "rating": 7}, "is not 1, 2, 3 or 4"),
        ({"prompt": "abc", "rating": "good"}, "is no number"),
        ({"prompt": "abc", "followed": "maybe"}, "neither true nor false"),
        ({"prompt": "abc", "answer": ""}, "answer is not text"),
        ({"prompt": "abc", "id": "1"}, "'1' was used before"),
        (17, "it is a int"),
    ],
)
def test_a_bad_row_is_set_aside_with_its_number(bad, message):
    rows, problems = collect_rows(["good", bad, "good too"])
    assert [row.number for row in rows] == [1, 3]
    assert [problem.number for problem in problems] == [2]
    assert isinstance(problems[0], Problem)
    with pytest.raises(AssertionError, match=message):
        raise AssertionError(problems[0].message)


def test_a_broken_line_is_set_aside(tmp_path):
    path = tmp_path / "d.jsonl"
    path.write_text('{"prompt": "a"}\n{"prompt": \n{"prompt": "b"}\n')
    kinds = [type(item) for item in read_rows(path)]
    assert kinds == [StudyRow, Problem, StudyRow]
    (tmp_path / "d.csv").write_text("prompt,group\na,g\nb\nc,g,x\nd,h\n")
    assert [type(item) for item in read_rows(tmp_path / "d.csv")] == [
        StudyRow,
        Problem,
        Problem,
        StudyRow,
    ]


def test_columns_can_have_other_names():
    rows, _ = collect_rows(
        [{"question": "Why?", "kind": "k"}], columns={"prompt": "question", "group": "kind"}
    )
    assert (rows[0].prompt, rows[0].group) == ("Why?", "k")


@pytest.mark.parametrize(
    ("source", "message"),
    [("nowhere.jsonl", "no data file"), ({"train": []}, "no list of prompts"), (3, "no list")],
)
def test_data_that_cannot_be_read_at_all(source, message):
    with pytest.raises(DataError, match=message):
        list(read_rows(source))


def test_other_files_are_refused(tmp_path):
    for name, message in [("d.xlsx", "is none of"), ("d.parquet", "is no Parquet file")]:
        (tmp_path / name).write_text("x")
        with pytest.raises(DataError, match=message):
            list(read_rows(tmp_path / name))
