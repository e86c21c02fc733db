"""Names and labels of feed-forward components (paper, table 5 and figure 3).

A component is named from its top words, then labelled by task and by linguistic level. Whoever
answers is an annotator: a function, an OpenAI-compatible endpoint (`twinlens.labels.endpoint`), or
a file (`read_annotations`). Answers are text and judged here in one way: what is no valid answer
counts as "cannot tell" and is kept count of. Answers are kept on disk, so that interrupted work
goes on where it stopped.
"""

from __future__ import annotations

import contextlib
import csv
import dataclasses
import hashlib
import json
import os
import re
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from pathlib import Path
from typing import IO, Any

from twinlens.contract.words import LEVELS, SIDES, TASKS
from twinlens.errors import AnnotationError
from twinlens.labels.questions import (
    Annotation,
    Annotator,
    Component,
    LabelKind,
    LabelQuestion,
    ReplyOutcome,
)
from twinlens.support.files import cache_folder
from twinlens.support.progress import Report
from twinlens.support.text_files import text_lines

NONE = "none"
CANNOT_TELL = "cannot tell"

#: Longest name, in words and in characters: the annotator is asked for one short concept.
NAME_WORDS, NAME_LENGTH = 8, 80

_SPELLINGS = {
    **{label: label for label in (*TASKS, *LEVELS, NONE)},
    **dict.fromkeys(("daily writing", "literary writing", "professional writing"), "writing"),
    **dict.fromkeys(("math", "mathematics"), "maths"),
    **dict.fromkeys(("code", "programming"), "coding"),
    "phonological": "phonology",
    "morphological": "morphology",
    "syntactic": "syntax",
    "semantic": "semantics",
}
_COLUMNS = ("model", "layer", "component", "round", "name", "tasks", "level")
# Part of every key: answers to other wordings of the questions are never read.
_VERSION = 1


class _StoppedError(Exception):
    """Work given up because of an error elsewhere, which is the one to tell."""


def components_of(
    layer: int, block: Iterable[Mapping[str, Any]], words: int = 15
) -> list[Component]:
    """Components of both models in a ``components`` block (see `twinlens.contract.blocks`).

    The models are called "base" and "tuned"; components keep their number in their own model.
    """
    components = []
    for number, row in enumerate(block):
        for side in SIDES:
            top_words = tuple(word for word, _ in row[side]["words"][:words])
            components.append(Component(side, layer, row[side].get("index", number), top_words))
    return sorted(
        components, key=lambda component: (SIDES.index(component.model), component.component)
    )


def annotate(
    components: Sequence[Component],
    annotator: Annotator,
    *,
    rounds: Sequence[int] = range(5),
    concurrency: int = 4,
    cache: bool | str | os.PathLike[str] = True,
    report: Report | None = None,
) -> list[Annotation]:
    """Name and label components, several times over.

    Parameters
    ----------
    components : sequence of Component
    annotator : callable
        Asked for a name, and where it gives one for tasks and level.
    rounds : sequence of int
        Seeds; the paper has five rounds.
    concurrency : int
        Components that are asked about at the same time.
    cache : bool or path
        File that every answer is written to as it comes, and read from when work goes on. True
        is a file in the user's cache folder, for annotators that have an ``identity``, such as
        endpoints; a function may change under the same name, so that it needs a path.
    report : callable, optional
        Told the components done; may raise `Interrupted`.

    Returns
    -------
    list of Annotation
        Round by round, components in the given order.

    Raises
    ------
    AnnotationError
        If the annotator gives up; answers so far are in the cache, and are not asked for again.
    """
    if concurrency < 1 or not rounds:
        raise ValueError("annotate needs at least one round and one question at a time")
    work = [(seed, component) for seed in rounds for component in components]
    with AnswerStore.of(annotator, cache) as store:
        stopped = threading.Event()

        def name_and_label(seed: int, component: Component) -> Annotation:
            def ask(question: LabelQuestion) -> str | None:
                if stopped.is_set():
                    raise _StoppedError
                try:
                    return store.answer(annotator, question, seed)
                except BaseException:
                    stopped.set()  # here, since others would go on asking until it is noticed
                    raise

            return _annotate(component, seed, ask)

        pool = ThreadPoolExecutor(concurrency, thread_name_prefix="annotate")
        try:
            pending = [pool.submit(name_and_label, *item) for item in work]
            _await(pending, report)
            return [future.result() for future in pending]
        finally:
            # After an error nothing new is asked; answers under way are still kept.
            stopped.set()
            pool.shutdown(cancel_futures=True)


def _await(futures: Sequence[Future[Annotation]], report: Report | None) -> None:
    """Wait for all, or raise the first error at once."""
    unfinished = set(futures)
    while unfinished:
        done, unfinished = wait(unfinished, return_when=FIRST_COMPLETED)
        for future in done:
            if not isinstance(future.exception(), _StoppedError):
                future.result()
        if report is not None:
            report(len(futures) - len(unfinished), len(futures), "naming components")


def _annotate(
    component: Component, seed: int, ask: Callable[[LabelQuestion], str | None]
) -> Annotation:
    name, outcome = parse_name(ask(LabelQuestion("name", component)))
    outcomes: dict[LabelKind, ReplyOutcome] = {"name": outcome}
    if name is None:
        return Annotation(component, seed, None, None, None, outcomes)
    tasks, outcomes["task"] = parse_tasks(ask(LabelQuestion("task", component, name)))
    level, outcomes["level"] = parse_level(ask(LabelQuestion("level", component, name)))
    return Annotation(component, seed, name, tasks, level, outcomes)


def parse_name(answer: str | None) -> tuple[str | None, ReplyOutcome]:
    """A name from an answer: one short line with a letter in it."""
    text = _trimmed(answer)
    if _cannot_tell(text):
        return None, "cannot tell"
    fits = len(text) <= NAME_LENGTH and len(text.split()) <= NAME_WORDS
    if not fits or "\n" in text or not any(map(str.isalpha, text)):
        return None, "nonsense"
    return text, "told"


def parse_tasks(answer: str | None) -> tuple[tuple[str, ...] | None, ReplyOutcome]:
    """Tasks from an answer: a list of `TASKS` and nothing else, or none."""
    text = _trimmed(answer)
    if _cannot_tell(text):
        return None, "cannot tell"
    parts = [part for part in re.split(r"[,;/\n]|\band\b", text) if part.strip()]
    tasks = {_SPELLINGS.get(_trimmed(part).lower()) for part in parts}
    if tasks == {NONE}:
        return (), "told"
    if not tasks or not tasks <= set(TASKS):
        return None, "nonsense"
    return tuple(task for task in TASKS if task in tasks), "told"


def parse_level(answer: str | None) -> tuple[str | None, ReplyOutcome]:
    """Linguistic level from an answer: one of `LEVELS` and nothing else."""
    text = _trimmed(answer)
    if _cannot_tell(text):
        return None, "cannot tell"
    level = _SPELLINGS.get(text.lower())
    return (level, "told") if level in LEVELS else (None, "nonsense")


def _trimmed(answer: str | None) -> str:
    """An answer without what models like to put around it."""
    text = CANNOT_TELL if answer is None else answer.strip()
    text = re.sub(r"^(answer|concept|name|tasks?|level)\s*:", "", text, flags=re.IGNORECASE)
    return text.strip(" \t\r\n\"'`*.[]()")


def _cannot_tell(text: str) -> bool:
    return re.fullmatch(r"(i )?(cannot|can't|can ?not) tell", text, re.IGNORECASE) is not None


def read_annotations(path: str | os.PathLike[str]) -> list[Annotation]:
    """Annotations from a CSV file (tab-separated if it ends in ``.tsv``).

    The columns are model, layer, component, name, tasks (separated by semicolons) and level, in
    any order, and round if there are several; an empty cell is "cannot tell".

    Raises
    ------
    AnnotationError
        If the file cannot be read, lacks a column, or a number in it is none.
    """
    path = Path(path)
    delimiter = "\t" if path.suffix == ".tsv" else ","
    table = csv.DictReader(text_lines(path, AnnotationError), delimiter=delimiter, strict=True)
    try:
        rows = list(table)
    except csv.Error as error:
        raise AnnotationError(f"{path.name!r} cannot be read as a table ({error})") from error
    missing = set(_COLUMNS) - {"round"} - set(table.fieldnames or ())
    if missing:
        raise AnnotationError(f"{path.name!r} lacks the columns {', '.join(sorted(missing))}")
    annotations = []
    for number, row in enumerate(rows, 2):
        try:
            layer, component = int(row["layer"]), int(row["component"])
            seed = int(row.get("round") or 0)
        except (TypeError, ValueError):
            raise AnnotationError(
                f"row {number} of {path.name!r}: layer, component and round are whole numbers"
            ) from None
        cells = {"name": row["name"], "task": row["tasks"], "level": row["level"]}

        def ask(question: LabelQuestion, cells: Mapping[str, str | None] = cells) -> str | None:
            return cells[question.kind] or None

        annotations.append(
            _annotate(Component(row["model"] or "", layer, component, ()), seed, ask)
        )
    return annotations


def write_annotations(path: str | os.PathLike[str], annotations: Iterable[Annotation]) -> None:
    """Write what `read_annotations` reads."""
    path = Path(path)
    with path.open("w", encoding="utf-8", newline="") as file:
        table = csv.writer(file, delimiter="\t" if path.suffix == ".tsv" else ",")
        table.writerow(_COLUMNS)
        for annotation in annotations:
            tasks = "" if annotation.tasks is None else "; ".join(annotation.tasks) or NONE
            component = annotation.component
            key = (component.model, component.layer, component.component)
            table.writerow(
                (*key, annotation.round, annotation.name or "", tasks, annotation.level or "")
            )


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
