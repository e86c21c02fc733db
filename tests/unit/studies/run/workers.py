"""What goes wrong in workers; a module of its own, so that they need not load torch."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from twinlens.errors import StudyError
from twinlens.studies.data.rows import StudyRow
from twinlens.studies.run.work import CaseResult, Say, Work

from tests.unit.studies.planted import open_planted


def refuses() -> Work:
    raise StudyError("a worker loaded other models")


def fails() -> Work:
    def work(rows: Sequence[StudyRow], say: Say) -> Iterator[CaseResult]:
        raise RuntimeError("out of memory")
        yield

    return work


def dies_on_one() -> Work:
    good = open_planted()

    def work(rows: Sequence[StudyRow], say: Say) -> Iterator[CaseResult]:
        if any(row.id == "p5" for row in rows):
            os.kill(os.getpid(), signal.SIGKILL)
        yield from good(rows, say)

    return work


def dies_once(open_work: Callable[[], Work], grave: Path) -> Work:
    """Work whose worker is killed in its second batch, once: its process id is in the file."""
    good = open_work()
    batches = 0

    def work(rows: Sequence[StudyRow], say: Say) -> Iterator[CaseResult]:
        nonlocal batches
        batches += 1
        outcomes = good(rows, say)
        yield next(outcomes)
        if batches == 2 and not grave.exists():
            grave.write_text(str(os.getpid()))
            os.kill(os.getpid(), signal.SIGKILL)
        yield from outcomes

    return work
