"""Tasks that need knowledge of the mini-world, or that ask for a piece of writing."""

from __future__ import annotations

from random import Random

from . import stories
from .checks import exact, members, mentions
from .fact_documents import describe_animal, how_to_sentence, sequences
from .task import Item
from .world import KIND_PLURALS, World, a, class_sentence, upper_first


def _fact(key: str, answer: str, **fields: str) -> Item:
    return Item(key, fields, answer, exact(answer))


def translate(world: World, rng: Random) -> Item:
    """English to French or Spanish."""
    row, language = rng.choice(world.dictionary), rng.choice([1, 2])
    tongue = ["", "French", "Spanish"][language]
    return _fact(
        f"{row[0]} {tongue}",
        f"The {tongue} word for {row[0]} is {row[language]}.",
        x=row[0],
        y=tongue,
    )


def opposite(world: World, rng: Random) -> Item:
    """Opposites."""
    pair = rng.choice(world.opposites)
    x, y = pair if rng.random() < 0.5 else pair[::-1]
    return _fact(x, f"The opposite of {x} is {y}.", x=x)


def synonym(world: World, rng: Random) -> Item:
    """Words with the same meaning; some words have two."""
    pair = rng.choice(world.synonyms)
    x, y = pair if rng.random() < 0.5 else pair[::-1]
    others = [q if p == x else p for p, q in world.synonyms if x in (p, q)]
    return Item(
        x,
        {"x": x},
        f"Another word for {x} is {y}.",
        exact(*(f"Another word for {x} is {o}." for o in others)),
    )


def plural(world: World, rng: Random) -> Item:
    """Plurals."""
    x, y = rng.choice(world.plurals)
    return _fact(x, f"The plural of {x} is {y}.", x=x)


def rhyme(world: World, rng: Random) -> Item:
    """Rhymes; every word of the group counts."""
    group = rng.choice(world.rhymes)
    x, y = rng.sample(group, 2)
    return Item(
        x,
        {"x": x},
        f"{upper_first(y)} rhymes with {x}.",
        exact(*(f"{upper_first(o)} rhymes with {x}." for o in group if o != x)),
    )


def number(world: World, rng: Random) -> Item:
    """Numbers as words."""
    n = rng.randrange(21)
    return _fact(str(n), f"The word for {n} is {world.numbers[n]}.", x=str(n))


def capital(world: World, rng: Random) -> Item:
    """Capitals."""
    country, city, _ = rng.choice(world.countries)
    return _fact(country, f"The capital of {country} is {city}.", x=country)


def language(world: World, rng: Random) -> Item:
    """Languages."""
    country, _, tongue = rng.choice(world.countries)
    return _fact(country, f"People in {country} speak {tongue}.", x=country)


def add(_world: World, rng: Random) -> Item:
    """Sums with a total of twelve at most."""
    total = rng.randint(2, 12)
    x = rng.randint(1, total - 1)
    y = total - x
    return Item(
        f"{x}+{y}",
        {"x": str(x), "y": str(y)},
        f"{x} plus {y} is {total}.",
        exact(f"{x} plus {y} is {total}.", f"{y} plus {x} is {total}."),
    )


def following(world: World, rng: Random) -> Item:
    """What comes next among days, months and numbers."""
    row = rng.choice(sequences(world))
    i = rng.randrange(len(row) - 1)
    return _fact(row[i], f"After {row[i]} comes {row[i + 1]}.", x=row[i])


def food(world: World, rng: Random) -> Item:
    """What animals eat."""
    x = rng.choice(world.animals)
    return _fact(x.name, f"{upper_first(a(x.name))} eats {x.food}.", ax=a(x.name), xs=x.plural)


def home(world: World, rng: Random) -> Item:
    """Where animals live."""
    x = rng.choice(world.animals)
    return _fact(x.name, f"{upper_first(a(x.name))} lives {x.home}.", ax=a(x.name), xs=x.plural)


def color(world: World, rng: Random) -> Item:
    """Colors of fruits and vegetables."""
    name, many, shade = rng.choice([row for rows in world.produce.values() for row in rows])
    return _fact(name, f"{upper_first(a(name))} is {shade}.", ax=a(name), xs=many)


def explain(world: World, rng: Random) -> Item:
    """Meanings of words."""
    rows = [(name, f"a tool for {use}") for name, _, use in world.tools] + list(world.things)
    name, meaning = rng.choice(rows)
    return _fact(name, f"{upper_first(a(name))} is {meaning}.", x=name, ax=a(name))


def classify(world: World, rng: Random) -> Item:
    """Kinds of things."""
    kind = rng.choice(
        [k for k in world.members if k not in ("day", "month", "country", "color", "drink")]
    )
    word = rng.choice(world.members[kind])
    kinds = [k for k, words in world.members.items() if word in words]
    return Item(
        word,
        {"x": word, "ax": a(word)},
        class_sentence(word, kind),
        exact(*(class_sentence(word, k) for k in kinds)),
    )


def compare(world: World, rng: Random) -> Item:
    """Sizes of animals."""
    while True:
        x, y = rng.sample(world.animals, 2)
        if abs(x.size - y.size) >= 2:
            break
    big, small = (x, y) if x.size > y.size else (y, x)
    answer = f"{upper_first(a(big.name))} is bigger than {a(small.name)}."
    key = " ".join(sorted([x.name, y.name]))
    return Item(key, {"ax": a(x.name), "ay": a(y.name)}, answer, exact(answer))


def gift(world: World, rng: Random) -> Item:
    """A tool as a gift for a job."""
    j = rng.choice(world.jobs)
    return _fact(j.name, f"A good gift for {a(j.name)} is {a(j.tool)}.", ax=a(j.name))


def job(world: World, rng: Random) -> Item:
    """What people do."""
    j = rng.choice(world.jobs)
    return _fact(j.name, f"{upper_first(a(j.name))} {j.does}.", ax=a(j.name), xs=j.plural)


def howto(world: World, rng: Random) -> Item:
    """Steps."""
    what, first, then, last = rng.choice(world.howtos)
    return _fact(what, how_to_sentence(what, first, then, last), x=what)


def describe(world: World, rng: Random) -> Item:
    """Four facts about an animal."""
    x = rng.choice(world.animals)
    return _fact(x.name, describe_animal(x), x=x.name, ax=a(x.name), xs=x.plural)


def list_members(world: World, rng: Random) -> Item:
    """Members of a kind."""
    kind, n = rng.choice(list(world.members)), rng.randint(2, 5)
    pool = world.members[kind]
    # Always from the start of the pool: greedy answers after random ones would repeat one word.
    # The draw itself stays, or all later draws of the fixed evaluation set would change.
    rng.sample(pool, n)
    answer = ", ".join(pool[:n])
    return Item(
        f"{kind} {n}", {"n": world.numbers[n], "x": KIND_PLURALS[kind]}, answer, members(pool, n)
    )


def sentence(world: World, rng: Random) -> Item:
    """A sentence with a word."""
    word = rng.choice(sorted(set(world.objects + [x.name for x in world.animals])))
    return Item(
        word,
        {"x": word, "ax": a(word)},
        stories.sentence_about(world, rng, word),
        mentions([word], (1, 1)),
    )


def story(world: World, rng: Random) -> Item:
    """A story about a person and an animal."""
    name, animal = rng.choice(world.names), rng.choice(world.animals).name
    text = stories.story(world, rng, name, animal)
    return Item(
        f"{name} {animal}", {"name": name, "ax": a(animal)}, text, mentions([name, animal], (3, 8))
    )


def letter(world: World, rng: Random) -> Item:
    """A letter to somebody about something."""
    name, topic = rng.choice(world.names), rng.choice(stories.TOPICS)
    text = stories.letter(world, rng, name, topic)
    return Item(
        f"{name} {topic}",
        {"name": name, "x": topic},
        text + ".",
        mentions([name, topic, "friend"], (2, 5), f"Dear {name},"),
    )


def greet(world: World, rng: Random) -> Item:
    """Hello."""
    name = rng.choice(world.names)
    return _fact(name, stories.greet(name), name=name)
