"""What goes wrong in workers; a module of its own, so that they need not load torch."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator, Sequence

from twinlens.errors import StudyError
from twinlens.studies.data import Row
from twinlens.studies.work import Outcome, Say, Work

from tests.unit.studies.planted import open_planted


def refuses() -> Work:
    raise StudyError("a worker loaded other models")


def fails() -> Work:
    def work(rows: Sequence[Row], say: Say) -> Iterator[Outcome]:
        raise RuntimeError("out of memory")
        yield

    return work


def dies_on_one() -> Work:
    good = open_planted()

    def work(rows: Sequence[Row], say: Say) -> Iterator[Outcome]:
        if any(row.id == "p5" for row in rows):
            os.kill(os.getpid(), signal.SIGKILL)
        yield from good(rows, say)

    return work
