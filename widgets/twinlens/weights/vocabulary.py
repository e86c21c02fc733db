"""Words to describe models with, and vectors that say which of them may occur together.

Vocabularies come from `wordfreq`, a file or a list; vectors from a GloVe or word2vec text file.
"""

from __future__ import annotations

import codecs
import gzip
import os
import zlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from importlib.resources import files
from pathlib import Path
from typing import IO, Any

import numpy as np

from twinlens.contract.wire import Array
from twinlens.errors import VocabularyError
from twinlens.support.progress import Report
from twinlens.support.text_files import text_lines

#: Words of the default vocabulary; the paper used 26,473 words of ShareGPT conversations.
SIZE = 20_000


@dataclass(frozen=True)
class Vocabulary:
    """Words without case variants, the most frequent first.

    Attributes
    ----------
    words : tuple of str
    source : str
        Where they come from, for people.
    """

    words: tuple[str, ...] = field(repr=False)
    source: str


@dataclass(frozen=True)
class WordVectors:
    """One vector per word of a vocabulary.

    Attributes
    ----------
    vectors : float array, shape [words, d]
        Rows of words without a vector are zero.
    known : bool array, shape [words]
        Whether a word has a vector.
    source : str
        Where they come from, for people.
    """

    vectors: Array = field(repr=False)
    known: Array = field(repr=False)
    source: str


def vocabulary(
    words: str | os.PathLike[str] | Iterable[str] | None = None,
    *,
    language: str = "en",
    size: int = SIZE,
) -> Vocabulary:
    """Make a vocabulary.

    Parameters
    ----------
    words : path or iterable of str, optional
        A file with one word per line, the most frequent first (further columns after white space
        and lines that start with ``#`` are ignored), or the words themselves.
        By default the most frequent words of `wordfreq` that contain a letter.
    language : str
        Language code for `wordfreq`.
    size : int
        Keep at most so many words.

    Raises
    ------
    VocabularyError
        If the file cannot be read as text, `wordfreq` is missing or does not know the language,
        or no word remains.
    """
    if words is None:
        candidates, source = (
            _wordfreq(language, size),
            f"wordfreq {version('wordfreq')}, {language}",
        )
    elif isinstance(words, str | os.PathLike):
        candidates, source = _read_words(Path(words)), Path(words).name
    elif isinstance(words, Iterable):
        candidates, source = list(words), "words of the caller"
    else:
        raise VocabularyError(f"words are a file or a list, not a {type(words).__name__}")
    wrong = next((word for word in candidates if not isinstance(word, str)), None)
    if wrong is not None:
        raise VocabularyError(f"the words hold {wrong!r}, which is no text: leave it out")
    # Case variants are merged into the first one seen, as the paper's code does.
    unique: dict[str, str] = {}
    for word in candidates:
        if word.strip():
            unique.setdefault(word.strip().lower(), word.strip())
    if not unique:
        raise VocabularyError(f"there is no word in the vocabulary ({source})")
    return Vocabulary(tuple(unique.values())[:size], source)


def _wordfreq(language: str, size: int) -> list[str]:
    wordfreq = _import_wordfreq()
    try:
        # A tenth more than asked for makes up for numbers and signs, which hold no letter.
        frequent = wordfreq.top_n_list(language, size + size // 10 + 100)
    except LookupError as error:
        raise VocabularyError(
            f"wordfreq has no word list for the language {language!r}; give a file or a list of "
            "words instead"
        ) from error
    return [word for word in frequent if any(map(str.isalpha, word))]


def _import_wordfreq() -> Any:
    try:
        import wordfreq
    except ImportError as error:
        raise VocabularyError(
            "the default vocabulary needs wordfreq: `pip install wordfreq`, or give a file or a "
            "list of words"
        ) from error
    return wordfreq


def _read_words(path: Path) -> list[str]:
    lines = [line.split() for line in text_lines(path, VocabularyError)]
    return [fields[0] for fields in lines if fields and not fields[0].startswith("#")]


def instruction_verbs() -> tuple[str, ...]:
    """The 38 instruction verbs of the paper's analysis."""
    text = (files("twinlens") / "data" / "instruction_verbs.txt").read_text("utf-8")
    return tuple(line for line in text.splitlines() if not line.startswith("#"))


def general_verbs(size: int = 3000, exclude: Sequence[str] | None = None) -> tuple[str, ...]:
    """English verbs, the most used first, to compare instruction verbs with.

    The paper takes the first lemmas of WordNet's verb synsets, the most frequent by `wordfreq`.
    Here they are the base forms that the lexicon of `lemminflect` (NIH SPECIALIST) lists as verbs
    and not as auxiliaries. They are ranked by how frequent their past tense is, because the base
    form would put words such as "time" and "people" first, which are rarely used as verbs.

    Parameters
    ----------
    size : int
        At most so many; the paper uses 3,000.
    exclude : sequence of str, optional
        Words to leave out; by default `instruction_verbs`.

    Raises
    ------
    VocabularyError
        If `lemminflect` or `wordfreq` is not installed.
    """
    try:
        from lemminflect import getAllLemmas, getInflection
    except ImportError as error:
        raise VocabularyError(
            "general verbs need lemminflect: `pip install lemminflect`, or give your own list"
        ) from error
    wordfreq = _import_wordfreq()
    excluded = set(instruction_verbs() if exclude is None else exclude)
    use: dict[str, float] = {}
    for word in wordfreq.top_n_list("en", 30_000):
        lemmas = getAllLemmas(word) if word.isalpha() and word not in excluded else {}
        if word in lemmas.get("VERB", ()) and "AUX" not in lemmas:
            past = getInflection(word, "VBD", inflect_oov=False)
            use[word] = wordfreq.word_frequency(past[0], "en") if past else 0.0
    return tuple(sorted(use, key=lambda word: -use[word])[:size])


def read_word_vectors(
    path: str | os.PathLike[str], words: Sequence[str], report: Report | None = None
) -> WordVectors:
    """Vectors of some words from a GloVe or word2vec text file, plain or gzipped.

    A word is looked up as it is, then in lower case; of several vectors the first counts. Empty
    lines are left out. The file is streamed: only the vectors of `words` are kept.

    Parameters
    ----------
    path : path
        Lines of a word and its numbers, with or without word2vec's first line of two counts.
    words : sequence of str
    report : callable, optional
        Told how many bytes of the file are read.

    Raises
    ------
    VocabularyError
        If the file is no such file, is no UTF-8 text, has NaN or infinity in a vector, or holds
        none of the words; the message names the line.
    """
    path = Path(path)
    forms = {form.encode() for word in words for form in (word, word.lower())}
    vectors_by_word: dict[bytes, Array] = {}
    try:
        with path.open("rb") as raw:
            stream = gzip.GzipFile(fileobj=raw) if path.suffix == ".gz" else raw
            size = path.stat().st_size
            for word, vector in _lines(stream, path.name, forms):
                vectors_by_word.setdefault(word, vector)
                if report is not None and len(vectors_by_word) % 1000 == 0:
                    report(raw.tell(), size, f"reading {path.name}")
    except (OSError, EOFError, zlib.error) as error:
        raise VocabularyError(f"{path.name!r} cannot be read ({error})") from error
    rows = [
        vectors_by_word.get(word.encode(), vectors_by_word.get(word.lower().encode()))
        for word in words
    ]
    known = np.array([row is not None for row in rows])
    if not known.any():
        raise VocabularyError(f"{path.name!r} holds a vector for none of the {len(words):,} words")
    vectors = np.zeros((len(words), len(next(iter(vectors_by_word.values())))), np.float32)
    vectors[known] = [row for row in rows if row is not None]
    return WordVectors(vectors, known, path.name)


def _lines(
    stream: IO[bytes] | gzip.GzipFile, name: str, forms: set[bytes]
) -> Iterator[tuple[bytes, Array]]:
    """Wanted words and their vectors; a word may hold blanks, so numbers are counted from the end.

    The first lines are parsed whether wanted or not, so that a wrong file is named at once.
    """
    dimensions = 0
    for number, line in enumerate(stream, 1):
        fields = (line.removeprefix(codecs.BOM_UTF8) if number == 1 else line).split()
        if not fields:
            continue
        if number == 1 and len(fields) == 2 and all(field.isdigit() for field in fields):
            continue  # word2vec's count of words and dimensions
        first = not dimensions
        dimensions = dimensions or len(fields) - 1
        parts = fields[: len(fields) - dimensions]
        word = b" ".join(parts)
        if not word or dimensions < 2 or b"\0" in word:
            raise _no_vectors(name, number)
        if not word.isascii():
            try:
                word.decode()
            except UnicodeDecodeError:
                raise VocabularyError(
                    f"line {number} of {name!r} is no UTF-8 text: save the file as UTF-8"
                ) from None
        if parts[0] in forms and _numbers(parts[1:]) is not None and len(parts) > 1:
            raise VocabularyError(
                f"line {number} of {name!r} has {len(fields) - 1} numbers where the first has "
                f"{dimensions}: repair the file"
            )
        if first or word in forms:
            vector = _numbers(fields[-dimensions:])
            if vector is None:
                raise _no_vectors(name, number)
            if not np.isfinite(vector).all():
                raise VocabularyError(
                    f"line {number} of {name!r} has NaN or infinity in its vector: leave the "
                    "word out or repair the file"
                )
            if word in forms:
                yield word, vector
    if not dimensions:
        raise _no_vectors(name, 1)


def _numbers(fields: Sequence[bytes]) -> Array | None:
    try:
        with np.errstate(over="ignore"):
            return np.array(fields, dtype=np.float32)
    except ValueError:
        return None


def _no_vectors(name: str, line: int) -> VocabularyError:
    return VocabularyError(
        f"{name!r} is no GloVe or word2vec text file: line {line} is not a word followed by its "
        "numbers"
    )
