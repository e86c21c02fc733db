"""Data sets in: every form gives the same rows; bad rows are set aside."""

from __future__ import annotations

import csv
import json

import pytest
from twinlens.errors import DataError
from twinlens.studies.data.rows import Problem, StudyRow, collect_rows, read_rows, usable

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


def as_json(path):
    path.write_text(json.dumps(RECORDS, indent=1))


def recoded(write, encoding):
    def written(path):
        write(path)
        path.write_bytes(path.read_text().replace("\n", "\r\n").encode(encoding))

    return written


def as_semicolons(path):
    as_csv(path)
    rows = list(csv.reader(path.open(newline="")))
    with path.open("w", newline="") as file:
        csv.writer(file, delimiter=";").writerows(rows)


@pytest.mark.parametrize(
    ("name", "write"),
    [
        ("d.jsonl", as_jsonl),
        ("d.csv", as_csv),
        ("d.parquet", as_parquet),
        ("d.json", as_json),
        ("lines.json", as_jsonl),
        ("mark.jsonl", recoded(as_jsonl, "utf-8-sig")),
        ("wide.jsonl", recoded(as_jsonl, "utf-16")),
        ("mark.json", recoded(as_json, "utf-8-sig")),
        ("mark.CSV", recoded(as_csv, "utf-8-sig")),
        ("wide.csv", recoded(as_csv, "utf-16")),
        ("semicolons.csv", as_semicolons),
    ],
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
        ({"question": "Why?"}, r"columns=\{'prompt': ...\} \(question\)"),
        ({"prompt": "half \ud83d"}, "lone surrogate"),
        ({"messages": [{"role": "assistant", "content": "Hi"}]}, "no text before the first reply"),
        ({"messages": ["Hi"]}, "message 1 of its chat is no text with its role"),
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


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("d.jsonl", '{"prompt": "a"}\n{"prompt": "é"}'.encode("latin-1"), "line 2 of d.jsonl"),
        ("d.csv", "prompt\na\né\n".encode("latin-1"), "line 3 of d.csv is no UTF-8 text"),
        ("d.csv", b'prompt\na\n"b\nc\n', "d.csv cannot be read from line 3 on"),
        ("d.json", b'[{"prompt": "a"}', "d.json is no JSON"),
        ("d.jsonl", '{"prompt": "a"}'.encode("utf-16-le"), "line 1 of d.jsonl"),
    ],
)
def test_a_file_that_would_be_misread_is_refused_by_name_and_line(tmp_path, name, content, message):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=message):
        list(read_rows(tmp_path / name))


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ([], "the data hold no row"),
        ([{"text": "a"}, {"text": "b"}], "none of the 2 rows can be used; row 1: .*columns="),
    ],
)
def test_data_without_a_usable_row_are_refused(data, message):
    with pytest.raises(DataError, match=message):
        usable(read_rows(data))


def test_usable_rows_are_the_same_rows():
    data = [3, "a", 4, "b"]
    assert list(usable(read_rows(data))) == list(read_rows(data))


@pytest.mark.parametrize(
    ("record", "note"),
    [
        ({"instruction": "Name it.", "input": "a city", "output": "Paris"}, "Alpaca"),
        ({"instruction": "Name it.", "context": "a city", "response": "Paris"}, "Alpaca"),
        (
            {
                "conversations": [
                    {"from": "system", "value": "Name it."},
                    {"from": "human", "value": "a city"},
                    {"from": "gpt", "value": "Paris"},
                    {"from": "human", "value": "and now?"},
                ]
            },
            "'conversations' is read as a chat",
        ),
        (
            {
                "prompt": [
                    {"role": "user", "content": [{"type": "text", "text": "Name it.\n\na city"}]},
                    {"role": "assistant", "content": "Paris"},
                ]
            },
            "'prompt' is read as a chat",
        ),
    ],
)
def test_well_known_forms_are_understood_and_said(record, note):
    with pytest.warns(UserWarning, match=note):
        rows, problems = collect_rows([record, record])
    assert not problems
    assert (rows[0].prompt, rows[0].answer) == ("Name it.\n\na city", "Paris")
    marked = [rows[0].prompt[slice(*span)] for span in (*rows[0].instruction, *rows[0].context)]
    assert marked == (["Name it.", "a city"] if "instruction" in record else [rows[0].prompt])


def test_columns_must_name_columns():
    with pytest.raises(DataError, match="renames 'question', but the columns are prompt"):
        collect_rows([{"question": "a"}], columns={"question": "prompt"})
