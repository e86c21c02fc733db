"""Bokeh, imported whole by one thread: two threads that import it at once deadlock."""

from __future__ import annotations

from threading import Lock

_LOADING = Lock()


def load_bokeh() -> None:
    """Import all of Bokeh that charts use; what is imported after it is there already."""
    with _LOADING:
        import bokeh.embed
        import bokeh.layouts
        import bokeh.models
        import bokeh.plotting
        import bokeh.util.paths  # noqa: F401
