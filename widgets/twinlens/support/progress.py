"""Progress bars for long work, shown only once it has lasted a second."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from statistics import fmean
from typing import Any, TypeAlias, TypeVar

#: Called as ``report(done, total, what)`` during long work; may raise `Interrupted` to stop it.
Report: TypeAlias = Callable[[int, int, str], None]
#: A class with the constructor and methods of `tqdm.tqdm`.
Bar: TypeAlias = Any
T = TypeVar("T")

PATIENCE = 1.0
#: Work is of unequal steps: how many there are of them tells nobody anything.
_FORMAT = "{desc}: {percentage:3.0f}% {bar} {elapsed}, {remaining} left"
#: Seconds that a step is taken to last of whose kind none was done yet.
_UNKNOWN = 0.005
#: Parts in which a `Remaining` reports.
_PARTS = 1000


def silent(done: int, total: int, what: str) -> None:
    """Report to nobody."""


def told(
    items: Collection[T], what: str | Callable[[T], str], report: Report | None
) -> Iterator[T]:
    """The items one after another; in front of each a report, if any, hears how many are done.

    Parameters
    ----------
    what : str or callable
        What is done with the items, or with the next one.
    """
    for done, item in enumerate(items):
        if report:
            report(done, len(items), what if isinstance(what, str) else what(item))
        yield item


@contextmanager
def progress(title: str, bar: Bar | None = None) -> Iterator[Report]:
    """Yield a `Report` that draws one bar for whatever is reported to it.

    Parameters
    ----------
    title : str
        Said until the work says what it does.
    bar : class, optional
        A `tqdm` class; by default the one that fits notebook or terminal.
    """
    made = bar or _tqdm()
    if made is None:
        yield silent
        return
    # With None a bar in a terminal is silent where standard error is none; a notebook's is shown.
    shown_bar = made(desc=title, delay=PATIENCE, leave=False, disable=None, bar_format=_FORMAT)

    def report(done: int, total: int, what: str) -> None:
        shown_bar.total = total
        shown_bar.set_description_str(what or title, refresh=False)
        shown_bar.update(done - shown_bar.n)

    try:
        yield report
    finally:
        # In a notebook a bar that is not full stays, in red.
        shown_bar.total = shown_bar.n
        shown_bar.close()


def _tqdm() -> Bar | None:
    """The bar that fits notebook or terminal; a recording is read without it, too."""
    try:
        from tqdm.auto import tqdm
    except ImportError:
        return None
    return tqdm


class Remaining:
    """How much of many unequal steps is done, by what steps of each kind were seen to last.

    Parameters
    ----------
    steps : sequence of str
        What is said of every step, in order; its kind is what stands before the first slash.
    """

    def __init__(self, steps: Sequence[str], report: Report | None) -> None:
        self._left = Counter(map(_kind, steps))
        self._lasted: dict[str, list[float]] = {}
        self._report = report
        self._running: tuple[str, float] | None = None

    def begin(self, step: str) -> None:
        """The next step begins, and the one before it has ended."""
        now = time.perf_counter()
        if self._running:
            kind, since = self._running
            self._lasted.setdefault(kind, []).append(now - since)
            self._left[kind] -= 1
        self._running = _kind(step), now
        if self._report:
            self._report(int(_PARTS * self._share()), _PARTS, step)

    def _share(self) -> float:
        done = sum(map(sum, self._lasted.values()))
        left = sum(
            count * (fmean(self._lasted[kind]) if kind in self._lasted else _UNKNOWN)
            for kind, count in self._left.items()
        )
        return done / (done + left) if left else 1.0


def _kind(step: str) -> str:
    return step.split("/")[0]
