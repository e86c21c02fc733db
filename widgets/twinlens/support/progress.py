"""Progress bars for long work, shown only once it has lasted a second."""

from __future__ import annotations

import time
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeAlias, TypeVar

from twinlens.contract.words import SIDES

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
#: Steps of a kind after which those seen say how long the others last.
_SOON = 50
#: Share of its usual time below which a step found its work done.
_THERE = 0.01


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
    # What is left follows from all steps so far: the last few are of one kind, the next of another.
    shown_bar = made(
        desc=title,
        delay=PATIENCE,
        leave=False,
        disable=None,
        bar_format=_FORMAT,
        smoothing=0,
    )

    def report(done: int, total: int, what: str) -> None:
        if done == 0 < shown_bar.n:
            _start_again(shown_bar)
        shown_bar.total = total
        shown_bar.set_description_str(what or title, refresh=False)
        shown_bar.update(done - shown_bar.n)

    try:
        yield report
    finally:
        # In a notebook a bar that is not full stays, in red.
        shown_bar.total = shown_bar.n
        shown_bar.close()


def _start_again(bar: Bar) -> None:
    """Another count begins: what is left of it follows from its own time."""
    now = time.time()
    if now >= bar.start_t + bar.delay:
        bar.delay = 0  # it stays in sight
    bar.start_t = bar.last_print_t = now


def _tqdm() -> Bar | None:
    """The bar that fits notebook or terminal; a recording is read without it, too."""
    try:
        from tqdm.auto import tqdm
    except ImportError:
        return None
    return tqdm


class Remaining:
    """How much of many unequal steps is done, by what steps of each kind were seen to last.

    Steps are of one kind if their names differ in numbers and sides only.

    Parameters
    ----------
    report : callable, optional
    usual : callable, optional
        Seconds that a step takes elsewhere, 0 if that is not known. Kinds not seen yet are taken
        to differ as there, on a machine and a model as fast as those seen here.
    """

    def __init__(self, report: Report | None, usual: Callable[[str], float] | None = None) -> None:
        self._report = report
        self._usual_of = usual
        self._kinds: dict[str, str] = {}
        self._usual: dict[str, float] = {}
        self._left: Counter[str] = Counter()
        self._seen: Counter[str] = Counter()
        self._seconds: defaultdict[str, float] = defaultdict(float)
        #: Of steps that have a usual time: what they took, and what they take elsewhere.
        self._took = self._elsewhere = 0.0
        self._running: tuple[str, float] | None = None

    def plan(self, steps: Sequence[str]) -> None:
        """These are to come, in this order; what was planned before is not."""
        for step in steps:
            usual = self._usual_of(step) if self._usual_of else 0.0
            kind = self._kinds[step] = "/".join(words_of(step)) + ("" if usual else " at once")
            self._usual[kind] = usual
        self._left = Counter(self._kinds[step] for step in steps)

    def begin(self, step: str) -> None:
        """The next step begins, and the one before it has ended."""
        now = time.perf_counter()
        if self._running:
            self._end(*self._running, now)
        kind = self._kinds.get(step, step)
        self._left[kind] -= 1
        self._running = kind, now
        self._say(step, now)

    def _end(self, kind: str, since: float, now: float) -> None:
        self._seen[kind] += 1
        self._seconds[kind] += now - since
        usual = self._usual.get(kind, 0.0)
        if now - since > _THERE * usual > 0:
            self._took += now - since
            self._elsewhere += usual

    def inside(self, _done: int, _total: int, what: str) -> None:
        """A `Report` for the step that runs."""
        self._say(what, time.perf_counter())

    def _say(self, what: str, now: float) -> None:
        if self._report:
            self._report(int(_PARTS * self._share(now)), _PARTS, what)

    def _share(self, now: float) -> float:
        done = sum(self._seconds.values())
        left = sum(count * self._expected(kind) for kind, count in self._left.items())
        if self._running:
            kind, since = self._running
            done += now - since
            left += max(self._expected(kind) - (now - since), 0)
        return done / (done + left) if left else 1.0

    def _expected(self, kind: str) -> float:
        """Seconds of a step: the mean of those seen, and of the usual time.

        The first of many often does what all need, so that the usual time counts for more of them.
        """
        usual = self._usual.get(kind, 0.0)
        weight = 1 + self._left[kind] / _SOON if usual else 0
        if not self._seen[kind] and not usual:
            return _UNKNOWN
        speed = self._took / self._elsewhere if self._elsewhere else 1.0
        return (self._seconds[kind] + weight * usual * speed) / (self._seen[kind] + weight)


def words_of(step: str) -> list[str]:
    """What stands in the name of a step beside numbers and sides."""
    return [part for part in step.split("/") if not part.isdigit() and part not in SIDES]
