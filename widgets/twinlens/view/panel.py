"""One panel in a cell of its own, linked to the others through its explorer."""

from __future__ import annotations

from typing import Any

import anywidget
import traitlets as t

from twinlens.contract.words import PANELS
from twinlens.figures.still import HOW_TO_LIVE
from twinlens.pages.html import front_end
from twinlens.view import lifetime
from twinlens.view.lifetime import show


class Panel(anywidget.AnyWidget):
    """A view of an explorer: it holds no state and no data of its own.

    Panels of one explorer are linked on the page, wherever they are shown and also while the
    kernel is busy.

    Parameters
    ----------
    explorer : Explorer
    kind : {"dashboard", "findings", "saliency", "carried", "update", "heads",
        "concepts", "overview"}
    """

    explorer = anywidget.WidgetTrait().tag(sync=True)
    """The explorer this panel shows."""

    kind = t.Enum(PANELS, default_value="dashboard").tag(sync=True)
    """Which of the panels it is."""

    _esm = t.Unicode().tag(sync=True)

    def __init__(self, **traits: Any) -> None:
        super().__init__(**traits)
        for widget in (self, self.layout):
            lifetime.hold_weakly(widget)

    def close(self) -> None:
        """Remove the panel from the page."""
        lifetime.forget(self)
        super().close()

    def _repr_mimebundle_(self, **kwargs: Any) -> Any:
        lifetime.shown(self)
        return super()._repr_mimebundle_(**kwargs)

    def _ipython_display_(self) -> None:
        show(self, self.explorer.hidden(f"<i>The {self.kind} panel. {HOW_TO_LIVE}</i>"))

    @t.default("_esm")
    def _default_esm(self) -> str:
        return front_end("panel.js")

    def __repr__(self) -> str:
        return f"Panel({self.kind!r} of {self.explorer!r})"
