"""Stories: kept views with captions, in the order in which they are told."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypedDict

from twinlens.contract.words import SELECTION_DEFAULTS
from twinlens.errors import ArgumentError

#: What a view may say, and in which form; a panel is where it is seen.
_FORMS: dict[str, Any] = {
    **{name: type(value) for name, value in SELECTION_DEFAULTS.items()},
    "method": str,
    "marks": list | tuple | None,
    "view": dict,
}
_STATE = tuple(_FORMS)
_KNOWN = ("caption", "notes", "panel", "state", *_STATE)
_PANELS = ("saliency", "carried", "update", "heads", "concepts", "overview")


class Slide(TypedDict):
    """One kept view: what is said about it, notes for the speaker, and what is seen."""

    caption: str
    notes: str
    state: dict[str, Any]


def read_story(value: Any) -> list[Slide]:
    """Slides of a story, each a mapping as `Explorer.story` takes it or as it is kept.

    Raises
    ------
    ArgumentError
        If it is no list of mappings, or one has an unknown or misfitting entry.
    """
    if not isinstance(value, list | tuple):
        raise ArgumentError("a story is a list of views, each a mapping with a caption")
    return [_slide(number, slide) for number, slide in enumerate(value)]


def _slide(number: int, slide: Any) -> Slide:
    name = f"view {number} of the story"
    if not isinstance(slide, Mapping):
        raise ArgumentError(f"{name} is no mapping: give {{'caption': ..., 'token': ...}}")
    unknown = [key for key in slide if key not in _KNOWN]
    if unknown:
        raise ArgumentError(f"{name} has no {unknown[0]!r}: known are {', '.join(_KNOWN)}")
    if not isinstance(slide.get("state", {}), Mapping):
        raise ArgumentError(f"the state of {name} is no mapping: known are {', '.join(_STATE)}")
    state = {**slide.get("state", {}), **{key: slide[key] for key in _STATE if key in slide}}
    for key, value in state.items():
        _check(name, key, value)
    if "panel" in slide:
        state["view"] = _with_panel(name, state.get("view", {}), slide["panel"])
    for key in ("caption", "notes"):
        if not isinstance(slide.get(key, ""), str):
            raise ArgumentError(f"the {key} of {name} is no text")
    return {"caption": slide.get("caption", ""), "notes": slide.get("notes", ""), "state": state}


def _check(name: str, key: str, value: Any) -> None:
    if key not in _FORMS:
        raise ArgumentError(f"{name} has no {key!r}: known are {', '.join(_STATE)}")
    if not isinstance(value, _FORMS[key]) or isinstance(value, bool):
        raise ArgumentError(f"{key}={value!r} of {name} cannot be")


def _with_panel(name: str, view: Mapping[str, Any], panel: Any) -> dict[str, Any]:
    """The view with a panel brought into sight."""
    if not (isinstance(panel, str) and panel in _PANELS):
        raise ArgumentError(
            f"{name} names no panel {panel!r}: it can be one of {', '.join(_PANELS)}"
        )
    beside = {} if panel == "saliency" else {"beside": panel}
    return {**view, "dashboard": {**view.get("dashboard", {}), "tab": panel, **beside}}
