"""Panels as figures, drawn by the page's own code in a browser that is already there."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, cast

from twinlens.contract.words import PANELS, SELECTION_DEFAULTS, THEMES, ChartTheme, PanelKind
from twinlens.errors import ArgumentError, BrowserError
from twinlens.figures.panels import FIGURES
from twinlens.figures.vector import PIXELS, WIDTHS, Column, Figure
from twinlens.pages.page import drawing_parts, page_html, page_state
from twinlens.support.browser import browser, drawn
from twinlens.support.progress import progress
from twinlens.traces.trace import Trace

#: How often a panel may ask for blocks that follow from others.
_ROUNDS = 6


def figure_of(
    trace: Trace,
    panel: str,
    state: Mapping[str, Any],
    *,
    width: Column,
    theme: ChartTheme,
    as_page: bool,
    measure: str | None,
) -> Figure:
    """A panel as a figure: drawn here where that can be, else by a browser.

    Raises
    ------
    ArgumentError
        If there is no such panel, width, theme or measure.
    BrowserError
        If a browser is needed and there is none, or it could not draw.
    """
    panels = [*FIGURES, *(kind for kind in PANELS if kind not in ("dashboard", *FIGURES))]
    _check("figure", panel, panels)
    _check("width", width, list(WIDTHS))
    _check("theme", theme, list(THEMES))
    if panel not in PANELS or (panel in FIGURES and not as_page):
        selected = {name: state[name] for name in ("token", "layer", "head", "method")}
        with progress("drawing") as report:
            return FIGURES[panel](
                trace, width=width, theme=theme, measure=measure, report=report, **selected
            )
    return drawn_figure(trace, panel, state, width=width, theme=theme)


def _check(what: str, given: str, choices: Sequence[str]) -> None:
    if given not in choices:
        raise ArgumentError(f"there is no {what} {given!r}: use one of {', '.join(choices)}")


def drawn_figure(
    trace: Trace,
    kind: PanelKind,
    state: Mapping[str, Any],
    *,
    width: Column = "double",
    theme: ChartTheme = "light",
) -> Figure:
    """One panel as it stands in a page, laid out for the width of a column.

    The page says which blocks it is short of, and is opened again with them: nothing is computed
    that is not drawn.

    Parameters
    ----------
    state : mapping
        Selection, ``method``, ``marks`` and ``view``, as the state of an explorer has them.
    width : {"single", "double"}
    theme : {"light", "dark"}

    Raises
    ------
    BrowserError
        If there is no Chromium, Chrome or Edge, or the panel could not be drawn.
    """
    browser()  # before anything is computed
    shown = {name: state[name] for name in ("method", "marks", "view")}
    selection = {name: state[name] for name in SELECTION_DEFAULTS}
    page = page_state(
        trace, **shown, selection=selection, story=(), theme=theme, title=kind, kind=kind
    )
    keys: list[str] = []
    answer: dict[str, Any] = {}
    for _ in range(_ROUNDS):
        html = page_html(drawing_parts(trace, page, keys))
        answer = cast(
            "dict[str, Any]", json.loads(drawn(html, width=round(WIDTHS[width] * PIXELS)))
        )
        new = [key for key in answer.get("asked", ()) if key not in keys]
        if not new:
            break
        keys += new
    if "svg" not in answer:
        why = answer.get("error") or "it asks for more and more blocks"
        raise BrowserError(f"the {kind} panel could not be drawn: {why}")
    across, down = answer["width"], answer["height"]
    # As wide as the column, whatever the panel needed.
    millimetres = WIDTHS[width]
    size = f'width="{millimetres:g}mm" height="{millimetres * down / across:.1f}mm"'
    svg = str(answer["svg"]).replace(f'width="{across}" height="{down}"', size, 1)
    return Figure(svg, answer["rows"], answer["title"])
