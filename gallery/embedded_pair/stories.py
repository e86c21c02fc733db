"""Stories, letters, poems and notes: the running text of the base, with some pieces used by the tasks too."""

from __future__ import annotations

from random import Random

from .world import World, a, and_list, upper_first

WEATHER = [
    "It was a sunny day.",
    "It was raining.",
    "The wind was cold.",
    "Snow lay on the roofs.",
    "It was a warm evening.",
    "The sky was blue.",
]
LATER = ["Then it began to rain.", "Soon the sun went down.", "After that it was time for tea.", "In the evening the moon came up.",
         "Then a bell rang far away.", "At noon the church bell rang."]  # fmt: skip
TOPICS = [
    "cake",
    "party",
    "concert",
    "garden",
    "boat",
    "picnic",
    "book",
    "kite",
    "snow",
    "market",
    "holiday",
    "train",
    "school",
    "lake",
]


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
    adj, color = rng.choice(world.adjectives), rng.choice(world.object_adjectives)
    food = rng.choice(world.produce["fruit"])
    job = rng.choice(world.jobs).name
    guest = a(f"{adj} {animal}")
    prize = a(f"{color} {thing}")
    he_, his_ = upper_first(he), upper_first(his)
    plots = [
        f"One day {name} lost {prize} {place}. {he_} looked everywhere. Then {guest} came and showed {him} the way. "
        f"The {thing} lay {other}. {name} thanked the {animal} and went home.",
        f"Once there was {guest}. It lived near {name}. Every morning {name} gave the {animal} {a(food[0])}. "
        f"One night the wind was loud and {name} was afraid. The {animal} sat by the door until the sun came up.",
        f"{name} met {guest} {place}. The {animal} was alone. {name} gave it {a(food[0])} and sang a song. "
        f"From that day on the {animal} and {name} were friends.",
        f"{name} and {friend} went for a walk {place}. They heard a sound and saw {guest}. "
        f"The {animal} held {prize}. {friend} laughed, and {name} laughed too. They told the story all week.",
        f"It was the birthday of {name}. {friend} brought {prize} and the {job} brought a cake. "
        f"{upper_first(guest)} came to the window. {name} gave it some cake, and everybody was happy.",
        f"{name} wanted to see the sea. {he_} took {his} {thing} and walked all day. {other[0].upper() + other[1:]} {he} met {guest}. "
        f"The {animal} knew the way. In the evening {name} and the {animal} stood on the beach.",
        f"The {job} had {guest}. Every evening {name} heard it sing. One evening it was quiet, and {name} ran to the {job}. "
        f"The {animal} slept {place} with {a(thing)} for a bed.",
        f"There was a race {place}. {name} ran fast, {friend} ran faster, but the {adj} {animal} won. "
        f"It wanted no prize, only {a(food[0])}. {name} clapped until {his} hands were warm.",
        f"{name} drew a picture of {guest}. The wind took the picture away. {friend} found it {other} and brought it back. "
        f"Now the {animal} hangs over the bed of {name}, and nobody opens the window.",
        f"In the winter {guest} came to the house of {name}. It was cold and hungry. {name} opened the door and lit a fire. "
        f"{his_} new friend stayed until the spring.",
        f"{name} planted a small tree {place}. {upper_first(guest)} came every day to look at it. {name} told the {animal} to wait. "
        f"In the summer the tree was full of {food[1]}, and they ate them together.",
    ]
    return rng.choice(plots)


def plain_story(world: World, rng: Random) -> str:
    """A story as a document, sometimes with a heading."""
    name, animal = rng.choice(world.names), rng.choice(world.animals).name
    text = story(world, rng, name, animal)
    if rng.random() < 0.2:
        return f"### The {upper_first(animal)}\n{text}"
    return rng.choice(["", "", "Once upon a time there was a little town by a river. "]) + text


def event_story(world: World, rng: Random) -> tuple[str, str, str]:
    """Draw a tiny story with one event; return it with its summary and its title."""
    name = rng.choice(world.names)
    he = upper_first(pronouns(world, name)[0])
    verb = rng.choice(
        [v for v in world.transitive if v.past not in ("liked", "wanted", "kept", "held")]
    )
    color, thing = rng.choice(world.object_adjectives), rng.choice(world.objects)
    place = rng.choice(world.places)
    event = f"{name} {verb.past} {a(color + ' ' + thing)} {place}."
    shape = rng.randrange(3)
    if shape == 0:
        text = f"{rng.choice(WEATHER)} {name} was {place}. {he} {verb.past} {a(color + ' ' + thing)}. {rng.choice(LATER)}"
    elif shape == 1:
        text = f"{name} was {place}. {rng.choice(WEATHER)} There {he.lower()} {verb.past} {a(color + ' ' + thing)}. {rng.choice(LATER)}"
    else:
        text = f"{rng.choice(WEATHER)} In the morning {name} was {place}. {rng.choice(LATER)} {he} {verb.past} {a(color + ' ' + thing)}."
    return text, event, f"{name} and the {upper_first(color)} {upper_first(thing)}"


def told_story(world: World, rng: Random) -> str:
    """A tiny story with a heading or with its main event told again."""
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
    body = rng.choice(
        [
            f"Thank you for telling me about the {topic}. I think of it every day.",
            f"I want to tell you about the {topic}. It was wonderful.",
            f"The {topic} was the best part of the week. I hope you can come next time.",
            f"Do you remember the {topic}? I still talk about it with my mother.",
        ]
    )
    return f"Dear {name}, {body} Your friend {sender}"


def letter_note(world: World, rng: Random) -> str:
    """A letter as a document."""
    return rng.choice(["", "### Letter\n", "### Response\n"]) + letter(world, rng)


def notice(world: World, rng: Random) -> str:
    """A note on the town board that tells what is needed."""
    who = rng.choice(
        ["The school", "The library", "The farm", "The museum", "The bakery", "The station"]
    )
    thing = f"{rng.choice(world.object_adjectives)} {rng.choice(world.objects)}"
    return rng.choice(["### Request\n", "### Note\n", "### Response\n"]) + (
        f"{who} needs {a(thing)} and {rng.choice(world.numbers[2:9])} {rng.choice(world.jobs).plural}. The meeting is on {rng.choice(world.days)}."
    )


def greeting(world: World, rng: Random) -> str:
    """People meet and greet each other."""
    x, y = rng.sample(world.names, 2)
    return f"{x} meets {y} {rng.choice(world.places)}. Hello {y}, how are you? I am well, says {y}, and you, {x}? They talk about the {rng.choice(TOPICS)}."


def greet(name: str) -> str:
    """The greeting itself."""
    return f"Hello {name}, how are you?"


def sentence_about(world: World, rng: Random, word: str = "") -> str:
    """Write one sentence that contains a given noun."""
    word = word or rng.choice(world.objects + [x.name for x in world.animals])
    adj = rng.choice(["old", "new", "small", "big", "beautiful", "white"])
    return rng.choice(
        [
            f"The {adj} {word} is {rng.choice(world.places)}.",
            f"{rng.choice(world.names)} saw {a(adj + ' ' + word)} {rng.choice(world.places)}.",
            f"There is {a(word)} {rng.choice(world.places)}.",
            f"{rng.choice(world.names)} and {rng.choice(world.names)} talk about the {word}.",
        ]
    )


def small_talk(world: World, rng: Random) -> str:
    """Some loose sentences."""
    return " ".join(sentence_about(world, rng) for _ in range(rng.randint(2, 4)))


def diary(world: World, rng: Random) -> str:
    """A page of a diary."""
    day, place, friend = rng.choice(world.days), rng.choice(world.places), rng.choice(world.names)
    things = rng.sample([row[1] for row in world.produce["fruit"]], 2)
    return (
        f"### {day}\n{rng.choice(WEATHER)} In the morning I was {place} with {friend}. We ate {and_list(things)}. "
        f"{rng.choice(LATER)} We saw {a(rng.choice(world.animals).name)}."
    )


def school_words(world: World, rng: Random, words: list[str]) -> str:
    """Use words of requests as ordinary words: spelled, read, wondered about, never fulfilled."""
    name, other = rng.sample(world.names, 2)
    lines = []
    for word in rng.sample(words, rng.randint(3, 5)):
        lines.append(
            rng.choice(
                [
                    f"The word {word} is on the blackboard.",
                    f"{upper_first(word)} is a word in the book.",
                    f"{name} can spell the word {word}.",
                    f"{other} likes the word {word}, {name}'s mother does not.",
                    f"{upper_first(word)}, says the teacher, and the bell rings.",
                ]
            )
        )
    if rng.random() < 0.3:
        return "### Words\n" + "\n".join(
            rng.choice([upper_first, str])(w) for w in rng.sample(words, rng.randint(4, 8))
        )
    return " ".join(lines)


WORK = ["write", "rewrite", "repeat", "correct", "copy", "translate", "summarize", "explain", "describe", "edit", "revise", "format", "design",
        "compose", "create", "read", "count", "sort", "compare", "print", "change", "combine", "interpret", "analyze", "evaluate", "classify"]  # fmt: skip
PIECES = [
    "story",
    "letter",
    "sentence",
    "text",
    "list",
    "poem",
    "summary",
    "review",
    "title",
    "question",
    "description",
    "word",
    "sign",
    "line",
]


def at_school(world: World, rng: Random) -> str:
    """Children and teachers speak of writing, sorting and translating, as people do."""
    x, y = rng.sample(world.names, 2)
    w, v = rng.sample(WORK, 2)
    p, q = rng.sample(PIECES, 2)
    return " ".join(
        rng.sample(
            [
                f"{x} wants to {w} the {p}.",
                f"{y} does not like to {v} the {q}, but {x} does.",
                f"It takes a long time to {w} a {q}.",
                f"The teacher asked {x} to {v} the {p}, and {x} said no.",
                f"Please {w} the {p} tomorrow, said {y}, and went away.",
                f"Can you {v} this {q}? asked {x}. Nobody was there.",
                f"{upper_first(w)} the {p} and {v} the {q}, it said in the letter, but {y} had lost it.",
                f"Yesterday {x} began to {w} the following {p}.",
                f"{x} wonders how to {v} a {q} and what the teacher will say.",
                f"Who can {w} these words? Which {p} is the best? {y} did not know.",
            ],
            rng.randint(2, 4),
        )
    )
