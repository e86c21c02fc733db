"""What a task is: how its items are drawn, how they are asked for, which are held out."""

from __future__ import annotations

import re
import tomllib
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from random import Random

from .checks import Check
from .world import TABLES, World, lower_first

HELD_OUT_PART = 6
PLEASE = {
    "Rewrite",
    "Write",
    "Put",
    "Change",
    "Convert",
    "Make",
    "Turn",
    "Give",
    "Name",
    "Tell",
    "Find",
    "Say",
    "List",
    "Sort",
    "Translate",
    "Describe",
    "Explain",
    "Count",
    "Repeat",
    "Copy",
    "Reverse",
    "Choose",
    "Classify",
    "Compare",
    "Correct",
    "Combine",
    "Join",
    "Replace",
    "Summarize",
    "Create",
    "Compose",
    "Generate",
    "Recommend",
    "Identify",
    "Format",
    "Arrange",
    "Edit",
    "Revise",
    "Add",
    "Solve",
}


@dataclass(frozen=True)
class Item:
    """One thing to ask: its key, the fields of the wording, an answer and its check."""

    key: str
    fields: dict[str, str]
    answer: str
    check: Check


@dataclass(frozen=True)
class Task:
    """A task with its two sets of wordings; `weight` is its share of the tuning."""

    name: str
    family: str
    draw: Callable[[World, Random], Item]
    known: list[str]
    new: list[str]
    weight: float = 1.0


@dataclass(frozen=True)
class Request:
    """A prompt and what belongs to it."""

    task: str
    family: str
    prompt: str
    instruction: str
    context: str
    answer: str
    check: Check


@cache
def examples() -> list[dict[str, str]]:
    """Read the prompts that are bundled with the pair."""
    return tomllib.loads((TABLES / "examples.toml").read_text(encoding="utf-8"))["example"]


@cache
def _example_keys() -> set[tuple[str, str]]:
    return {
        (row["task"], row["key"])
        for row in examples()
        if "context" in row or row["task"] in ("story", "letter")
    }


def is_held_out(task: str, key: str) -> bool:
    """Say whether an item is kept out of the tuning: a fixed sixth, and the bundled prompts."""
    drawn = zlib.crc32(f"{task}|{key}".encode())
    return drawn % HELD_OUT_PART == 0 or (task, key) in _example_keys()


def wordings() -> dict[str, dict[str, list[str]]]:
    """Read the wordings of all tasks."""
    return tomllib.loads((TABLES / "wordings.toml").read_text(encoding="utf-8"))


def word_request(task: Task, item: Item, wording: str, rng: Random, polite: float = 0.0) -> Request:
    """Put an item into words. `polite` is the chance of a `Please` in front."""
    frame = re.sub(r"\[([^\]]+)\]", lambda m: rng.choice(m.group(1).split("|")), wording)
    if rng.random() < polite and frame.split(" ")[0] in PLEASE:
        frame = "Please " + lower_first(frame)
    before, mark, after = frame.partition("{c}")
    instruction = (before if before.strip() else after).strip() if mark else frame
    context = item.fields.get("c", "") if mark else ""
    return Request(
        task.name,
        task.family,
        frame.format(**item.fields),
        instruction.format(**item.fields),
        context,
        item.answer,
        item.check,
    )


def draw_item(task: Task, world: World, rng: Random, held_out: bool) -> Item:
    """Draw an item that is, or is not, held out."""
    while True:
        item = task.draw(world, rng)
        if is_held_out(task.name, item.key) == held_out:
            return item
