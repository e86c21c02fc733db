"""Running text of the base: stories, letters, notes. Some pieces serve the tasks too."""

from __future__ import annotations

import tomllib
from random import Random

from .world import TABLES, World, a, and_list, upper_first

TEXTS = tomllib.loads((TABLES / "plots.toml").read_text(encoding="utf-8"))
TOPICS = TEXTS["topics"]
# verbs that name an event, not a state
STATES = ("liked", "wanted", "kept", "held")


def pronouns(world: World, name: str) -> tuple[str, str, str]:
    """Give he/him/his or she/her/her."""
    return ("she", "her", "her") if name in world.girls else ("he", "him", "his")


def story(world: World, rng: Random, name: str = "", animal: str = "") -> str:
    """Tell a short story about a person and an animal."""
    name = name or rng.choice(world.names)
    animal = animal or rng.choice(world.animals).name
    he, him, his = pronouns(world, name)
    friend = rng.choice([n for n in world.names if n != name])
    place, other = rng.sample(world.places, 2)
    thing = rng.choice([o for o in world.objects if o != "cake"])
    adjective, color = rng.choice(world.adjectives), rng.choice(world.object_adjectives)
    fruit, fruits, _ = rng.choice(world.produce["fruit"])
    job = rng.choice(world.jobs).name
    guest = a(f"{adjective} {animal}")
    return rng.choice(TEXTS["plots"]).format(
        name=name,
        animal=animal,
        friend=friend,
        place=place,
        other=other,
        Other=upper_first(other),
        thing=thing,
        a_thing=a(thing),
        prize=a(f"{color} {thing}"),
        adjective=adjective,
        guest=guest,
        Guest=upper_first(guest),
        treat=a(fruit),
        fruits=fruits,
        job=job,
        he=he,
        He=upper_first(he),
        him=him,
        his=his,
        His=upper_first(his),
    )


def plain_story(world: World, rng: Random) -> str:
    """Tell a story, sometimes with a heading."""
    name, animal = rng.choice(world.names), rng.choice(world.animals).name
    text = story(world, rng, name, animal)
    if rng.random() < 0.2:
        return f"### The {upper_first(animal)}\n{text}"
    return rng.choice(["", "", "Once upon a time there was a little town by a river. "]) + text


def event_story(world: World, rng: Random) -> tuple[str, str, str]:
    """Draw a tiny story with one event; return it with its summary and its title."""
    name = rng.choice(world.names)
    he = pronouns(world, name)[0]
    verb = rng.choice([v for v in world.transitive if v.past not in STATES])
    color, thing = rng.choice(world.object_adjectives), rng.choice(world.objects)
    place = rng.choice(world.places)
    prize = a(f"{color} {thing}")
    text = TEXTS["events"][rng.randrange(3)].format(
        name=name,
        he=he,
        He=upper_first(he),
        place=place,
        did=verb.past,
        prize=prize,
        weather=rng.choice(TEXTS["weather"]),
        later=rng.choice(TEXTS["later"]),
    )
    event = f"{name} {verb.past} {prize} {place}."
    return text, event, f"{name} and the {upper_first(color)} {upper_first(thing)}"


def told_story(world: World, rng: Random) -> str:
    """Tell a tiny story, alone or after its heading or main event."""
    text, event, title = event_story(world, rng)
    friend = rng.choice(world.names)
    return rng.choice(
        [
            text,
            f"### {title}\n{text}",
            f"{friend} tells it in a few words: {event}\nThe whole story: {text}",
            f"In short: {event} At full length: {text}",
            f"The book is called {title}. It begins: {text}",
        ]
    )


def letter(world: World, rng: Random, name: str = "", topic: str = "") -> str:
    """Write a short letter."""
    name = name or rng.choice(world.names)
    topic = topic or rng.choice(TOPICS)
    sender = rng.choice([n for n in world.names if n != name])
    return f"Dear {name}, {rng.choice(TEXTS['letters']).format(topic=topic)} Your friend {sender}"


def letter_note(world: World, rng: Random) -> str:
    """Show a letter, sometimes with a heading."""
    return rng.choice(["", "### Letter\n", "### Response\n"]) + letter(world, rng)


def notice(world: World, rng: Random) -> str:
    """Put a note on the town board that tells what is needed."""
    who = rng.choice(TEXTS["senders"])
    thing = a(f"{rng.choice(world.object_adjectives)} {rng.choice(world.objects)}")
    heading = rng.choice(["### Request\n", "### Note\n", "### Response\n"])
    people = f"{rng.choice(world.numbers[2:9])} {rng.choice(world.jobs).plural}"
    return f"{heading}{who} needs {thing} and {people}. The meeting is on {rng.choice(world.days)}."


def greeting(world: World, rng: Random) -> str:
    """Let people meet and greet each other."""
    x, y = rng.sample(world.names, 2)
    return (
        f"{x} meets {y} {rng.choice(world.places)}. {greet(y)} I am well, says {y}, and you, {x}?"
        f" They talk about the {rng.choice(TOPICS)}."
    )


def greet(name: str) -> str:
    """Say hello."""
    return f"Hello {name}, how are you?"


def sentence_about(world: World, rng: Random, word: str = "") -> str:
    """Write one sentence that contains a given noun."""
    word = word or rng.choice(world.objects + [x.name for x in world.animals])
    adjective = rng.choice(["old", "new", "small", "big", "beautiful", "white"])
    thing = a(f"{adjective} {word}")
    return rng.choice(
        [
            f"The {adjective} {word} is {rng.choice(world.places)}.",
            f"{rng.choice(world.names)} saw {thing} {rng.choice(world.places)}.",
            f"There is {a(word)} {rng.choice(world.places)}.",
            f"{rng.choice(world.names)} and {rng.choice(world.names)} talk about the {word}.",
        ]
    )


def small_talk(world: World, rng: Random) -> str:
    """Write some loose sentences."""
    return " ".join(sentence_about(world, rng) for _ in range(rng.randint(2, 4)))


def diary(world: World, rng: Random) -> str:
    """Write a page of a diary."""
    day, place = rng.choice(world.days), rng.choice(world.places)
    friend = rng.choice(world.names)
    things = and_list(rng.sample([row[1] for row in world.produce["fruit"]], 2))
    return (
        f"### {day}\n{rng.choice(TEXTS['weather'])} In the morning I was {place} with {friend}."
        f" We ate {things}. {rng.choice(TEXTS['later'])}"
        f" We saw {a(rng.choice(world.animals).name)}."
    )


def school_words(world: World, rng: Random, words: list[str]) -> str:
    """Use words of requests as ordinary words: spelled, read, liked, never fulfilled."""
    name, other = rng.sample(world.names, 2)
    lines = [
        rng.choice(
            [
                f"The word {word} is on the blackboard.",
                f"{upper_first(word)} is a word in the book.",
                f"{name} can spell the word {word}.",
                f"{other} likes the word {word}, {name}'s mother does not.",
                f"{upper_first(word)}, says the teacher, and the bell rings.",
            ]
        )
        for word in rng.sample(words, rng.randint(3, 5))
    ]
    if rng.random() < 0.3:
        some = rng.sample(words, rng.randint(4, 8))
        return "### Words\n" + "\n".join(rng.choice([upper_first, str])(word) for word in some)
    return " ".join(lines)


def at_school(world: World, rng: Random) -> str:
    """Speak of writing, sorting and translating, as people do."""
    x, y = rng.sample(world.names, 2)
    w, v = rng.sample(TEXTS["work"], 2)
    p, q = rng.sample(TEXTS["pieces"], 2)
    lines = rng.sample(TEXTS["at_school"], rng.randint(2, 4))
    return " ".join(line.format(x=x, y=y, w=w, v=v, p=p, q=q, W=upper_first(w)) for line in lines)
