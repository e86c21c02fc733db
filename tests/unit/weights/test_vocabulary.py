"""Vocabularies and files of word vectors."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pytest
from twinlens.errors import VocabularyError
from twinlens.weights.vocabulary import (
    general_verbs,
    instruction_verbs,
    read_word_vectors,
    vocabulary,
)

GLOVE = "the 0.5 1 -2e-1\n. . . 1 2 3\nWrite 4 5 6\ndog 7 8 9\ndog 0 0 0\n"


def test_default_vocabulary_is_frequent_words_that_hold_a_letter() -> None:
    made = vocabulary(size=500)
    assert len(made.words) == 500
    assert made.words[:3] == ("the", "to", "and")
    assert all(any(character.isalpha() for character in word) for word in made.words)
    assert made.source.startswith("wordfreq ")
    assert vocabulary(language="de", size=10).words[:3] == ("die", "der", "und")
    with pytest.raises(VocabularyError, match="no word list for the language 'xx'"):
        vocabulary(language="xx")


def test_case_variants_are_merged_into_the_first_one_seen() -> None:
    made = vocabulary(["Write", "dog", "write ", " ", "DOG", "cat"])
    assert made.words == ("Write", "dog", "cat")
    with pytest.raises(VocabularyError, match="no word in the vocabulary"):
        vocabulary([" "])


def test_vocabulary_from_a_file(tmp_path: Path) -> None:
    path = tmp_path / "words.txt"
    path.write_text("# a comment\nthe 120\n\nécrire\t7\n", "utf-8")
    assert vocabulary(path).words == ("the", "écrire")
    assert vocabulary(str(path), size=1).words == ("the",)
    with pytest.raises(VocabularyError, match=r"none\.txt cannot be read \(No such file"):
        vocabulary(tmp_path / "none.txt")


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
def test_a_word_list_is_read_as_its_byte_order_mark_says(tmp_path: Path, encoding: str) -> None:
    path = tmp_path / "words.txt"
    path.write_bytes("the\r\n\r\nécrire 7\r\n".encode(encoding))
    assert vocabulary(path).words == ("the", "écrire")


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("the\n\nécrire\n".encode("latin-1"), r"line 3 of words\.txt is no UTF-8 text"),
        ("the\nécrire\n".encode("utf-16-le"), r"line 1 of words\.txt is no UTF-8 text"),
        (b"\xff\xfet\0\n\0\0\xd8\n\0", r"line 2 of words\.txt is no UTF-16 text"),
        (b"\x89PNG\r\n\x1a\n\x00\x00", r"line 1 of words\.txt is no UTF-8 text"),
        (b"# only\n\n \n# comments\n", r"no word in the vocabulary \(words\.txt\)"),
        (b"", r"no word in the vocabulary \(words\.txt\)"),
    ],
)
def test_a_file_that_is_no_word_list_is_refused_by_line(
    tmp_path: Path, content: bytes, says: str
) -> None:
    path = tmp_path / "words.txt"
    path.write_bytes(content)
    with pytest.raises(VocabularyError, match=says):
        vocabulary(path)


@pytest.mark.parametrize(
    "form", ["glove", "word2vec", "gzip", "trailing blanks", "mark and empty lines"]
)
def test_word_vectors_are_read_by_word_then_in_lower_case(tmp_path: Path, form: str) -> None:
    path = tmp_path / ("vectors.txt.gz" if form == "gzip" else "vectors.txt")
    text = f"5 3\n{GLOVE}" if form == "word2vec" else GLOVE
    if form == "trailing blanks":
        text = text.replace("\n", " \n")
    if form == "mark and empty lines":
        text = "\ufeff" + text.replace("\n", "\r\n\r\n")
    path.write_bytes(gzip.compress(text.encode()) if form == "gzip" else text.encode())
    read = read_word_vectors(path, ["THE", "write", "Write", "dog", ". . ."])
    np.testing.assert_array_equal(read.known, [True, False, True, True, True])
    np.testing.assert_allclose(
        read.vectors,
        [[0.5, 1, -0.2], [0, 0, 0], [4, 5, 6], [7, 8, 9], [1, 2, 3]],
        rtol=1e-7,
    )
    assert read.source == path.name


@pytest.mark.parametrize(
    ("content", "line"),
    [
        (b"\x89PNG\r\n\x1a\n\x00\x00", 1),
        (b"3000000 300\n\x00\x01\x02 garbage\xff more", 2),
        (b"just a sentence of words\n", 1),
        (b"word,0.1,0.2\n", 1),
        (b"the 1 2 3\ndog 4 5\n", 2),
        (b"", 1),
        (b"2 3\n", 1),
    ],
)
def test_a_file_without_vectors_is_named(tmp_path: Path, content: bytes, line: int) -> None:
    path = tmp_path / "vectors.txt"
    path.write_bytes(content)
    with pytest.raises(VocabularyError, match=rf"no GloVe or word2vec text file: line {line} "):
        read_word_vectors(path, ["the", "dog"])


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"the 1 2\ndog 1 nan\n", "line 2 of 'v.txt' has NaN or infinity"),
        (b"the 1 2\n\ndog inf 1\n", "line 3 of 'v.txt' has NaN or infinity"),
        (b"the 1 2\ndog 1e60 1\n", "line 2 of 'v.txt' has NaN or infinity"),
        ("été 1 2\ndog 3 4\n".encode("latin-1"), "line 1 of 'v.txt' is no UTF-8 text"),
        ("the 1 2\ndog 3 4\n".encode("utf-16"), "line 1 is not a word followed by"),
        (b"the 1 2\ndog 3 4 5\n", "line 2 of 'v.txt' has 3 numbers where the first has 2"),
        (b"\x1f\x8b\x08not gzip", "line 1"),
    ],
)
def test_vectors_that_would_be_misread_are_refused_by_line(
    tmp_path: Path, content: bytes, says: str
) -> None:
    path = tmp_path / "v.txt"
    path.write_bytes(content)
    with pytest.raises(VocabularyError, match=says):
        read_word_vectors(path, ["the", "dog"])


def test_vectors_that_are_missing_or_unreadable(tmp_path: Path) -> None:
    path = tmp_path / "vectors.txt"
    path.write_text(GLOVE)
    with pytest.raises(VocabularyError, match="a vector for none of the 1 words"):
        read_word_vectors(path, ["horse"])
    with pytest.raises(VocabularyError, match=r"'none\.txt' cannot be read"):
        read_word_vectors(tmp_path / "none.txt", ["the"])
    cut = tmp_path / "cut.gz"
    cut.write_bytes(gzip.compress(GLOVE.encode())[:-9])
    with pytest.raises(VocabularyError, match=r"'cut\.gz' cannot be read"):
        read_word_vectors(cut, ["the"])


@pytest.mark.slow
def test_word_lists_of_the_paper() -> None:
    verbs = instruction_verbs()
    assert len(verbs) == len(set(verbs)) == 38
    assert {"act", "write", "translate", "summarize"} <= set(verbs)
    general = general_verbs(200)
    assert len(general) == 200
    assert not set(general) & set(verbs)
    assert {"go", "run"} <= set(general)
    assert not {"is", "the", "can", "went", "table's", "people"} & set(general)
    assert "write" in general_verbs(200, exclude=())
