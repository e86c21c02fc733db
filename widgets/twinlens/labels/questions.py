"""What annotators are asked, and what they say of a component."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal, TypeAlias

LabelKind: TypeAlias = Literal["name", "task", "level"]
#: What became of a question: answered, "cannot tell" said so, or no valid answer.
ReplyOutcome: TypeAlias = Literal["told", "cannot tell", "nonsense"]


@dataclass(frozen=True)
class Component:
    """A component of a feed-forward layer of one model, and its top words, best first."""

    model: str
    layer: int
    component: int
    words: tuple[str, ...]


@dataclass(frozen=True)
class LabelQuestion:
    """One question to an annotator; `name` is that of the component, once it has one."""

    kind: LabelKind
    component: Component
    name: str = ""


#: Answers a question in a round, given the round's seed; None says "cannot tell".
Annotator: TypeAlias = Callable[[LabelQuestion, int], str | None]


@dataclass(frozen=True)
class Annotation:
    """What one round says about a component.

    Attributes
    ----------
    component : Component
    round : int
        Seed of the round.
    name : str or None
        None where the annotator cannot tell; then nothing else is asked.
    tasks : tuple of str or None
        Of `TASKS`, empty for none of them.
    level : str or None
        One of `LEVELS`.
    outcomes : mapping of kind to ReplyOutcome
        What became of every question that was asked.
    """

    component: Component
    round: int
    name: str | None
    tasks: tuple[str, ...] | None
    level: str | None
    outcomes: Mapping[LabelKind, ReplyOutcome]
