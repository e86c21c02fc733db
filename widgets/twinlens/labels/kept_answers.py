"""Answers of annotators on disk, so that interrupted work goes on where it stopped."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import os
import threading
from pathlib import Path
from typing import IO

from twinlens.labels.questions import Annotator, LabelQuestion
from twinlens.support.files import cache_folder

# Part of every key: answers to other wordings of the questions are never read.
_VERSION = 1


class AnswerStore:
    """Answers by question, seed and annotator: one JSON object per line, written as they come.

    Parameters
    ----------
    path : Path or None
        None keeps nothing.
    identity : str
        What the annotator is called; another one never gets its answers.
    """

    def __init__(self, path: Path | None, identity: str) -> None:
        self._identity = identity
        self._lock = threading.Lock()
        self._answers: dict[str, str | None] = {}
        self._file: IO[str] | None = None
        if path is not None:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._answers = _read(path)
            self._file = path.open("a", encoding="utf-8")

    @classmethod
    def of(cls, annotator: Annotator, cache: bool | str | os.PathLike[str]) -> AnswerStore:
        """The store of an annotator; see `twinlens.labels.annotate.annotate`."""
        identity: str | None = getattr(annotator, "identity", None)
        path: Path | None = None
        if not isinstance(cache, bool):
            path = Path(cache)
        elif cache and identity is not None:
            path = cache_folder() / "annotations.jsonl"
        called = f"{annotator.__module__}.{getattr(annotator, '__qualname__', '')}"
        return cls(path, identity or called)

    def __enter__(self) -> AnswerStore:
        return self

    def __exit__(self, *error: object) -> None:
        if self._file is not None:
            self._file.close()

    def answer(self, annotator: Annotator, question: LabelQuestion, seed: int) -> str | None:
        """The kept answer, or else the annotator's, which is written before it is returned."""
        key = self._key(question, seed)
        if key in self._answers:
            return self._answers[key]
        answer = annotator(question, seed)
        if answer == "":
            return answer  # Not kept: it may come from a wrong address, and be put right later.
        with self._lock:
            self._answers[key] = answer
            if self._file is not None:
                self._file.write(json.dumps({"key": key, "answer": answer}) + "\n")
                self._file.flush()
        return answer

    def _key(self, question: LabelQuestion, seed: int) -> str:
        parts = [_VERSION, self._identity, dataclasses.asdict(question), seed]
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def _read(path: Path) -> dict[str, str | None]:
    """Answers of a file; a line that an interrupted run left half written is dropped."""
    answers: dict[str, str | None] = {}
    if not path.exists():
        return answers
    text = path.read_text("utf-8", errors="replace")
    for line in text.splitlines():
        with contextlib.suppress(ValueError, KeyError, TypeError):
            record = json.loads(line)
            answers[record["key"]] = record["answer"]
    if text and not text.endswith("\n"):
        with path.open("a", encoding="utf-8") as file:
            file.write("\n")
    return answers
