"""The explorer: owns the selection, answers the page, and carries the front end's one bundle."""

from __future__ import annotations

import os
import uuid
import weakref
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import anywidget
import traitlets as t

from twinlens.contract.block import PARAMETERS
from twinlens.contract.forms import HandLabels
from twinlens.contract.words import SELECTION_DEFAULTS, PanelKind, Segment
from twinlens.errors import AnnotationError, ArgumentError, PromptError, UnknownBlockError
from twinlens.figures.still import SHOWN, known_by, still
from twinlens.labels.annotate import read_annotations, write_annotations
from twinlens.labels.names import check, from_annotations, to_annotations
from twinlens.measures.findings import Findings
from twinlens.measures.plain_text import findings_of, plain_text
from twinlens.pages.front_end import front_end
from twinlens.pages.page import DEFAULT_BUDGET_MB, ExportReport, Theme, to_html
from twinlens.support.progress import progress
from twinlens.traces import recording
from twinlens.traces.labelled import LabelledTrace
from twinlens.traces.marks import Mark, read_marks
from twinlens.traces.marks import segments as marked_segments
from twinlens.traces.story import Slide, read_story
from twinlens.traces.trace import Trace
from twinlens.view import lifetime
from twinlens.view.notebook import picture, show
from twinlens.view.panel import Panel
from twinlens.view.server import BlockServer

#: Traits that users set, in the order of their documentation.
_SETTINGS = (
    "token",
    "layer",
    "head",
    "unit",
    "method",
    "theme",
    "presentation",
    "marks",
    "labels",
    "view",
    "slides",
)


class Explorer(anywidget.AnyWidget):
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
        Initial values of the traits below.

    Raises
    ------
    ArgumentError
        If there is no such trait.
    traitlets.TraitError
        If a selection is out of range; the message says what the range is.

    Examples
    --------
    >>> ex = tl.open("rewrite.twl")  # doctest: +SKIP
    >>> ex.select(layer=3, head=6)  # doctest: +SKIP
    """

    token = t.Int(-1).tag(sync=True)
    """Selected position, prompt tokens first and then the answer; -1 for none."""

    layer = t.Int(-1).tag(sync=True)
    """Selected layer; -1 for none."""

    head = t.Int(-1).tag(sync=True)
    """Selected attention head of that layer; -1 for none."""

    unit = t.Unicode("").tag(sync=True)
    """Selected unit of that layer, ``component:K`` or ``neuron:N``; empty for none."""

    method = t.Unicode("").tag(sync=True)
    """Name of the saliency method shown, one of ``trace.manifest.methods``."""

    theme = t.Enum(("auto", "light", "dark"), default_value="auto").tag(sync=True)
    """Colours: the notebook's own, light, or dark."""

    presentation = t.Bool(False).tag(sync=True)
    """Large type and marks, for a projector."""

    marks = t.Any(None).tag(sync=True)
    """Spans marked anew, as (start, end, ``instruction`` or ``context``) over the prompt's tokens;
    None for the spans the trace was made with. Densities, scores and shares follow."""

    labels = t.Dict().tag(sync=True)
    """Names given to components by hand: ``{"layer/component": {"name": text, "labels": [...]}}``,
    components numbered as in base; shown instead of any other name, kept by `write_labels`."""

    view = t.Dict().tag(sync=True)
    """How the panels show it, such as the open tab of the heads: by panel, only what differs from
    the start. Set by the panels, the same in all cells, kept by `to_html`."""

    slides: t.List[Slide] = t.List().tag(sync=True)
    """Kept views in their order, each with a caption and notes; see `story`."""

    _manifest = t.Dict().tag(sync=True)
    _recorded = t.Bool(False).tag(sync=True)
    #: Class of the still pictures that are hidden while this is alive.
    _still = t.Unicode().tag(sync=True)
    _esm = t.Unicode().tag(sync=True)
    _css = t.Unicode().tag(sync=True)

    def __init__(self, trace: Trace, **traits: Any) -> None:
        check_names(traits)
        self._trace = trace
        self._consistent = False
        if not traits.get("method"):
            traits["method"] = trace.manifest.first_method
        if traits.get("marks") is None:
            traits["marks"] = trace.marks
        traits.setdefault("slides", trace.story)
        recorded = not trace.computes
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

    @property
    def state(self) -> dict[str, Any]:
        """What is seen, as plain values: the selection, method, marks and view.

        Set, it brings a view back; what it does not name is as at the start.
        """
        selection = {name: getattr(self, name) for name in SELECTION_DEFAULTS}
        return {**selection, "method": self.method, "marks": self.marks, "view": dict(self.view)}

    @state.setter
    def state(self, value: Mapping[str, Any]) -> None:
        state = read_story([{"state": dict(value)}])[0]["state"]
        start = {**SELECTION_DEFAULTS, "method": self._trace.manifest.first_method}
        with self.hold_sync():
            self._apply({**start, "marks": None, "view": {}, **state})

    def story(self, views: Sequence[Mapping[str, Any]]) -> None:
        """Tell a story: views with captions, the slides of a presentation (P).

        Parameters
        ----------
        views : sequence of mapping
            Each with ``caption``, ``notes`` for the speaker, ``panel`` (``saliency``, ``carried``,
            ``heads``, ``concepts`` or ``overview``), and what is seen: ``token``, ``layer``,
            ``head``, ``unit``, ``method``, ``marks`` and ``view``, or a `state` as a whole.

        Raises
        ------
        ArgumentError
            If a view has an entry that cannot be.

        Examples
        --------
        >>> ex.story([{"caption": "Tuned copies", "token": 27, "panel": "heads"}])  # doctest: +SKIP
        """
        self.slides = read_story(views)

    def findings(self) -> Findings:
        """What tuning changed for this prompt, in at most five sentences above their null.

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

    def select(
        self,
        *,
        token: int | None = None,
        layer: int | None = None,
        head: int | None = None,
        unit: str | None = None,
    ) -> None:
        """Change the selection in one step; what is not named stays, if it is still valid.

        Raises
        ------
        traitlets.TraitError
            If a value is out of range; the selection is then unchanged.
        """
        moved = layer is not None and layer != self.layer
        changes: dict[str, int | str] = {
            "head": SELECTION_DEFAULTS["head"] if moved else self.head,
            "unit": SELECTION_DEFAULTS["unit"] if moved else self.unit,
        }
        named_values = {"token": token, "layer": layer, "head": head, "unit": unit}
        changes.update({name: value for name, value in named_values.items() if value is not None})
        with self.hold_sync():
            self._apply(changes)

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Record the trace in a ``.twl`` file, which `twinlens.open` replays without models."""
        with progress("recording") as report:
            labelled = LabelledTrace(self._trace, self.labels)
            story = read_story(self.slides)
            return recording.write(labelled, path, report, marks=self.marks, story=story)

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
                selection={name: getattr(self, name) for name in SELECTION_DEFAULTS},
                method=self.method,
                marks=self.marks,
                view=self.view,
                story=read_story(story),
                present=present,
                title=title,
                theme=theme or cast(Theme, self.theme),
                budget_mb=budget_mb,
                report=report,
            )

    def read_labels(self, path: str | os.PathLike[str]) -> None:
        """Take over names of base's components from a file, see `read_annotations`.

        Raises
        ------
        AnnotationError
            If the file cannot be read, or names no component of base.
        """
        self.labels = from_annotations(read_annotations(path))

    def write_labels(self, path: str | os.PathLike[str]) -> None:
        """Write the names given by hand as a file that `read_labels` reads."""
        write_annotations(path, to_annotations(self.labels))

    def set_state(self, sync_data: dict[str, Any]) -> None:
        """Take over what the page selected; it follows the rules by itself."""
        self._consistent = True
        try:
            super().set_state(sync_data)
        finally:
            self._consistent = False

    def close(self) -> None:
        """Remove the explorer from the page and stop its computations."""
        server = self.__dict__.get("_server")
        if server is not None:
            server.close()
        lifetime.forget(self)
        super().close()

    def _repr_mimebundle_(self, **kwargs: Any) -> Any:
        lifetime.shown(self)
        return super()._repr_mimebundle_(**kwargs)

    def _ipython_display_(self) -> None:
        self._stills.append(show(self, self.still()))

    def still(self) -> str:
        """What is known so far as HTML without scripts: prompt, answers, findings, exact matrix.

        It stands behind the panels where a notebook is opened without a kernel.
        """
        return self.hidden(still(self._trace, self._known))

    def hidden(self, html: str) -> str:
        """HTML that pages hide as long as this is alive."""
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

    def _panel(self, kind: PanelKind) -> Panel:
        return Panel(explorer=self, kind=kind)

    def _apply(self, changes: Mapping[str, Any]) -> None:
        self._consistent = True
        try:
            with self.hold_trait_notifications():
                for name, value in changes.items():
                    self.set_trait(name, value)
        finally:
            self._consistent = False

    @t.observe("layer")
    def _leave_layer(self, _change: Any) -> None:
        if not self._consistent:
            self._apply({name: SELECTION_DEFAULTS[name] for name in ("head", "unit")})

    @t.default("_still")
    def _default_still(self) -> str:
        return f"twinlens-still-{uuid.uuid4().hex}"

    @t.default("_esm")
    def _default_esm(self) -> str:
        return front_end("explorer.js")

    @t.default("_css")
    def _default_css(self) -> str:
        return front_end("twinlens.css")

    @t.validate("token")
    def _valid_token(self, proposal: Any) -> int:
        return self._existing("token", proposal["value"])

    @t.validate("layer")
    def _valid_layer(self, proposal: Any) -> int:
        return self._existing("layer", proposal["value"])

    @t.validate("head")
    def _valid_head(self, proposal: Any) -> int:
        head = self._existing("head", proposal["value"])
        if head >= 0:
            self._require_layer("head", head)
        return head

    @t.validate("unit")
    def _valid_unit(self, proposal: Any) -> str:
        unit = str(proposal["value"])
        if unit:
            self._read("unit", unit)
            self._require_layer("unit", unit)
        return unit

    @t.validate("labels")
    def _valid_labels(self, proposal: Any) -> HandLabels:
        try:
            return check(proposal["value"])
        except AnnotationError as error:
            raise t.TraitError(str(error)) from error

    @t.validate("marks")
    def _valid_marks(self, proposal: Any) -> list[Mark] | None:
        try:
            return read_marks(proposal["value"], self._trace.manifest.prompt_tokens)
        except PromptError as error:
            raise t.TraitError(str(error)) from error

    @t.validate("slides")
    def _valid_slides(self, proposal: Any) -> list[Slide]:
        try:
            return read_story(proposal["value"])
        except ArgumentError as error:
            raise t.TraitError(str(error)) from error

    @t.validate("method")
    def _valid_method(self, proposal: Any) -> str:
        names = [method.name for method in self._trace.manifest.methods]
        if proposal["value"] and proposal["value"] not in names:
            raise t.TraitError(
                f"this trace has no saliency method {proposal['value']!r}: "
                f"it has {', '.join(names)}"
            )
        return str(proposal["value"])

    def _existing(self, name: str, index: int) -> int:
        """An index that exists, or -1 for none."""
        if index != -1:
            self._read(name, str(index))
        return index

    def _read(self, name: str, text: str) -> None:
        layer = self.layer if self.layer >= 0 else None
        try:
            PARAMETERS[name].read(text, self._trace.manifest, {"layer": layer})
        except UnknownBlockError as error:
            raise t.TraitError(f'{error}; -1 or "" selects none') from error

    def _require_layer(self, name: str, value: int | str) -> None:
        if self.layer < 0:
            raise t.TraitError(
                f"{name} {value!r} needs a layer: use ex.select(layer=..., {name}={value!r})"
            )


def check_names(traits: Mapping[str, Any], beside: Iterable[str] = ()) -> None:
    """Make sure that an explorer has traits of these names.

    Parameters
    ----------
    beside : iterable of str
        What else the caller takes, for the message.

    Raises
    ------
    ArgumentError
        If it has not.
    """
    known = {name for name in Explorer.class_trait_names() if name[0] != "_"}
    unknown = [name for name in traits if name not in known]
    if unknown:
        raise ArgumentError(
            f"there is no argument {', '.join(unknown)}: "
            f"known are {', '.join((*beside, *_SETTINGS))}"
        )


def _call(method: Callable[..., None] | None, *arguments: Any) -> None:
    """Call a method of a widget that may be gone."""
    if method is not None:
        method(*arguments)
