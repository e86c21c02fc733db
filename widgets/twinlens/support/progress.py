"""Progress bars for long work, shown only once it has lasted a second."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeAlias

#: Called as ``report(done, total, what)`` during long work; may raise `Interrupted` to stop it.
Report: TypeAlias = Callable[[int, int, str], None]
#: A class with the constructor and methods of `tqdm.tqdm`.
Bar: TypeAlias = Any

PATIENCE = 1.0


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
    from tqdm.auto import tqdm

    # With None a bar in a terminal is silent where standard error is none; a notebook's is shown.
    shown_bar = (bar or tqdm)(desc=title, delay=PATIENCE, leave=False, disable=None)

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
