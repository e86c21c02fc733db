"""The explorer: owns the selection, answers the page, and carries the front end's one bundle."""

from __future__ import annotations

import os
import uuid
import weakref
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import traitlets as t

from twinlens.contract.words import PANELS, SELECTION_DEFAULTS, ChartTheme, PanelKind, Segment
from twinlens.errors import ArgumentError
from twinlens.figures.still import SHOWN, known_by, still
from twinlens.figures.vector import Column, Figure
from twinlens.labels.annotate import read_annotations, write_annotations
from twinlens.labels.given_names import LabelledTrace, from_annotations, to_annotations
from twinlens.measures.findings_text import Findings
from twinlens.measures.plain_text import findings_of, known_text, plain_text
from twinlens.pages.html import front_end, packed_module
from twinlens.pages.page import (
    DEFAULT_BUDGET_MB,
    ExportReport,
    Theme,
    figure_of,
    page_parts,
    page_state,
    to_html,
)
from twinlens.support.calls import methods_called_rightly
from twinlens.support.progress import progress
from twinlens.traces import recording
from twinlens.traces.marks import segments as marked_segments
from twinlens.traces.story import read_story
from twinlens.traces.trace import Trace
from twinlens.view import lifetime
from twinlens.view.chosen import Chosen, check_names, refusing
from twinlens.view.lifetime import DASHBOARD, PANEL, StaticView, picture, show
from twinlens.view.panel import Panel
from twinlens.view.server import BlockServer


@methods_called_rightly
class Explorer(Chosen):
    """Linked panels over one trace; displayed by itself it is the whole dashboard.

    It lives, with the trace's arrays, while a name or an output has it; a cell that runs again
    lets go of what it displayed before.

    The selection is four plain traits: observe them, link them, or set them. A head and a unit
    live in a layer, so setting another `layer` clears both; `select` sets several at once.

    Parameters
    ----------
    trace : Trace
        Live or recorded; asked for blocks from several threads.
    **traits
        Initial values of its traits, see `Chosen`.

    Raises
    ------
    ArgumentError
        If there is no such trait, or a selection is out of range; the message says what the range
        is.

    Examples
    --------
    >>> import twinlens as tl
    >>> ex = tl.open("rewrite.twl")
    >>> ex.select(layer=1, head=2)
    """

    _manifest = t.Dict().tag(sync=True)
    _recorded = t.Bool(False).tag(sync=True)
    #: Class of the still pictures that are hidden while this is alive.
    _still = t.Unicode().tag(sync=True)
    _esm = t.Unicode().tag(sync=True)
    _css = t.Unicode().tag(sync=True)

    def __init__(self, trace: Trace, **traits: Any) -> None:
        check_names(traits)
        self._trace = trace
        if isinstance(traits.get("method", ""), str | None) and not traits.get("method"):
            traits["method"] = trace.manifest.first_method
        if traits.get("marks") is None:
            traits["marks"] = trace.marks
        traits.setdefault("slides", trace.story)
        recorded = not trace.computes
        with refusing():
            super().__init__(_manifest=trace.manifest.to_json(), _recorded=recorded, **traits)
        send = weakref.WeakMethod(self.send)
        computed = weakref.WeakMethod(self._computed)
        self._server = server = BlockServer(
            trace,
            lambda *message: _call(send(), *message),
            lambda key: _call(computed(), key),
        )
        self._known = set() if trace.computes else SHOWN & set(trace.keys())
        self._stills: list[Any] = []
        self.on_msg(lambda _widget, content, _buffers: server.handle(content))
        for widget in (self, self.layout):
            lifetime.hold_weakly(widget)

    @property
    def trace(self) -> Trace:
        """The numbers behind the panels."""
        return self._trace

    @property
    def segments(self) -> list[Segment]:
        """Segment of every prompt token under the present `marks`, for `trace_score`."""
        return marked_segments(self._trace.manifest.prompt_tokens, self.marks)

    def findings(self) -> Findings:
        """What tuning changed for this prompt, in at most five sentences above their null.

        One more is of the update, once it was taken apart.

        Printed, it is plain text; ``findings().to_json()`` are plain values.
        """
        with progress("findings") as report:
            return findings_of(self._trace, report)

    def text(self) -> str:
        """The whole view as plain text: models, prompt, answer, findings, token by token."""
        with progress("findings") as report:
            return plain_text(self._trace, report)

    def findings_panel(self) -> Panel:
        """What tuning changed for this prompt, in at most five sentences; each selects its view."""
        return self._panel("findings")

    def saliency(self) -> Panel:
        """Prompt and answer with the effect of every prompt token, for both models."""
        return self._panel("saliency")

    def carried(self) -> Panel:
        """Which parts of tuned carry the difference of the predictions, measured as a set."""
        return self._panel("carried")

    def update(self) -> Panel:
        """The update as singular directions, what they did, and how few keep the shift."""
        return self._panel("update")

    def heads(self) -> Panel:
        """Every attention head of both models, and the maps of the selected one."""
        return self._panel("heads")

    def concepts(self) -> Panel:
        """Feed-forward units of both models as words."""
        return self._panel("concepts")

    def overview(self) -> Panel:
        """Layer by layer: how far the models are apart, and where the answer is decided.

        Beside it what the weights and what the chat template do, and one model's layers under the
        other's.
        """
        return self._panel("overview")

    def save(self, path: str | os.PathLike[str], *, everything: bool = False) -> Path:
        """Record the trace in a ``.twl`` file, which `twinlens.open` replays without models.

        Parameters
        ----------
        path : path
            Ends in ``.twl``.
        everything : bool
            Of a large pair, keep more than the panels need: the neurons of every layer at every
            answer token, and what heads write into components.
        """
        with progress("recording") as report:
            labelled = LabelledTrace(self._trace, self.labels)
            story = read_story(self.slides)
            return recording.write(
                labelled, path, report, marks=self.marks, story=story, everything=everything
            )

    def to_html(
        self,
        path: str | os.PathLike[str],
        *,
        title: str | None = None,
        budget_mb: float = DEFAULT_BUDGET_MB,
        theme: Theme | None = None,
        present: bool = False,
        panels: Sequence[str] | None = None,
    ) -> ExportReport:
        """Write one offline page with the panels as they are now, see `to_html`.

        Parameters
        ----------
        path : path
        title : str, optional
            Of the page; the names of the two models by default.
        budget_mb : float
            Largest size of the page in megabytes (10^6 bytes).
        theme : {"auto", "light", "dark"}, optional
            The explorer's by default.
        present : bool
            Open as a presentation.
        panels : sequence of str, optional
            Slides of the presentation, one panel each, instead of the story: such as
            ``["heads"]``.
        """
        story: Sequence[Mapping[str, Any]] = self.slides
        if panels is not None:
            story = [{"panel": panel, "state": self.state} for panel in panels]
        with progress("exporting") as report:
            return to_html(
                LabelledTrace(self._trace, self.labels),
                path,
                **self._as_it_is(),
                story=read_story(story),
                present=present,
                title=title,
                theme=theme or cast(Theme, self.theme),
                budget_mb=budget_mb,
                report=report,
            )

    def figure(
        self,
        panel: str,
        *,
        width: Column = "double",
        theme: ChartTheme = "light",
        as_page: bool = False,
        measure: str | None = None,
    ) -> Figure:
        """A panel as a figure for a paper: vector graphics with caption and scale, and its numbers.

        Parameters
        ----------
        panel : str
            ``saliency``, ``heads``, ``maps`` (of the selected head), ``lens`` or ``carried``: drawn
            here, of what is selected. Any other panel, ``findings``, ``update``, ``concepts`` or
            ``overview``, is drawn as the page shows it, by a browser that is already there.
        width : {"single", "double"}
            A column of 89 mm, or two of 183 mm.
        theme : {"light", "dark"}
        as_page : bool
            Draw as the page shows it what could be drawn here, too.
        measure : str, optional
            What heads are drawn by: ``instruction``, ``sink``, ``received``, ``previous``,
            ``entropy``, ``change``, ``effect``, or ``exact`` for measured effects.

        Returns
        -------
        Figure
            Shown by notebooks; ``save`` writes it as ``.svg``, ``.png`` or ``.csv``, ``frame``
            gives its numbers.

        Raises
        ------
        ArgumentError
            If there is no such panel, width, theme or measure.
        BrowserError
            If a browser is needed and there is none.

        Examples
        --------
        >>> ex.figure("heads", width="single", measure="effect").save("heads.svg")  # doctest: +SKIP
        """
        return figure_of(
            LabelledTrace(self._trace, self.labels),
            panel,
            self.state,
            width=width,
            theme=theme,
            as_page=as_page,
            measure=measure,
        )

    def render_static(
        self,
        panel: PanelKind = "dashboard",
        *,
        height: int | None = None,
        budget_mb: float = DEFAULT_BUDGET_MB,
    ) -> StaticView:
        """A page in the output of a cell: linked panels that stay alive without a kernel.

        The front end and the blocks travel in the output, so that the notebook, and what
        nbconvert, MyST and Sphinx make of it, needs neither kernel nor network. Hosts that let no
        HTML run show the text.

        Parameters
        ----------
        panel : {"dashboard", "findings", "saliency", "carried", "update", "heads",
            "concepts", "overview"}
            All panels, or one.
        height : int, optional
            Of the frame, in pixels.
        budget_mb : float
            Largest size of the page in megabytes (10^6 bytes).

        Raises
        ------
        ArgumentError
            If there is no such panel.
        TwinlensError
            If the front end is not built, or not even the empty page fits the budget.

        Examples
        --------
        >>> tl.open("rewrite.twl").render_static()  # doctest: +SKIP
        """
        if panel not in PANELS:
            raise ArgumentError(f"there is no panel {panel!r}: use one of {', '.join(PANELS)}")
        with progress("exporting") as report:
            trace = LabelledTrace(self._trace, self.labels)
            state = page_state(
                trace,
                **self._as_it_is(),
                story=read_story(self.slides),
                theme=cast(Theme, self.theme),
                kind=panel,
            )
            parts = page_parts(trace, state, budget_mb, report)
        text = known_text(self._trace, self._selection)
        return StaticView(parts, height or (DASHBOARD if panel == "dashboard" else PANEL), text)

    def read_labels(self, path: str | os.PathLike[str]) -> None:
        """Take over names of base's components from a file, see `read_annotations`.

        Parameters
        ----------
        path : path

        Raises
        ------
        AnnotationError
            If the file cannot be read, or names no component of base.
        """
        self.labels = from_annotations(read_annotations(path))

    def write_labels(self, path: str | os.PathLike[str]) -> None:
        """Write the names given by hand as a file that `read_labels` reads.

        Parameters
        ----------
        path : path
        """
        write_annotations(path, to_annotations(self.labels))

    def close(self) -> None:
        """Remove the explorer from the page and stop its computations."""
        server = self.__dict__.get("_server")
        if server is not None:
            server.close()
        lifetime.forget(self)
        super().close()

    def _repr_mimebundle_(self, **kwargs: Any) -> Any:
        lifetime.shown(self)
        data, metadata = super()._repr_mimebundle_(**kwargs) or ({}, {})
        # For readers who cannot see it, and programs: what is known, nothing is computed for it.
        return {**data, "text/plain": known_text(self._trace, self._selection)}, metadata

    def _ipython_display_(self) -> None:
        self._stills.append(show(self, self.still()))

    def still(self) -> str:
        """What is known so far as HTML without scripts: prompt, answers, findings, exact matrix.

        It stands behind the panels where a notebook is opened without a kernel.
        """
        return self.hidden(still(self._trace, self._known))

    def hidden(self, html: str) -> str:
        """HTML that pages hide as long as this is alive.

        Parameters
        ----------
        html : str
        """
        return f'<div class="{self._still}">{html}</div>'

    def _computed(self, key: str) -> None:
        """Keep the still pictures up with what is known."""
        new = known_by(self._trace, key) - self._known
        if new:
            self._known |= new
            for shown in self._stills:
                shown.update(picture(self.still()), raw=True)

    def __repr__(self) -> str:
        pair = self._trace.manifest.pair
        selected = ", ".join(
            f"{name}={getattr(self, name)!r}"
            for name, default in SELECTION_DEFAULTS.items()
            if getattr(self, name) != default
        )
        return f"Explorer({pair.base.name} | {pair.tuned.name}; {selected or 'nothing selected'})"

    @property
    def _selection(self) -> dict[str, int | str]:
        return {name: getattr(self, name) for name in SELECTION_DEFAULTS}

    def _as_it_is(self) -> dict[str, Any]:
        """What a page shows as the explorer does, as parameters of `to_html`."""
        return {
            "selection": self._selection,
            "method": self.method,
            "marks": self.marks,
            "view": self.view,
        }

    def _panel(self, kind: PanelKind) -> Panel:
        return Panel(explorer=self, kind=kind)

    @t.default("_still")
    def _default_still(self) -> str:
        return f"twinlens-still-{uuid.uuid4().hex}"

    @t.default("_esm")
    def _default_esm(self) -> str:
        return packed_module("explorer.js")

    @t.default("_css")
    def _default_css(self) -> str:
        return front_end("twinlens.css")


def _call(method: Callable[..., None] | None, *arguments: Any) -> None:
    """Call a method of a widget that may be gone."""
    if method is not None:
        method(*arguments)
