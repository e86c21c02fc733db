"""Tokens that may come next because they did before: a pass reads them too, and tells if they do.

One text alone is read token by token as fast as weights are fetched; a few tokens more cost little.
Answers that rewrite what stands in the prompt, or repeat themselves, take a fraction of the passes.
"""

from __future__ import annotations

from collections.abc import Sequence

#: Tokens in front that have to be the same.
_ALIKE = 2
#: Tokens that are guessed at most, and at first.
MOST, FIRST = 7, 3


def guessed(text: Sequence[int], count: int) -> list[int]:
    """At most `count` tokens that came next the last time the text ended as it does now."""
    tail = list(text[-_ALIKE:])
    for place in range(len(text) - 1, _ALIKE - 1, -1):
        if list(text[place - _ALIKE : place]) == tail:
            return list(text[place : place + count])
    return []


def right(guess: Sequence[int], chosen: Sequence[int]) -> int:
    """How many guesses, from the first on, are what was chosen."""
    pairs = zip(guess, chosen, strict=False)
    return next((place for place, (mine, yours) in enumerate(pairs) if mine != yours), len(guess))


def next_count(count: int, guess: Sequence[int], correct: int) -> int:
    """How many to guess next: twice as many if all were right, else as many as would have done."""
    if not guess:
        return count
    return min(MOST, 2 * count) if correct == len(guess) else correct + 1
