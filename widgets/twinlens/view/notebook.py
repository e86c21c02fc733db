"""Widgets in notebooks, which are read again when the kernel that made them is gone.

A widget's own output is then an error. A still picture stands behind it, in an output of its own
that the page hides for as long as the widget is alive. A page in a frame needs no kernel at all.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from html import escape
from typing import Any

from twinlens.pages.page import PageParts, page_html
from twinlens.view.lifetime import running_shell

#: Height of a frame with all panels, and with one, in pixels.
DASHBOARD, PANEL = 860, 620


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
