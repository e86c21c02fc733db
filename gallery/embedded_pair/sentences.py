"""Simple sentences that can be put into the past, denied, asked or spoilt."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random

from .world import Verb, World, a, upper_first


@dataclass(frozen=True)
class Sentence:
    """A subject, a verb and the rest, with what the text is about."""

    subject: str
    verb: Verb
    rest: str
    animal: str = ""
    person: str = ""

    def present(self) -> str:
        """Say it now: `The small dog sleeps in the garden.`."""
        return f"{upper_first(self.subject)} {self.verb.third} {self.rest}."

    def past(self) -> str:
        """Say it of the past: `The small dog slept in the garden.`."""
        return f"{upper_first(self.subject)} {self.verb.past} {self.rest}."

    def negative(self) -> str:
        """Deny it: `The small dog does not sleep in the garden.`."""
        return f"{upper_first(self.subject)} does not {self.verb.base} {self.rest}."

    def question(self) -> str:
        """Ask it: `Does the small dog sleep in the garden?`."""
        return f"Does {self.subject} {self.verb.base} {self.rest}?"

    def wrong(self, kind: int) -> str:
        """Put in a mistake: a verb without s, a verb twice, or a wrong `is`."""
        if kind == 0:
            return f"{upper_first(self.subject)} {self.verb.base} {self.rest}."
        if kind == 1:
            return f"{upper_first(self.subject)} {self.verb.third} {self.verb.third} {self.rest}."
        return f"{upper_first(self.subject)} is {self.verb.base} {self.rest}."


def make_sentence(world: World, rng: Random, kind: str = "") -> Sentence:
    """Draw a sentence; `kind` "animal" or "person" fixes what it is about."""
    kind = kind or rng.choice(["animal", "animal", "person", "job"])
    animal = person = ""
    if kind == "animal":
        animal = rng.choice(world.animals).name
        subject = (
            f"the {rng.choice(world.adjectives)} {animal}"
            if rng.random() < 0.75
            else f"the {animal}"
        )
    elif kind == "person":
        person = subject = rng.choice(world.names)
    else:
        job = rng.choice(world.jobs).name
        subject = (
            f"the {rng.choice(world.adjectives)} {job}" if rng.random() < 0.75 else f"the {job}"
        )
    if rng.random() < 0.55:
        return Sentence(subject, rng.choice(world.verbs), rng.choice(world.places), animal, person)
    thing = f"{rng.choice(world.object_adjectives)} {rng.choice(world.objects)}"
    rest = a(thing) if rng.random() < 0.6 else f"the {thing}"
    if rng.random() < 0.3:
        rest += " " + rng.choice(world.places)
    return Sentence(subject, rng.choice(world.transitive), rest, animal, person)
