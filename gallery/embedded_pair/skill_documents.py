"""Documents that train reading skills without any request: echoes, signs, lists, slips."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

from .sentences import make_sentence
from .world import World, a, and_list, lower_first, upper_first

Document = Callable[[World, Random], str]


def _nouns(world: World) -> list[str]:
    return [
        w
        for kind in (
            "animal",
            "fruit",
            "vegetable",
            "tool",
            "toy",
            "clothing",
            "furniture",
            "instrument",
            "vehicle",
        )
        for w in world.members[kind]
    ]


def draw_words(world: World, rng: Random, low: int, high: int) -> list[str]:
    """Draw different nouns."""
    return rng.sample(sorted(set(_nouns(world))), rng.randint(low, high))


def echo(world: World, rng: Random) -> str:
    """Somebody says a sentence and it is heard again."""
    s = make_sentence(world, rng).present()
    name = rng.choice(world.names)
    return rng.choice(
        [
            f"{name} says: {s}\nThe parrot says: {s}",
            f"{name} wrote: {s}\nIn the letter it said: {s}",
            f"{name} heard these words: {s}\n{name} sang these words: {s}",
            f"The first line of the book: {s}\nThe last line of the book: {s}",
        ]
    )


def sign(world: World, rng: Random) -> str:
    """A sentence and the same words on a sign in capital letters."""
    s = make_sentence(world, rng).present()
    name = rng.choice(world.names)
    return rng.choice(
        [
            f"{name} made a sign for these words: {s}\nThe sign says: {s.upper()}",
            f"On paper: {s}\nOn the wall over the door: {s.upper()}",
            f"The sign says: {s.upper()}\n{name} reads: {s}",
        ]
    )


def yesterday(world: World, rng: Random) -> str:
    """The same thing today and yesterday."""
    s = make_sentence(world, rng)
    return rng.choice(
        [
            f"Today: {s.present()}\nYesterday: {s.past()}",
            f"Now: {s.present()} Before: {s.past()}",
            f"Then: {s.past()} Now: {s.present()}",
        ]
    )


def denial(world: World, rng: Random) -> str:
    """Somebody says a thing and somebody else denies it."""
    s = make_sentence(world, rng)
    x, y = rng.sample(world.names, 2)
    return rng.choice(
        [
            f"{x} says: {s.present()}\n{y} says no: {s.negative()}",
            f"Some think: {s.present()} But that is wrong: {s.negative()}",
            f"False: {s.negative()} True: {s.present()}",
        ]
    )


def doubt(world: World, rng: Random) -> str:
    """Somebody says a thing and somebody else wonders about it."""
    s = make_sentence(world, rng)
    x, y = rng.sample(world.names, 2)
    return rng.choice(
        [
            f"{x} says: {s.present()}\n{y} wonders: {s.question()}",
            f"{x} asks: {s.question()} Nobody was sure. Then {y} saw it: {s.present()}",
        ]
    )


def slip(world: World, rng: Random) -> str:
    """A sentence with a mistake, and the right one."""
    s = make_sentence(world, rng)
    name = rng.choice(world.names)
    wrong = s.wrong(rng.randrange(3))
    return rng.choice(
        [
            f"{name} wrote: {wrong}\nIn the book it says: {s.present()}",
            f"Wrong: {wrong}\nRight: {s.present()}",
        ]
    )


def swap(world: World, rng: Random) -> str:
    """A song that changes one word."""
    s = make_sentence(world, rng, "animal")
    other = rng.choice([x.name for x in world.animals if x.name != s.animal])
    x, y = rng.sample(world.names, 2)
    new = s.present().replace(f" {s.animal} ", f" {other} ")
    old, one, two = s.present(), a(s.animal), a(other)
    return rng.choice(
        [
            f"{x} sings: {old}\n{y} sings the same song with {two}, not {one}: {new}",
            f"First there was {one}, now there is {two}. Before: {old} Now: {new}",
            f"With {one}: {old}\nWith {two}: {new}",
        ]
    )


def joined(world: World, rng: Random) -> str:
    """Two sentences and the long one made of both."""
    one, two = make_sentence(world, rng), make_sentence(world, rng)
    both = join_sentences(one.present(), two.present(), two.person)
    return rng.choice(
        [
            f"First and second: {one.present()} {two.present()}\nBoth in one line: {both}",
            f"One line: {both} Two lines: {one.present()} {two.present()}",
            f"Two lines: {one.present()} {two.present()}\nOne line: {both}",
        ]
    )


def join_sentences(one: str, two: str, person: str) -> str:
    """Join two sentences with `and`; a name keeps its capital letter."""
    return one[:-1] + " and " + (two if person else lower_first(two))


def there_and_back(world: World, rng: Random) -> str:
    """A list and the same list from its end."""
    words = draw_words(world, rng, 3, 5)
    there, back = ", ".join(words), ", ".join(reversed(words))
    name = rng.choice(world.names)
    return rng.choice(
        [
            f"On the way there {name} sees: {there}\nOn the way back {name} sees: {back}",
            f"Forwards: {there}\nBackwards: {back}",
            f"From the start: {there}\nFrom the end: {back}",
        ]
    )


def alphabet(world: World, rng: Random) -> str:
    """Words in the order of the alphabet."""
    words = distinct_initials(world, rng)
    ordered = ", ".join(sorted(words))
    return rng.choice(
        [
            f"On the floor: {', '.join(words)}\nOn the shelf from A to Z: {ordered}",
            f"The alphabet book shows: {ordered}",
            f"Mixed: {', '.join(words)}\nFrom A to Z: {ordered}",
        ]
    )


def distinct_initials(world: World, rng: Random) -> list[str]:
    """Draw three or four nouns that begin with different letters."""
    first: dict[str, str] = {}
    for word in rng.sample(sorted(set(_nouns(world))), 30):
        first.setdefault(word[0], word)
    return rng.sample(list(first.values()), rng.randint(3, 4))


def initials(world: World, rng: Random) -> str:
    """Say with which letter words begin."""
    return " ".join(
        f"{upper_first(w)} begins with {w[0].upper()}." for w in draw_words(world, rng, 3, 6)
    )


def counted(world: World, rng: Random) -> str:
    """A list and how many things are in it."""
    words = draw_words(world, rng, 2, 7)
    name = rng.choice(world.names)
    return rng.choice(
        [
            f"{name} counts: {', '.join(words)}\nThere are {len(words)}.",
            f"On the table: {', '.join(words)}\nThere are {len(words)}.",
            f"{name} has {len(words)} things: {', '.join(words)}",
        ]
    )


def edges(world: World, rng: Random) -> str:
    """A sentence with its first and last word."""
    s = make_sentence(world, rng).present()
    words = s[:-1].split()
    lines = [f"The first word is {words[0]}.", f"The last word is {words[-1]}."]
    rng.shuffle(lines)
    return f"A line of words: {s}\n" + " ".join(lines[: rng.randint(1, 2)])


def dashes(world: World, rng: Random) -> str:
    """A list in a line and the same list with dashes."""
    words = draw_words(world, rng, 3, 5)
    lines = "\n".join(f"- {w}" for w in words)
    name = rng.choice(world.names)
    return rng.choice(
        [
            f"{name} needs {and_list(words)}.\n{lines}",
            f"For the market: {', '.join(words)}\n{lines}",
            f"### List\n{lines}",
        ]
    )


def about(world: World, rng: Random) -> str:
    """A sentence and who or what it is about."""
    s = make_sentence(world, rng, rng.choice(["animal", "person"]))
    return f"A line of the book: {s.present()} " + (
        f"The animal is {a(s.animal)}." if s.animal else f"The person is {s.person}."
    )


def chant(world: World, rng: Random) -> str:
    """Say a long row of words twice: what teaches copying fastest, as no word can be guessed."""
    pool = [*_nouns(world), *world.adjectives, *world.names, *(v.past for v in world.verbs)]
    text = rng.choice([" ", ", "]).join(rng.sample(pool, rng.randint(5, 16)))
    return _twice(world, rng, text)


def long_echo(world: World, rng: Random) -> str:
    """Say several sentences twice."""
    text = " ".join(make_sentence(world, rng).present() for _ in range(rng.randint(2, 4)))
    return _twice(world, rng, text)


def _twice(world: World, rng: Random, text: str) -> str:
    name = rng.choice(world.names)
    return rng.choice(
        [
            f"{name} says: {text}\nThe parrot says: {text}",
            f"{name} heard these words: {text}\n{name} sang these words: {text}",
            f"The first line of the book: {text}\nThe last line of the book: {text}",
        ]
    )


def stranger(world: World, rng: Random) -> str:
    """Words of one kind and one that does not belong."""
    words, odd, _ = odd_words(world, rng)
    return rng.choice(
        [
            f"In one box: {', '.join(words)}\nThe word {odd} does not belong.",
            f"{upper_first(and_list(words))} lie in the box. The word {odd} does not belong.",
        ]
    )


def odd_words(world: World, rng: Random) -> tuple[list[str], str, str]:
    """Draw three words of one kind and one of another, mixed."""
    kind, other = rng.sample(
        ["animal", "fruit", "tool", "clothing", "furniture", "instrument", "vehicle", "color"], 2
    )
    words = rng.sample(world.members[kind], 3)
    odd = rng.choice([w for w in world.members[other] if w not in world.members[kind]])
    words.insert(rng.randrange(4), odd)
    return words, odd, kind


def owners(world: World, rng: Random) -> str:
    """People and the things they have."""
    people, things = owned(world, rng)
    text = " ".join(f"{p} has the {t}." for p, t in zip(people, things, strict=True))
    pick = rng.randrange(len(people))
    return (
        f"{people[pick]} has the {things[pick]}, they say.\nIt is true: {text}"
        if rng.random() < 0.5
        else f"After the party: {text}\nIt was late, but {people[pick]} has the {things[pick]}."
    )


def owned(world: World, rng: Random) -> tuple[list[str], list[str]]:
    """Draw two or three people and one thing for each."""
    count = rng.randint(2, 3)
    things = [
        f"{rng.choice(world.object_adjectives)} {o}" for o in rng.sample(world.objects, count)
    ]
    return rng.sample(world.names, count), things


GOOD = ["tasty", "warm", "fresh", "wonderful", "lovely", "friendly", "clean", "beautiful"]
BAD = ["cold", "stale", "terrible", "boring", "dirty", "rude", "awful", "sour"]
REVIEWED = [
    "soup",
    "cake",
    "room",
    "hotel",
    "cook",
    "song",
    "book",
    "garden",
    "bread",
    "concert",
    "tea",
    "show",
    "shop",
    "train",
]


def review_text(rng: Random) -> tuple[str, str]:
    """Draw a short review and whether it is good or bad."""
    mood = rng.choice(["good", "bad"])
    words, (x, y) = rng.sample(GOOD if mood == "good" else BAD, 2), rng.sample(REVIEWED, 2)
    end = "We will come again." if mood == "good" else "We will not come again."
    text = f"The {x} was {words[0]} and the {y} was {words[1]}." + (
        f" {end}" if rng.random() < 0.5 else ""
    )
    return text, mood


def plain_lines(world: World, rng: Random) -> str:
    """Loose sentences one after the other, with nothing done to them."""
    return " ".join(make_sentence(world, rng).present() for _ in range(rng.randint(1, 5)))


def plain_list(world: World, rng: Random) -> str:
    """A list of things in running text, with nothing done to it."""
    words, name = draw_words(world, rng, 3, 6), rng.choice(world.names)
    return rng.choice(
        [
            f"{name} sees: {', '.join(words)}",
            f"{name} packs {and_list(words)}.",
            f"For sale: {', '.join(words)}",
        ]
    )


def review(world: World, rng: Random) -> str:
    """A review and what it was."""
    text, mood = review_text(rng)
    return (
        f"A guest of the hotel writes: {text} The review is {mood}."
        if rng.random() < 0.7
        else f"### Review\n{rng.choice(world.names)} writes: {text}"
    )


SKILL_DOCUMENTS: list[tuple[Document, float]] = [
    (echo, 2.5),
    (sign, 3.0),
    (yesterday, 2.5),
    (denial, 2.0),
    (doubt, 2.0),
    (slip, 2.0),
    (swap, 2.0),
    (joined, 1.5),
    (there_and_back, 2.5),
    (alphabet, 3.5),
    (initials, 1.0),
    (counted, 2.0),
    (edges, 1.5),
    (dashes, 1.5),
    (about, 1.2),
    (stranger, 2.0),
    (owners, 1.5),
    (review, 1.5),
    (plain_lines, 6.0),
    (plain_list, 2.0),
]

# only in the second half of the base text
COPYING_DOCUMENTS: list[tuple[Document, float]] = [(chant, 12.0), (long_echo, 8.0)]
