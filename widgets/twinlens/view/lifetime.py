"""How long a widget lives: while something refers to it, or a cell shows it.

ipywidgets keeps every widget until it is closed, and IPython every result in ``Out``: a cell that
runs again would leave the arrays of the former run in memory for good. `hold_weakly` makes the
first refer to a widget weakly. `shown` holds it while the cell that displayed it has not run again:
until then the page shows it, whether or not a name refers to it. Where a host does not say which
cell runs, what was displayed is held until it is closed.

Notebooks are read again when the kernel that made a widget is gone. Its own output is then an
error: a still picture stands behind it, in an output of its own that the page hides for as long as
the widget is alive. A page in a frame needs no kernel at all.
"""

from __future__ import annotations

import atexit
import sys
import weakref
from dataclasses import dataclass, field
from html import escape
from typing import Any

from ipywidgets import Widget
from ipywidgets.widgets import widget as registry

from twinlens.pages.page import PageParts, page_html

#: By cell, the number of the run and what it displayed; None where the host names no cells.
_displayed: dict[str | None, list[tuple[int, Widget]]] = {}
_LAST_RESULTS = ("_", "__", "___")
# While what widgets need to be closed is still there.
atexit.register(_displayed.clear)
#: Height of a frame with all panels, and with one, in pixels.
DASHBOARD, PANEL = 860, 620


def hold_weakly(widget: Widget) -> None:
    """Let a widget and its messages end with its last reference."""
    handle = weakref.WeakMethod(widget._handle_msg)

    def receive(message: Any) -> None:
        method = handle()
        if method is not None:
            method(message)

    widget.comm.on_msg(receive)
    registry._instances[widget.model_id] = weakref.proxy(widget)


def shown(widget: Widget) -> None:
    """Hold a widget that is displayed now until the cell that does so runs again."""
    shell = running_shell()
    if shell is None:
        return
    if _before_run not in shell.events.callbacks["pre_run_cell"]:
        shell.events.register("pre_run_cell", _before_run)
    _displayed.setdefault(_cell(shell), []).append((shell.displayhook.prompt_count, widget))


def forget(widget: Widget) -> None:
    """Hold a widget no longer, wherever it is displayed."""
    for runs in _displayed.values():
        runs[:] = [(count, shown) for count, shown in runs if shown is not widget]


def _before_run(info: Any) -> None:
    """Let go of what the former run of a cell displayed: the page clears its output."""
    cell, shell = getattr(info, "cell_id", None), running_shell()
    if cell is None or shell is None:
        return
    for count, widget in _displayed.pop(cell, []):
        results = shell.user_ns.get("_oh", {})
        if results.get(count) is widget:
            del results[count]
            for names in (shell.user_ns, shell.user_ns_hidden, vars(shell.displayhook)):
                names.pop(f"_{count}", None)
                names.update({name: "" for name in _LAST_RESULTS if names.get(name) is widget})


def running_shell() -> Any:
    """The shell of the notebook or terminal, if this is one."""
    ipython = sys.modules.get("IPython")
    return ipython.get_ipython() if ipython else None


def _cell(shell: Any) -> str | None:
    """Which cell runs, as the page numbers them."""
    parent = shell.get_parent() if hasattr(shell, "get_parent") else {}
    cell = (parent.get("metadata") or {}).get("cellId")
    return cell if isinstance(cell, str) else None


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


@dataclass(frozen=True)
class StaticView:
    """What `Explorer.render_static` gives; displayed, it is a frame with the page.

    Attributes
    ----------
    parts : PageParts
        Its blocks, and what was left out.
    height : int
        Of the frame, in pixels.
    text : str
        What programs and hosts that show no HTML see.
    """

    parts: PageParts = field(repr=False)
    height: int
    text: str = field(repr=False)

    @property
    def html(self) -> str:
        """The frame: its page is in it, so that it lasts as long as the output."""
        page = page_html(self.parts).decode()
        return (
            f'<iframe srcdoc="{escape(page)}" title="{escape(self.parts.state["title"])}" '
            f'style="width:100%;height:{self.height}px;border:0" allowfullscreen></iframe>'
        )

    def _repr_mimebundle_(self, **_: Any) -> dict[str, str]:
        return {"text/html": self.html, "text/plain": self.text}
