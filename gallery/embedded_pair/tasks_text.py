"""Tasks about a given passage: edit it, play with its words, answer from it."""

from __future__ import annotations

from random import Random

from .checks import exact
from .sentences import make_sentence
from .skill_documents import (
    distinct_initials,
    draw_words,
    join_sentences,
    odd_words,
    owned,
    review_text,
)
from .stories import event_story
from .task import Item
from .world import World, a


def _about(sentence: str, answer: str) -> Item:
    return Item(key=sentence, fields={"c": sentence}, answer=answer, check=exact(answer))


def uppercase(world: World, rng: Random) -> Item:
    """Capital letters."""
    s = make_sentence(world, rng).present()
    return _about(s, s.upper())


def past(world: World, rng: Random) -> Item:
    """Past tense."""
    s = make_sentence(world, rng)
    return _about(s.present(), s.past())


def negative(world: World, rng: Random) -> Item:
    """Negation."""
    s = make_sentence(world, rng)
    return _about(s.present(), s.negative())


def question(world: World, rng: Random) -> Item:
    """Statement to question."""
    s = make_sentence(world, rng)
    return _about(s.present(), s.question())


def replace(world: World, rng: Random) -> Item:
    """Another animal in a sentence."""
    s = make_sentence(world, rng, "animal")
    other = rng.choice([x.name for x in world.animals if x.name != s.animal])
    answer = s.present().replace(f" {s.animal} ", f" {other} ")
    return Item(s.present(), {"c": s.present(), "x": s.animal, "y": other}, answer, exact(answer))


def correct(world: World, rng: Random) -> Item:
    """Mistakes of grammar."""
    s = make_sentence(world, rng)
    return _about(s.wrong(rng.randrange(3)), s.present())


def combine(world: World, rng: Random) -> Item:
    """Two sentences into one."""
    one, two = make_sentence(world, rng), make_sentence(world, rng)
    return _about(
        f"{one.present()} {two.present()}", join_sentences(one.present(), two.present(), two.person)
    )


def repeat(world: World, rng: Random) -> Item:
    """The same sentence."""
    s = make_sentence(world, rng).present()
    return _about(s, s)


def reverse(world: World, rng: Random) -> Item:
    """A list from its end."""
    words = draw_words(world, rng, 3, 5)
    return _about(", ".join(words), ", ".join(reversed(words)))


def sort(world: World, rng: Random) -> Item:
    """Alphabetical order."""
    words = distinct_initials(world, rng)
    return _about(", ".join(words), ", ".join(sorted(words)))


def last_word(world: World, rng: Random) -> Item:
    """First or last word."""
    s = make_sentence(world, rng).present()
    words, which = s[:-1].split(), rng.choice(["first", "last"])
    answer = f"The {which} word is {words[0 if which == 'first' else -1]}."
    return Item(s, {"c": s, "x": which}, answer, exact(answer))


def count(world: World, rng: Random) -> Item:
    """How many words."""
    words = draw_words(world, rng, 2, 7)
    return _about(", ".join(words), f"There are {len(words)}.")


def find(world: World, rng: Random) -> Item:
    """The animal in a sentence."""
    s = make_sentence(world, rng, "animal")
    return _about(s.present(), f"The animal is {a(s.animal)}.")


def person(world: World, rng: Random) -> Item:
    """The person in a sentence."""
    s = make_sentence(world, rng, "person")
    return _about(s.present(), f"The person is {s.person}.")


def odd_one(world: World, rng: Random) -> Item:
    """The word that does not belong."""
    words, odd, _ = odd_words(world, rng)
    return _about(", ".join(words), f"The word {odd} does not belong.")


def format_list(world: World, rng: Random) -> Item:
    """A list with dashes."""
    words = draw_words(world, rng, 3, 5)
    return _about(", ".join(words), "\n".join(f"- {w}" for w in words))


def summarize(world: World, rng: Random) -> Item:
    """The main event of a tiny story."""
    text, event, _ = event_story(world, rng)
    return _about(text, event)


def title(world: World, rng: Random) -> Item:
    """A title for a tiny story."""
    text, _, name = event_story(world, rng)
    return _about(text, name)


def who(world: World, rng: Random) -> Item:
    """Who has the thing."""
    people, things = owned(world, rng)
    text = " ".join(f"{p} has the {t}." for p, t in zip(people, things, strict=True))
    pick = rng.randrange(len(people))
    thing = things[pick].split()[1] if rng.random() < 0.5 else things[pick]
    answer = f"{people[pick]} has the {things[pick]}."
    return Item(
        text, {"c": text, "x": thing}, answer, exact(answer, f"{people[pick]} has the {thing}.")
    )


def review(_world: World, rng: Random) -> Item:
    """Good or bad."""
    text, mood = review_text(rng)
    return _about(text, f"The review is {mood}.")
