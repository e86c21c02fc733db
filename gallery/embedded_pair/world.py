"""The mini-world: the tables of `tables/world.toml` and `tables/sentences.toml` as plain data."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass, field
from pathlib import Path

TABLES = Path(__file__).parent / "tables"


@dataclass(frozen=True)
class Animal:
    """One animal and what the world knows about it."""

    name: str
    plural: str
    group: str
    home: str
    food: str
    legs: str
    size: int


@dataclass(frozen=True)
class Job:
    """One job: what the person does, where, and with which tool."""

    name: str
    plural: str
    does: str
    where: str
    tool: str


@dataclass(frozen=True)
class Verb:
    """Three forms of a verb."""

    base: str
    third: str
    past: str


@dataclass(frozen=True)
class World:
    """All tables. Pairs and triples of words stay tuples."""

    animals: list[Animal]
    produce: dict[str, list[tuple[str, str, str]]]
    jobs: list[Job]
    tools: list[tuple[str, str, str]]
    things: list[tuple[str, str]]
    kinds: dict[str, list[str]]
    countries: list[tuple[str, str, str]]
    dictionary: list[tuple[str, str, str]]
    opposites: list[tuple[str, str]]
    synonyms: list[tuple[str, str]]
    plurals: list[tuple[str, str]]
    rhymes: list[list[str]]
    numbers: list[str]
    days: list[str]
    months: list[str]
    howtos: list[tuple[str, str, str, str]]
    girls: list[str]
    boys: list[str]
    adjectives: list[str]
    places: list[str]
    verbs: list[Verb]
    transitive: list[Verb]
    objects: list[str]
    object_adjectives: list[str]
    members: dict[str, list[str]] = field(default_factory=dict)

    @property
    def names(self) -> list[str]:
        """Names of all people."""
        return self.girls + self.boys


def a(word: str) -> str:
    """Put the indefinite article in front of a word."""
    return ("an " if word[0] in "aeiou" else "a ") + word


def upper_first(text: str) -> str:
    """Make the first letter a capital."""
    return text[:1].upper() + text[1:]


def lower_first(text: str) -> str:
    """Make the first letter small."""
    return text[:1].lower() + text[1:]


def and_list(words: list[str]) -> str:
    """Join words as in running text: `a, b and c`."""
    return words[0] if len(words) == 1 else ", ".join(words[:-1]) + " and " + words[-1]


def _rows(lines: list[str]) -> list[tuple[str, ...]]:
    return [tuple(part.strip() for part in line.split("|")) for line in lines]


def load_world() -> World:
    """Read the tables."""
    raw = tomllib.loads((TABLES / "world.toml").read_text(encoding="utf-8"))
    parts = tomllib.loads((TABLES / "sentences.toml").read_text(encoding="utf-8"))
    facts = raw["facts"]
    animals = [Animal(*row[:6], size=int(row[6])) for row in _rows(raw["animals"])]
    produce = {"fruit": _rows(raw["fruits"]), "vegetable": _rows(raw["vegetables"])}
    jobs = [Job(*row) for row in _rows(raw["jobs"])]
    tools = _rows(raw["tools"])
    plural_rows = [(x.name, x.plural) for x in animals]
    plural_rows += [row[:2] for rows in produce.values() for row in rows] + [
        (j.name, j.plural) for j in jobs
    ]
    plural_rows += [row[:2] for row in tools] + _rows(facts["plurals"])
    world = World(
        animals=animals,
        produce=produce,
        jobs=jobs,
        tools=tools,
        things=_rows(raw["things"]),
        kinds=raw["kinds"],
        countries=_rows(facts["countries"]),
        dictionary=_rows(facts["dictionary"]),
        opposites=_rows(facts["opposites"]),
        synonyms=_rows(facts["synonyms"]),
        plurals=sorted(set(plural_rows)),
        rhymes=[line.split() for line in facts["rhymes"]],
        numbers=facts["numbers"],
        days=facts["days"],
        months=facts["months"],
        howtos=_rows(facts["howtos"]),
        girls=parts["girls"],
        boys=parts["boys"],
        adjectives=parts["adjectives"],
        places=parts["places"],
        verbs=[Verb(*row) for row in _rows(parts["verbs"])],
        transitive=[Verb(*row) for row in _rows(parts["transitive"])],
        objects=parts["objects"],
        object_adjectives=parts["object_adjectives"],
    )
    world.members.update(
        {
            "animal": [x.name for x in animals],
            "fruit": [row[0] for row in produce["fruit"]],
            "vegetable": [row[0] for row in produce["vegetable"]],
            "tool": [row[0] for row in tools],
            "job": [j.name for j in jobs],
            "country": [row[0] for row in world.countries],
            "day": world.days,
            "month": world.months,
            **world.kinds,
        }
    )
    return world


KIND_PLURALS = {
    "animal": "animals",
    "fruit": "fruits",
    "vegetable": "vegetables",
    "tool": "tools",
    "job": "jobs",
    "country": "countries",
    "day": "days",
    "month": "months",
    "toy": "toys",
    "clothing": "clothes",
    "furniture": "pieces of furniture",
    "instrument": "instruments",
    "vehicle": "vehicles",
    "color": "colors",
    "drink": "drinks",
}

NO_ARTICLE = {"country", "day", "month", "color", "drink"}


def class_sentence(word: str, kind: str) -> str:
    """State what kind of thing a word is: `A violin is an instrument.`."""
    subject = upper_first(word if kind in NO_ARTICLE else a(word))
    noun = {"clothing": "a piece of clothing", "furniture": "a piece of furniture"}.get(
        kind, a(kind)
    )
    return f"{subject} is {noun}."
