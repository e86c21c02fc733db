"""Bokeh, imported whole by one thread: two threads that import it at once deadlock."""

from __future__ import annotations

from threading import Lock

from twinlens.errors import MissingLibraryError

_LOADING = Lock()


def load_bokeh() -> None:
    """Import all of Bokeh that charts use; what is imported after it is there already.

    Raises
    ------
    MissingLibraryError
        If it is not installed.
    """
    try:
        with _LOADING:
            import bokeh.embed
            import bokeh.layouts
            import bokeh.models
            import bokeh.plotting
            import bokeh.util.paths  # noqa: F401
    except ModuleNotFoundError as error:
        raise MissingLibraryError(
            "charts, and pages with charts, need bokeh, which is not installed here: "
            "`pip install bokeh`"
        ) from error
