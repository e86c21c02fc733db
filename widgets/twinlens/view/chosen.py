"""What is selected, marked, named and kept of a view, and what of that can be."""

from __future__ import annotations

import operator
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Any, cast

import anywidget
import numpy as np
import traitlets as t

from twinlens.contract.block import PARAMETERS
from twinlens.contract.forms import HandLabels
from twinlens.contract.words import SELECTION_DEFAULTS
from twinlens.errors import AnnotationError, ArgumentError, PromptError, UnknownBlockError
from twinlens.labels.given_names import check
from twinlens.support.calls import methods_called_rightly
from twinlens.traces.marks import Mark, read_marks
from twinlens.traces.story import Slide, read_story
from twinlens.traces.trace import Trace


class Whole(t.Int[int, Any]):
    """A whole number of Python, NumPy or torch."""

    def validate(self, obj: Any, value: Any) -> int:
        """The number, as one of Python."""
        if not isinstance(value, bool):
            with suppress(TypeError):
                return operator.index(value)
        return cast(int, self.error(obj, value))


@methods_called_rightly
class Chosen(anywidget.AnyWidget):
    """The traits of an explorer that users and pages set, checked against its trace."""

    token = Whole(-1).tag(sync=True)
    """Selected position, prompt tokens first and then the answer; -1 for none."""

    layer = Whole(-1).tag(sync=True)
    """Selected layer; -1 for none."""

    head = Whole(-1).tag(sync=True)
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

    _trace: Trace
    _consistent = False

    def __setattr__(self, name: str, value: Any) -> None:
        with refusing():
            super().__setattr__(name, value)

    @property
    def state(self) -> dict[str, Any]:
        """What is seen, as plain values: the selection, method, marks and view.

        Set, it brings a view back; what it does not name is as at the start.
        """
        selection = {name: getattr(self, name) for name in SELECTION_DEFAULTS}
        return {**selection, "method": self.method, "marks": self.marks, "view": dict(self.view)}

    @state.setter
    def state(self, value: Mapping[str, Any]) -> None:
        state = read_story([{"state": value}])[0]["state"]
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
        ArgumentError
            If a value is out of range; the selection is then unchanged.
        """
        moved = layer is not None and bool(np.any(layer != self.layer))
        changes: dict[str, int | str] = {
            "head": SELECTION_DEFAULTS["head"] if moved else self.head,
            "unit": SELECTION_DEFAULTS["unit"] if moved else self.unit,
        }
        named_values = {"token": token, "layer": layer, "head": head, "unit": unit}
        changes.update({name: value for name, value in named_values.items() if value is not None})
        with self.hold_sync():
            self._apply(changes)

    def set_state(self, sync_data: dict[str, Any]) -> None:
        """Take over what the page selected; it follows the rules by itself."""
        with self._as_given():
            super().set_state(sync_data)

    def _apply(self, changes: Mapping[str, Any]) -> None:
        with refusing(), self._as_given(), self.hold_trait_notifications():
            for name, value in changes.items():
                self.set_trait(name, value)

    @contextmanager
    def _as_given(self) -> Iterator[None]:
        """Nothing follows from a new layer while inside, also if an observer selects by itself."""
        before, self._consistent = self._consistent, True
        try:
            yield
        finally:
            self._consistent = before

    @t.observe("layer")
    def _leave_layer(self, _change: Any) -> None:
        if not self._consistent:
            self._apply({name: SELECTION_DEFAULTS[name] for name in ("head", "unit")})

    @t.validate("token", "layer")
    def _valid_index(self, proposal: Any) -> int:
        return self._existing(proposal["trait"].name, proposal["value"])

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

    @t.validate("labels", "marks", "slides")
    def _valid_form(self, proposal: Any) -> HandLabels | list[Mark] | list[Slide] | None:
        name, value = proposal["trait"].name, proposal["value"]
        try:
            if name == "marks":
                return read_marks(value, self._trace.manifest.prompt_tokens)
            return check(value) if name == "labels" else read_story(value)
        except (AnnotationError, ArgumentError, PromptError) as error:
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


@contextmanager
def refusing() -> Iterator[None]:
    """Say in one sentence, as an error of twinlens, what traitlets refuses."""
    try:
        yield
    except ArgumentError:
        raise
    except t.TraitError as error:
        raise ArgumentError(str(error)) from error
    except ValueError as error:  # of NumPy, where an array is compared
        raise ArgumentError("what is set is a text, a number or a list, no array") from error


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
    known = {name for name in Chosen.class_trait_names() if name[0] != "_"}
    unknown = [name for name in traits if name not in known]
    if unknown:
        # In the order of their documentation.
        settings = (name for name in vars(Chosen) if name in known)
        raise ArgumentError(
            f"there is no argument {', '.join(unknown)}: "
            f"known are {', '.join((*beside, *settings))}"
        )
