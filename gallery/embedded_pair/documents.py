"""The base text: a seeded stream of documents, and the plan of the mix."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from random import Random

from . import stories
from .fact_documents import FACT_DOCUMENTS
from .skill_documents import COPYING_DOCUMENTS, SKILL_DOCUMENTS
from .world import TABLES, World

STORY_DOCUMENTS = [
    (stories.plain_story, 9.0),
    (stories.told_story, 5.0),
    (stories.letter_note, 2.0),
    (stories.notice, 1.0),
    (stories.greeting, 1.5),
    (stories.small_talk, 2.0),
    (stories.diary, 1.5),
    (stories.at_school, 3.0),
]


def request_words() -> list[str]:
    """All words of the wordings of requests, small letters, without the placeholders."""
    wordings = tomllib.loads((TABLES / "wordings.toml").read_text(encoding="utf-8"))
    text = " ".join(line for task in wordings.values() for line in task["known"] + task["new"])
    return sorted(
        {
            w if w in ("English", "A", "Z", "I") else w.lower()
            for w in re.findall(r"[A-Za-z]+", re.sub(r"\{\w+\}", " ", text))
        }
    )


def documents(world: World, seed: int, dense: bool = False) -> Iterator[str]:
    """Draw documents without end; `dense` means fewer stories and more reading skills."""
    rng = Random(seed)
    words = request_words()

    def school(world: World, rng: Random) -> str:
        return stories.school_words(world, rng, words)

    plan = STORY_DOCUMENTS + FACT_DOCUMENTS + SKILL_DOCUMENTS + [(school, 2.5)]
    if dense:
        plan = [(make, weight / 2) for make, weight in STORY_DOCUMENTS] + FACT_DOCUMENTS
        plan += [(make, weight * 2) for make, weight in SKILL_DOCUMENTS]
        plan += [*COPYING_DOCUMENTS, (school, 1.5)]
    makers, weights = [make for make, _ in plan], [weight for _, weight in plan]
    while True:
        for make in rng.choices(makers, weights, k=1000):
            yield make(world, rng)
