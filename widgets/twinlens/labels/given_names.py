"""Names and labels of components as panels show them, from annotations or by hand.

By hand they are a plain dictionary, ``{"layer/component": {"name": text, "labels": [...]}}``, with
components numbered as in base; it is kept in the same files as annotations. A trace
of which components carry names given by hand shows these.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, cast

from twinlens.contract import blocks, lookup
from twinlens.contract.forms import HandLabel, HandLabels
from twinlens.contract.wire import Value
from twinlens.contract.words import LEVELS, TASKS
from twinlens.errors import AnnotationError
from twinlens.labels.annotate import parse_name
from twinlens.labels.questions import Annotation, Component
from twinlens.support.progress import Report
from twinlens.traces.trace import Trace


@dataclass(frozen=True)
class Named:
    """What a component is called; no name means that nobody could tell."""

    name: str | None
    labels: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """As it stands in a ``components`` block."""
        return {"name": self.name, "labels": list(self.labels)}


def names_of(annotations: Iterable[Annotation]) -> dict[tuple[str, int, int], Named]:
    """Name and labels by model, layer and component, over all rounds.

    The name is that of the first round that gave one; a label holds where more than half of the
    rounds that named the component gave it.
    """
    rounds: dict[tuple[str, int, int], list[Annotation]] = {}
    for annotation in annotations:
        component = annotation.component
        key = (component.model, component.layer, component.component)
        rounds.setdefault(key, []).append(annotation)
    names = {}
    for key, of_component in rounds.items():
        named = [annotation for annotation in of_component if annotation.name is not None]
        label_counts = Counter(
            label
            for annotation in named
            for label in (
                *(annotation.tasks or ()),
                *((annotation.level,) if annotation.level else ()),
            )
        )
        labels = (label for label in (*TASKS, *LEVELS) if 2 * label_counts[label] > len(named))
        names[key] = Named(named[0].name if named else None, tuple(labels))
    return names


def from_annotations(annotations: Iterable[Annotation]) -> HandLabels:
    """Labels of base's components as the explorer keeps them; those without a name are left out.

    Raises
    ------
    AnnotationError
        If none of them is about a model called "base".
    """
    names = names_of(annotations)
    models = sorted({model for model, _, _ in names})
    if names and "base" not in models:
        raise AnnotationError(
            f"these labels are about {', '.join(map(repr, models))}: a panel shows those of 'base'"
        )
    return {
        f"{layer}/{component}": HandLabel(name=named.name, labels=list(named.labels))
        for (model, layer, component), named in names.items()
        if model == "base" and named.name is not None
    }


def to_annotations(labels: HandLabels) -> list[Annotation]:
    """The same as annotations of one round, by layer and component."""
    checked = check(labels)
    annotations = []
    for key in sorted(checked, key=lambda key: tuple(map(int, key.split("/")))):
        layer, component = map(int, key.split("/"))
        given_labels = checked[key]["labels"]
        annotations.append(
            Annotation(
                Component("base", layer, component, ()),
                0,
                checked[key]["name"],
                tuple(task for task in TASKS if task in given_labels) or None,
                next((level for level in LEVELS if level in given_labels), None),
                {},
            )
        )
    return annotations


def check(labels: Mapping[str, Any]) -> HandLabels:
    """Labels given by hand, if they are well formed.

    Raises
    ------
    AnnotationError
        If a component is not named as "layer/component", a name is no short line of text, or a
        label is unknown.
    """
    for key, value in labels.items():
        parts = key.split("/")
        if len(parts) != 2 or not all(part.isascii() and part.isdecimal() for part in parts):
            raise AnnotationError(f"{key!r} is no component: write layer/component, such as 3/12")
        name = value.get("name") if isinstance(value, Mapping) else None
        if not isinstance(name, str) or parse_name(name) != (name, "told"):
            raise AnnotationError(
                f"component {key} cannot be called {name!r}: a name is one line of at most 8 words"
            )
        unknown = set(value.get("labels", ())) - {*TASKS, *LEVELS}
        if unknown:
            raise AnnotationError(
                f"component {key} has the label {sorted(unknown)[0]!r}: known are "
                f"{', '.join((*TASKS, *LEVELS))}"
            )
    return {
        key: {"name": value["name"], "labels": list(value.get("labels", ()))}
        for key, value in labels.items()
    }


class LabelledTrace(Trace):
    """A trace whose components carry names given by hand, which go before any others."""

    def __init__(self, trace: Trace, labels: HandLabels) -> None:
        self.manifest, self.computes = trace.manifest, trace.computes
        self._trace, self._labels = trace, labels

    def keys(self) -> Iterable[str]:
        return self._trace.keys()

    def every_key(self) -> Iterable[str]:
        return self._trace.every_key()

    def block(self, key: str, report: Report | None = None) -> Value:
        return self._named(key, self._trace.block(key, report))

    def known(self, key: str) -> Value | None:
        value = self._trace.known(key)
        return None if value is None else self._named(key, value)

    def _named(self, key: str, value: Value) -> Value:
        request = lookup.read(key, self.manifest)
        if request.block is not blocks.components or not self._labels:
            return value
        layer = request.values["layer"]
        entries = cast(list[dict[str, Any]], value)
        return [
            {**component, **self._labels.get(f"{layer}/{k}", {})}
            for k, component in enumerate(entries)
        ]
