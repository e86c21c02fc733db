"""Widgets in notebooks, which are read again when the kernel that made them is gone.

A widget's own output is then an error. A still picture stands behind it, in an output of its own
that the page hides for as long as the widget is alive.
"""

from __future__ import annotations

from typing import Any

from twinlens.view.lifetime import running_shell


def show(widget: Any, still: str) -> Any:
    """Display a widget and a still picture.

    Parameters
    ----------
    still : str
        HTML.

    Returns
    -------
    DisplayHandle
        Its ``update`` replaces the picture.

    Raises
    ------
    NotImplementedError
        Outside of notebooks: IPython then shows the widget as it shows anything else.
    """
    if not hasattr(running_shell(), "kernel"):
        raise NotImplementedError
    from IPython.display import display

    bundle = widget._repr_mimebundle_()
    data, metadata = bundle if isinstance(bundle, tuple) else (bundle, {})
    display(data, metadata=metadata, raw=True)  # type: ignore[no-untyped-call]
    return display(picture(still), raw=True, display_id=True)  # type: ignore[no-untyped-call]


def picture(still: str) -> dict[str, str]:
    """A still picture as the data of an output."""
    return {"text/html": still, "text/plain": ""}
