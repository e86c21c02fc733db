"""One offline page from a trace: every panel, linked, without network or kernel.

The page carries the front end's own bundle, so it shows what the notebook shows. Its
Content-Security-Policy allows nothing from outside, and only the scripts written here. A figure
of a panel is drawn by the page's own code, in a browser that is already there.
"""

from __future__ import annotations

import json
import os
import struct
import sys
import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeAlias, cast, get_args

from twinlens.contract import blocks, lookup, wire
from twinlens.contract.lookup import with_methods
from twinlens.contract.words import PANELS, SELECTION_DEFAULTS, THEMES, ChartTheme, PanelKind
from twinlens.errors import (
    ArgumentError,
    BrowserError,
    RecordingError,
    TwinlensError,
    UnsupportedArchitectureError,
)
from twinlens.figures.charts import chart_keys
from twinlens.figures.panels import FIGURES
from twinlens.figures.vector import PIXELS, WIDTHS, Column, Figure
from twinlens.pages.bokehjs import bokeh_script
from twinlens.pages.html import (
    UNPACKED,
    document,
    front_end,
    inline_json,
    packed85,
    packed_script,
    policy,
)
from twinlens.pages.values import page_value
from twinlens.support.browser import browser, drawn
from twinlens.support.files import check_file, checked_path, replacing
from twinlens.support.progress import Remaining, Report, progress
from twinlens.traces.block_times import usual_seconds
from twinlens.traces.marks import Mark
from twinlens.traces.recording import kept_keys
from twinlens.traces.story import Slide
from twinlens.traces.trace import Trace

Theme: TypeAlias = Literal["auto", "light", "dark"]

DEFAULT_BUDGET_MB = 6.0
#: Runs the bundle, which lies in the page as `packed_script` gives it.
_START = f"""{UNPACKED}\
unpacked(document.getElementById("twinlens-bundle").textContent).then((code) => {{
  const script = document.createElement("script");
  script.textContent = code;
  document.body.append(script);
}});
"""
#: Where `page_template` leaves room; a title is escaped, so it holds neither.
STATE_MARK, BLOCKS_MARK = "<!--state-->", "<!--blocks-->"
#: How often a panel may ask for blocks that follow from others.
_ROUNDS = 6


@dataclass(frozen=True)
class ExportReport:
    """What an export contains.

    Attributes
    ----------
    path : Path
        The page.
    size : int
        Its size in bytes.
    included, missing : tuple of str
        Block keys that are in it, and those left out: to keep the budget, or damaged.
    """

    path: Path
    size: int
    included: tuple[str, ...]
    missing: tuple[str, ...]

    def __str__(self) -> str:
        omitted = f", {len(self.missing)} blocks left out" if self.missing else ""
        return f"{self.path} ({self.size / 1e6:.1f} MB{omitted})"


@dataclass(frozen=True)
class PageParts:
    """What tells one page from another; bundle and style sheet are the same in all of a version.

    Attributes
    ----------
    state : dict
        What the bundle reads from the element ``twinlens-page``: manifest, selection, method,
        marks, options, theme, title, kind, and the keys that are missing.
    blocks : str
        What it reads from ``twinlens-blocks``: blocks and their index, see `packed_blocks`.
    included : tuple of str
        Keys of the blocks.
    """

    state: dict[str, Any]
    blocks: str = ""
    included: tuple[str, ...] = ()

    @property
    def missing(self) -> tuple[str, ...]:
        """Keys of blocks that were left out."""
        return tuple(self.state["missing"])


def to_html(
    trace: Trace,
    path: str | os.PathLike[str],
    *,
    budget_mb: float = DEFAULT_BUDGET_MB,
    report: Report | None = None,
    **state: Any,
) -> ExportReport:
    """Write a trace as one HTML file that works offline.

    Parameters
    ----------
    trace : Trace
        Blocks are taken in the order of `Trace.keys` until the budget is spent.
    path : path
        Written only when complete: an error leaves an older file as it was.
    budget_mb : float
        Largest size of the page in megabytes (10^6 bytes).
    report : callable, optional
        Called for each block, see `Remaining`; may raise `Interrupted`.
    **state
        What is shown, and how: see `page_state`.

    Returns
    -------
    ExportReport

    Raises
    ------
    OutputError
        If the page cannot be written there; before anything is computed where that can be known.
    TwinlensError
        If the front end is not built, or not even the empty page fits the budget.
    """
    target = checked_path(path, "the page to write")
    check_file(target)
    parts = page_parts(trace, page_state(trace, **state), budget_mb, report)
    data = page_html(parts)
    with replacing(target) as stream:
        stream.write(data)
    return ExportReport(target, len(data), parts.included, parts.missing)


def page_parts(
    trace: Trace,
    state: dict[str, Any],
    budget_mb: float = DEFAULT_BUDGET_MB,
    report: Report | None = None,
) -> PageParts:
    """A page of this state (see `page_state`) with its blocks; errors are those of `to_html`."""
    check_page(state["title"], state["theme"], budget_mb)
    charted = _charted(state["kind"])
    empty = len(page_html(PageParts(state)))
    budget = int(budget_mb * 1e6) - empty
    remaining = Remaining(report, usual_seconds(trace))
    keys = kept_keys(trace, remaining)
    if charted:
        keys = [blocks.bokeh_script(), *keys, *chart_keys(keys)]
        remaining.plan(keys)
    encoded, missing = _take(trace, keys, budget, remaining)
    if charted and blocks.bokeh_script() not in encoded:
        least = empty + _cost(bokeh_script().encode())
        raise TwinlensError(
            f"a page needs at least {least / 1e6:.1f} MB, more than the budget of "
            f"{budget_mb:g} MB: raise budget_mb"
        )
    read = with_methods(trace.manifest, encoded).to_json()
    page = {**state, "missing": missing, "manifest": read}
    return PageParts(page, packed_blocks(encoded), tuple(encoded))


def page_state(
    trace: Trace,
    *,
    selection: Mapping[str, int | str] | None = None,
    method: str | None = None,
    marks: Sequence[Mark] | None = None,
    view: Mapping[str, Any] | None = None,
    story: Sequence[Slide] | None = None,
    present: bool = False,
    title: str | None = None,
    theme: Theme = "auto",
    kind: PanelKind = "dashboard",
) -> dict[str, Any]:
    """State of a page that is short of nothing.

    Parameters
    ----------
    selection : mapping, optional
        ``token``, ``layer``, ``head`` and ``unit`` selected when the page opens.
    method : str, optional
        Saliency method shown first; by default the exact one.
    marks : sequence of Mark, optional
        Spans marked anew, as the explorer has them; the trace's own by default.
    view : mapping, optional
        How the panels show it, as the explorer's `view` has it.
    story : sequence of Slide, optional
        Kept views, the slides of a presentation; the trace's own by default.
    present : bool
        Open as a presentation, as the page does with ``#present`` in its address.
    title : str, optional
        Title of the page, by default the names of the two models.
    kind : {"dashboard", "findings", "saliency", "carried", "update", "heads",
        "concepts", "overview"}
        All panels, or one; only the dashboard and the overview carry charts.
    """
    manifest = trace.manifest
    return {
        "manifest": manifest.to_json(),
        "selection": {**SELECTION_DEFAULTS, **(selection or {})},
        "method": method or manifest.first_method,
        "marks": trace.marks if marks is None else list(marks),
        "options": dict(view or {}),
        "slides": list(trace.story if story is None else story),
        "present": present,
        "theme": theme,
        "title": title or f"{manifest.pair.base.name} · {manifest.pair.tuned.name}",
        "kind": kind,
        "missing": [],
    }


def check_page(title: Any, theme: Any, budget_mb: Any = DEFAULT_BUDGET_MB) -> None:
    """Make sure that a page can have this title, these colours and this size.

    Raises
    ------
    ArgumentError
        If it cannot.
    """
    if not isinstance(title, str | None):
        raise ArgumentError(f"title= is no text, but {title!r}")
    if not (isinstance(theme, str) and theme in get_args(Theme)):
        raise ArgumentError(f"there is no theme {theme!r}: use one of {', '.join(get_args(Theme))}")
    if not isinstance(budget_mb, int | float) or isinstance(budget_mb, bool) or not budget_mb > 0:
        raise ArgumentError(f"budget_mb= is a number of megabytes, not {budget_mb!r}")


def drawing_parts(trace: Trace, state: Mapping[str, Any], keys: Iterable[str]) -> PageParts:
    """A page with some blocks, which says which others of the trace it is short of."""
    known = list(trace.keys())
    encoded, missing = _take(trace, list(keys), sys.maxsize, Remaining(None))
    missing += [key for key in keys if key not in encoded]
    possible = [
        key for key in (blocks.bokeh_script(), *chart_keys(known), *known) if key not in missing
    ]
    page = {**state, "missing": missing, "draws": possible}
    return PageParts(page, packed_blocks(encoded), tuple(encoded))


def page_html(parts: PageParts) -> bytes:
    """The complete page."""
    text = page_template(parts.state["title"], parts.state["kind"])
    text = text.replace(STATE_MARK, inline_json(parts.state), 1)
    return text.replace(BLOCKS_MARK, parts.blocks, 1).encode(errors="replace")


def page_template(title: str, kind: PanelKind) -> str:
    """A page with marks where state (`inline_json`) and blocks of its parts go.

    Scripts run only if their hash is in its policy.
    """
    body = f"""<script type="application/json" id="twinlens-page">{STATE_MARK}</script>
<script type="text/plain" id="twinlens-blocks">{BLOCKS_MARK}</script>
<script type="text/plain" id="twinlens-bundle">{packed_script("page.js")}</script>
<script>{_START}</script>
"""
    return document(title, front_end("twinlens.css"), policy(*page_scripts(kind)), body)


def page_scripts(kind: PanelKind) -> list[str]:
    """Scripts that a page runs: its start, the bundle, and BokehJS where there are charts."""
    scripts = [_START, front_end("page.js")]
    return [*scripts, bokeh_script()] if _charted(kind) else scripts


def _charted(kind: PanelKind) -> bool:
    return kind in ("dashboard", "overview")


def _take(
    trace: Trace, keys: list[str], budget: int, remaining: Remaining
) -> tuple[dict[str, tuple[wire.Header, bytes]], list[str]]:
    """Encode blocks in order until the budget is spent; also name those left out."""
    encoded: dict[str, tuple[wire.Header, bytes]] = {}
    damaged: list[str] = []
    for done, key in enumerate(keys):
        remaining.begin(key)
        try:
            value = page_value(trace, key, remaining.inside)
        except UnsupportedArchitectureError:
            continue  # models that do not have it have a page without it
        except RecordingError:
            damaged.append(key)  # the page holds what is whole
            continue
        header, buffer = wire.encode(
            value, causal=lookup.is_causal(key), compact=not lookup.is_exact(key)
        )
        twin = encoded.get(lookup.twin(key) or "")
        if twin and twin[0] == header and header["dtype"] in ("uint8", "int8"):
            header["beside"] = lookup.twin(key)
            buffer = wire.subtract(buffer, twin[1])
        # A key that is left out is named in the page, so every key costs its own length.
        budget -= _cost(buffer) + len(key) + 8
        if budget < 0:
            return encoded, damaged + keys[done:]
        encoded[key] = header, buffer
    return encoded, damaged


def _cost(buffer: bytes) -> int:
    """Bytes a block takes in the page: compressed, as text, with its line in the index."""
    return (len(zlib.compress(buffer, 1)) + 60) * 5 // 4


def packed_blocks(encoded: Mapping[str, tuple[wire.Header, bytes]]) -> str:
    """`packed85` of `pack_blocks`."""
    return packed85(pack_blocks(encoded))


def pack_blocks(encoded: Mapping[str, tuple[wire.Header, bytes]]) -> bytes:
    """Length of the index (uint32, little-endian), index, all the bytes."""
    index = {key: {**head, "length": len(buffer)} for key, (head, buffer) in encoded.items()}
    head = json.dumps(index, ensure_ascii=False, separators=(",", ":")).encode()
    body = b"".join(buffer for _, buffer in encoded.values())
    return struct.pack("<I", len(head)) + head + body


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
