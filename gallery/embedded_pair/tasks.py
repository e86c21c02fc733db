"""The list of all tasks."""

from __future__ import annotations

from . import tasks_text as text
from . import tasks_world as world
from .task import Task, wordings

FAMILIES = {
    "editing": ["uppercase", "past", "negative", "question", "replace", "correct", "combine"],
    "word games": [
        "repeat",
        "reverse",
        "sort",
        "last_word",
        "count",
        "find",
        "person",
        "odd_one",
        "format",
    ],
    "reading": ["summarize", "title", "who", "review"],
    "words": ["translate", "opposite", "synonym", "plural", "rhyme", "number"],
    "facts": [
        "capital",
        "language",
        "sum",
        "next",
        "food",
        "home",
        "color",
        "explain",
        "classify",
        "compare",
        "gift",
        "job",
        "howto",
    ],
    "writing": ["list", "sentence", "story", "describe", "letter", "greet"],
}
# Python names of the functions that differ from the names of the tasks
RENAMED = {"format": "format_list", "sum": "add", "next": "following", "list": "list_members"}
# Tasks that need more practice than the rest, or (few items) less
WEIGHTS = {
    "who": 4.0,
    "sort": 3.0,
    "odd_one": 2.0,
    "reverse": 1.5,
    "format": 1.5,
    "compare": 1.5,
    "count": 1.5,
    "greet": 0.5,
    "howto": 0.6,
    "gift": 0.6,
    "capital": 0.6,
    "language": 0.6,
    "past": 0.7,
    "negative": 0.7,
    "question": 0.7,
    "correct": 0.7,
    "combine": 0.7,
}


def all_tasks() -> list[Task]:
    """Build the tasks from their functions and wordings."""
    asked = wordings()
    made = []
    for family, names in FAMILIES.items():
        for name in names:
            function = RENAMED.get(name, name)
            draw = getattr(text, function, None) or getattr(world, function)
            made.append(
                Task(
                    name,
                    family,
                    draw,
                    asked[name]["known"],
                    asked[name]["new"],
                    WEIGHTS.get(name, 1.0),
                )
            )
    return made
