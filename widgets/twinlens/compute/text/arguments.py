"""What a person may write for a text, a number or an answer, checked before any model runs."""

from __future__ import annotations

import operator
from collections.abc import Mapping
from typing import Any

from twinlens.contract.words import Given, Side
from twinlens.errors import AnswerError, TwinlensError

#: What a user may call an answer, and whose it is; any other text is given.
CHOICES: Mapping[str, str] = {"own": "own", "shared": "tuned", "tuned": "tuned", "base": "base"}


def checked_text(value: Any, what: str, error: type[TwinlensError]) -> str:
    """A text that tokenizers can read.

    Raises
    ------
    error
        If it is no text, or holds half of a surrogate pair.
    """
    if not isinstance(value, str):
        raise error(f"{what} is {kind_of(value)}: write a text")
    try:
        value.encode()
    except UnicodeEncodeError as wrong:
        raise error(
            f"{what} holds half a character at place {wrong.start} (a lone surrogate, "
            f"{value[wrong.start]!a}), which no tokenizer reads: remove it, or decode the text "
            "again from its bytes"
        ) from wrong
    return value


def kind_of(value: Any) -> str:
    """What a value is, for messages of errors."""
    return "None" if value is None else f"of type {type(value).__name__}"


def whole_number(value: Any) -> int | None:
    """A whole number of Python, NumPy or torch; None if it is none."""
    if isinstance(value, bool):
        return None
    try:
        return operator.index(value)
    except TypeError:
        return None


def read_length(max_new_tokens: Any) -> int:
    """The longest answer, in tokens.

    Raises
    ------
    AnswerError
        If it is no whole number, or less than 1.
    """
    number = whole_number(max_new_tokens)
    if number is None:
        raise AnswerError(f"max_new_tokens is a whole number such as 64, not {max_new_tokens!r}")
    if number < 1:
        raise AnswerError(f"max_new_tokens must be at least 1, not {number}")
    return number


def read_response(response: Any, answer: Any = None) -> str:
    """Whose answer is read: ``own``, ``base`` or ``tuned``, or a text as `Given`.

    Parameters
    ----------
    response : str
        One of `CHOICES`, or a text.
    answer : str, optional
        A text, whatever it says; replaces `response`.

    Raises
    ------
    AnswerError
        If it is no text, an empty one, or a choice that is misspelt.
    """
    names = ", ".join(f'"{name}"' for name in ("shared", "own", "base", "tuned"))
    if answer is not None:
        if not isinstance(answer, str):
            raise AnswerError(f"answer= is {kind_of(answer)}: write the text to explain")
        response = Given(answer)
    if not isinstance(response, str):
        raise AnswerError(
            f"response= is {kind_of(response)}: use {names}, or the text of an answer"
        )
    if not isinstance(response, Given):
        if response in CHOICES:
            return CHOICES[response]
        if response.lower() in {*CHOICES, "given"}:
            raise AnswerError(
                f'there is no response "{response}": use {names}; to explain the word itself pass '
                f'answer="{response}"'
            )
    checked_text(response, "the given response", AnswerError)
    if not response.strip():
        raise AnswerError("the given response is empty: write at least one word")
    return Given(response)


def generated_sides(response: str) -> tuple[Side, ...]:
    """Models that have to answer by themselves for what is read (see `read_response`)."""
    if response == "own" and not isinstance(response, Given):
        return ("base", "tuned")
    if isinstance(response, Given):
        return ()
    return ("base",) if response == "base" else ("tuned",)
