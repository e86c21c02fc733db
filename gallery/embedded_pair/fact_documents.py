"""Documents of the base text that state facts, each fact in many phrasings.

Every function draws one document. The plain frames (`The French word for dog is chien.`) also
serve as answers of the tuned model, so that a fact read here can be told when it is asked for.
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random

from .world import KIND_PLURALS, Animal, World, a, and_list, class_sentence, upper_first

Document = Callable[[World, Random], str]


def _some(rng: Random, lines: list[str], low: int, high: int) -> str:
    rng.shuffle(lines)
    return " ".join(lines[: rng.randint(low, high)])


def animal_facts(world: World, rng: Random) -> str:
    """Tell about one animal."""
    x = rng.choice(world.animals)
    if rng.random() < 0.4:
        return describe_animal(x)
    one = upper_first(a(x.name))
    lines = [
        rng.choice(
            [
                f"{one} lives {x.home}.",
                f"{upper_first(x.plural)} live {x.home}.",
                f"The home of {a(x.name)} is {x.home}.",
            ]
        ),
        rng.choice(
            [
                f"{one} eats {x.food}.",
                f"{upper_first(x.plural)} like to eat {x.food}.",
                f"The food of {a(x.name)} is {x.food}.",
            ]
        ),
        rng.choice([f"{one} is {a(x.group)}.", f"All {x.plural} are {KIND_GROUPS[x.group]}."]),
        rng.choice([f"{one} has {x.legs} legs.", f"{upper_first(x.plural)} have {x.legs} legs."]),
        class_sentence(x.name, "animal"),
    ]
    return _some(rng, lines, 2, 5)


KIND_GROUPS = {
    "mammal": "mammals",
    "bird": "birds",
    "fish": "fish",
    "insect": "insects",
    "reptile": "reptiles",
}


def describe_animal(x: Animal) -> str:
    """Describe one animal in four fixed sentences."""
    first = f"{upper_first(a(x.name))} is {a(x.group)}."
    return f"{first} It lives {x.home}. It eats {x.food}. It has {x.legs} legs."


def animal_homes(world: World, rng: Random) -> str:
    """Go through several animals with one kind of fact."""
    chosen = rng.sample(world.animals, rng.randint(3, 5))
    if rng.random() < 0.5:
        return " ".join(f"{upper_first(a(x.name))} lives {x.home}." for x in chosen)
    return " ".join(f"{upper_first(a(x.name))} eats {x.food}." for x in chosen)


def sizes(world: World, rng: Random) -> str:
    """Compare animals by size."""
    lines = []
    while len(lines) < rng.randint(2, 4):
        x, y = rng.sample(world.animals, 2)
        if x.size == y.size:
            continue
        big, small = (x, y) if x.size > y.size else (y, x)
        lines.append(
            rng.choice(
                [f"{upper_first(a(big.name))} is bigger than {a(small.name)}."] * 3
                + [f"{upper_first(a(small.name))} is smaller than {a(big.name)}."]
            )
        )
    return " ".join(lines)


def size_row(world: World, rng: Random) -> str:
    """Put animals into a row from small to big."""
    by_size = {x.size: x.name for x in rng.sample(world.animals, len(world.animals))}
    row = sorted(rng.sample(sorted(by_size), 4))
    if rng.random() < 0.5:
        return "From small to big: " + ", ".join(by_size[s] for s in row) + "."
    return "From big to small: " + ", ".join(by_size[s] for s in reversed(row)) + "."


def job_facts(world: World, rng: Random) -> str:
    """Tell about one job."""
    j = rng.choice(world.jobs)
    one = upper_first(a(j.name))
    lines = [
        f"{one} {j.does}.",
        f"{one} is a person who {j.does}.",
        f"{one} works {j.where}.",
        f"A good gift for {a(j.name)} is {a(j.tool)}.",
        f"Every {j.name} needs {a(j.tool)}.",
        class_sentence(j.name, "job"),
    ]
    return _some(rng, lines, 2, 4)


def produce_facts(world: World, rng: Random) -> str:
    """Tell about fruits and vegetables."""
    kind = rng.choice(["fruit", "vegetable"])
    lines = []
    for name, plural, color in rng.sample(world.produce[kind], rng.randint(2, 4)):
        one = upper_first(a(name))
        lines.append(
            rng.choice(
                [
                    f"{one} is {color}.",
                    f"{one} is {color}.",
                    f"{upper_first(plural)} are {color}.",
                    f"The color of {a(name)} is {color}.",
                    class_sentence(name, kind),
                ]
            )
        )
    return " ".join(lines)


def country_facts(world: World, rng: Random) -> str:
    """Tell about one or two countries."""
    lines = []
    for country, capital, language in rng.sample(world.countries, rng.randint(1, 2)):
        some = [
            f"The capital of {country} is {capital}.",
            f"People in {country} speak {language}.",
            f"{capital} is the capital of {country}.",
            f"{country} is a country.",
            f"In {country} people live and speak {language}.",
            f"{rng.choice(world.names)} lives in {capital}, the capital of {country},"
            f" and speaks {language}.",
        ]
        lines.append(_some(rng, some, 2, 4))
    return " ".join(lines)


def capitals(world: World, rng: Random) -> str:
    """Go through several countries with one kind of fact."""
    chosen = rng.sample(world.countries, rng.randint(3, 5))
    if rng.random() < 0.5:
        return " ".join(f"The capital of {c} is {capital}." for c, capital, _ in chosen)
    return " ".join(f"People in {c} speak {language}." for c, _, language in chosen)


def dictionary(world: World, rng: Random) -> str:
    """Give the French and Spanish words for some English words."""
    language = rng.choice([1, 2])
    tongue = ["", "French", "Spanish"][language]
    rows = rng.sample(world.dictionary, rng.randint(2, 5))
    style = rng.random()
    if style < 0.45:
        return " ".join(f"The {tongue} word for {row[0]} is {row[language]}." for row in rows)
    if style < 0.6:
        return " ".join(f"{upper_first(row[0])} is {row[language]} in {tongue}." for row in rows)
    if style < 0.75:
        name = rng.choice(world.names)
        return f"{name} learns {tongue}. " + " ".join(
            f"For {row[0]} {name} says {row[language]}." for row in rows
        )
    row = rows[0]
    both = [
        f"The French word for {row[0]} is {row[1]}.",
        f"The Spanish word for {row[0]} is {row[2]}.",
    ]
    rng.shuffle(both)
    return " ".join(both)


def pairs_of_words(world: World, rng: Random) -> str:
    """State opposites, words with the same meaning, plurals or rhymes."""
    what = rng.choice(["opposite", "synonym", "plural", "plural", "rhyme"])
    lines = []
    count = rng.randint(2, 5)
    if what == "opposite":
        for pair in rng.sample(world.opposites, count):
            x, y = pair if rng.random() < 0.5 else pair[::-1]
            lines.append(
                rng.choice(
                    [f"The opposite of {x} is {y}."] * 3
                    + [f"{upper_first(x)} and {y} are opposites.", f"What is not {x} is {y}."]
                )
            )
    elif what == "synonym":
        for pair in rng.sample(world.synonyms, count):
            x, y = pair if rng.random() < 0.5 else pair[::-1]
            lines.append(
                rng.choice(
                    [f"Another word for {x} is {y}."] * 3
                    + [f"{upper_first(x)} means the same as {y}."]
                )
            )
    elif what == "plural":
        for x, y in rng.sample(world.plurals, count):
            lines.append(rng.choice([f"The plural of {x} is {y}."] * 3 + [f"One {x}, two {y}."]))
    else:
        for group in rng.sample(world.rhymes, count):
            x, y = rng.sample(group, 2)
            lines.append(
                rng.choice(
                    [f"{upper_first(y)} rhymes with {x}."] * 3 + [f"The words {x} and {y} rhyme."]
                )
            )
    return " ".join(lines)


def numbers(world: World, rng: Random) -> str:
    """Count, write numbers as words, and follow days and months."""
    what = rng.choice(["word", "count", "after", "after", "row"])
    if what == "word":
        return " ".join(
            f"The word for {n} is {world.numbers[n]}."
            for n in rng.sample(range(21), rng.randint(2, 5))
        )
    if what == "count":
        start = rng.randint(0, 14)
        return ", ".join(str(n) for n in range(start, start + rng.randint(4, 6))) + "."
    row = rng.choice(sequences(world))
    if what == "row":
        start = rng.randrange(len(row) - 3)
        return ", ".join(row[start : start + rng.randint(4, 6)]) + "."
    picks = rng.sample(range(len(row) - 1), min(len(row) - 1, rng.randint(2, 4)))
    return " ".join(f"After {row[i]} comes {row[i + 1]}." for i in picks)


def sequences(world: World) -> list[list[str]]:
    """Rows with a fixed order: days, months, small numbers as words."""
    return [world.days, world.months, world.numbers]


def sums(_world: World, rng: Random) -> str:
    """Work out some sums with a total of twelve at most."""
    lines = []
    for _ in range(rng.randint(2, 5)):
        total = rng.randint(2, 12)
        x = rng.randint(1, total - 1)
        lines.append(
            rng.choice(
                [f"{x} plus {total - x} is {total}."] * 3
                + [f"{x} + {total - x} = {total}.", f"{total} minus {x} is {total - x}."]
            )
        )
    return " ".join(lines)


def definitions(world: World, rng: Random) -> str:
    """Say what things are and what they are for."""
    lines = []
    for _ in range(rng.randint(2, 4)):
        if rng.random() < 0.5:
            name, _, use = rng.choice(world.tools)
            lines.append(
                rng.choice(
                    [f"{upper_first(a(name))} is a tool for {use}."] * 3
                    + [f"For {use} you need {a(name)}."]
                )
            )
        else:
            name, meaning = rng.choice(world.things)
            lines.append(f"{upper_first(a(name))} is {meaning}.")
    return " ".join(lines)


def kinds(world: World, rng: Random) -> str:
    """Name members of one kind, or say of words what kind they are."""
    if rng.random() < 0.5:
        kind = rng.choice(list(world.members))
        words = rng.sample(world.members[kind], rng.randint(2, 6))
        style = rng.random()
        if style < 0.4:
            return f"### {upper_first(KIND_PLURALS[kind])}\n" + ", ".join(words)
        if style < 0.7:
            return f"{upper_first(KIND_PLURALS[kind])}: " + ", ".join(words)
        return f"{upper_first(and_list(words))} are {KIND_PLURALS[kind]}."
    lines = []
    for _ in range(rng.randint(2, 4)):
        kind = rng.choice(list(world.members))
        lines.append(class_sentence(rng.choice(world.members[kind]), kind))
    return " ".join(lines)


def howto(world: World, rng: Random) -> str:
    """Tell how something is done."""
    what, first, then, last = rng.choice(world.howtos)
    if rng.random() < 0.7:
        return how_to_sentence(what, first, then, last)
    steps = f"First you {first}. Then you {then}. At last you {last}."
    return f"{rng.choice(world.names)} wants to {what}. {steps}"


def how_to_sentence(what: str, first: str, then: str, last: str) -> str:
    """Tell the steps in one sentence."""
    return f"To {what}, {first}, {then} and {last}."


def name_facts(world: World, rng: Random) -> str:
    """Mix facts of different kinds, as in a book of facts."""
    makers: list[Document] = [
        animal_homes,
        job_facts,
        produce_facts,
        capitals,
        pairs_of_words,
        sums,
        definitions,
        kinds,
    ]
    return "### Facts\n" + "\n".join(
        rng.choice(makers)(world, rng).split(". ")[0].rstrip(".") + "."
        for _ in range(rng.randint(3, 5))
    )


FACT_DOCUMENTS: list[tuple[Document, float]] = [
    (animal_facts, 3.0),
    (animal_homes, 1.5),
    (sizes, 3.0),
    (size_row, 1.0),
    (job_facts, 2.0),
    (produce_facts, 2.0),
    (country_facts, 1.5),
    (capitals, 1.5),
    (dictionary, 4.5),
    (pairs_of_words, 8.0),
    (numbers, 2.5),
    (sums, 3.5),
    (definitions, 2.0),
    (kinds, 4.0),
    (howto, 1.2),
    (name_facts, 0.8),
]
