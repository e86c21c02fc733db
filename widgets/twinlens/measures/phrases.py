"""Words, numbers and lists as sentences have them."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence

from twinlens.contract.forms import Carried, Run

_NUMBERS = ("none", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")


def letters(text: str) -> str:
    """A word as it is compared: two letters at least, whatever their case."""
    word = text.strip().casefold()
    return word if len(word) > 1 and word.isalpha() else ""


def shown(text: str) -> str:
    """A token as it is read: blanks and ends of lines stand for themselves."""
    return text.strip() or "\\n" * text.count("\n") or "␣"


def of_models(text: str) -> list[Run]:
    """A text in which the names of the models are runs of their own."""
    pieces = re.split(r"\b(base|tuned)\b", text)
    return [(piece if i % 2 else "", piece) for i, piece in enumerate(pieces) if piece]


def runs_of(words: Sequence[str], kind: str) -> list[Run]:
    """Words of a kind, listed."""
    runs: list[Run] = []
    for place, word in enumerate(words):
        if place:
            runs.append(("", " and " if place == len(words) - 1 else ", "))
        # A comma in a list of tokens would read as one of the list's own.
        runs.append((kind, word if any(map(str.isalnum, word)) else f"“{word}”"))
    return runs


def joined(words: Sequence[str]) -> str:
    """A list in words."""
    return " and ".join(filter(None, [", ".join(words[:-1]), words[-1]]))


def number(value: int) -> str:
    """Small numbers in words."""
    return _NUMBERS[value] if value < len(_NUMBERS) else str(value)


def ordinal(place: int) -> str:
    """A place counted from 0, in words while they are short."""
    words = ("first", "second", "third", "fourth", "fifth")
    if place < len(words):
        return words[place]
    number = place + 1
    suffix = {1: "st", 2: "nd", 3: "rd"}.get(number % 10 if number % 100 not in (11, 12, 13) else 0)
    return f"{number}{suffix or 'th'}"


def signed(value: float) -> str:
    """One decimal, with a minus sign."""
    return f"{value:.1f}".replace("-", "−")


def plus(value: float) -> str:
    """As `signed`, with a plus sign, too."""
    return f"{'+' * (value > 0)}{signed(value)}"


def nats(value: float) -> str:
    """A value in nats; small ones with two digits."""
    return f"{signed(value)} nats" if abs(value) >= 0.05 or value == 0 else f"{value:.2g} nats"


def percent(logprob: float) -> str:
    """The probability behind a log-probability."""
    share = 100 * math.exp(logprob)
    return f"{share:.0f} %" if share >= 1 else f"{share:.2g} %"


def share(value: float) -> str:
    """A share in percent."""
    return f"{round(100 * value)} %".replace("-", "−")


def reached(carried: Carried) -> str:
    """How much a set carries, of the shift or of KL: by the one of which it carries less."""
    last, shift = carried["parts"][-1], carried["shift"] or 1.0
    if last["together_share"] < last["together"] / shift:
        return f"{share(last['together_share'])} of KL, {nats(carried['kl'])}"
    of_shift = f"{signed(last['together'])} of {nats(carried['shift'])}"
    return f"{of_shift} ({share(last['together'] / shift)})"


def of_update(value: float) -> str:
    """How much of the update: it is halved some times, or whole."""
    names = {1: "The update", 2: "Half of the update", 4: "A quarter of the update"}
    return names.get(round(1 / value), f"1/{round(1 / value)} of the update")


def chance(value: float) -> str:
    """A chance, one digit."""
    return f"{value:.1g}" if value >= 1e-4 else "below 0.0001"
