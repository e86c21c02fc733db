"""A page in the output of a cell: linked panels that need no kernel, wherever HTML may run."""

from __future__ import annotations

from dataclasses import dataclass, field
from html import escape
from typing import Any

from twinlens.pages.page import PageParts, page_html

#: Height of a frame with all panels, and with one, in pixels.
DASHBOARD, PANEL = 860, 620


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
