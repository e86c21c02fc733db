"""Marked parts of a prompt: what a person writes for them, and where they stand."""

from __future__ import annotations

import difflib
import re
from collections.abc import Sequence
from typing import Any, TypeAlias

from twinlens.compute.text.arguments import checked_text, whole_number
from twinlens.compute.text.chat import Content
from twinlens.errors import PromptError

#: A part of the prompt: its text, or its ``(start, end)`` in code points. Of messages: a text (its
#: first occurrence), ``(message, text)``, ``(message, start, end)``, or the number of a message.
Span: TypeAlias = str | int | tuple[int, int] | tuple[int, str] | tuple[int, int, int]
#: One of these or several.
Spans: TypeAlias = Span | Sequence[Span] | None


def locate(parts: Sequence[Content], spans: Any, name: str, *, chat: bool) -> list[tuple[int, int]]:
    """Code points ``[start, end)`` of the whole text that marked parts stand at.

    Parameters
    ----------
    parts : sequence of Content
        What was written, with its places.
    spans : Span, sequence of Span, or None
    name : str
        What they are called, for messages of errors.
    chat : bool
        Whether the prompt is a list of messages, which spans may name by number.

    Raises
    ------
    PromptError
        If one of them is not in the prompt, or of another form.
    """
    return [
        (start + place, end + place)
        for span in _several(spans, name, chat=chat)
        for part, start, end in _found(parts, span, name, chat=chat)
        for place in part.places
    ]


def _several(spans: Any, name: str, *, chat: bool) -> list[Any]:
    """Spans one by one; of numbers alone, a list is several messages and a pair is one span."""
    if spans is None:
        return []
    if isinstance(spans, str) or whole_number(spans) is not None:
        return [spans]
    if not isinstance(spans, Sequence):
        raise _form(spans, name, chat=chat)
    numbers = [whole_number(entry) is not None for entry in spans]
    if isinstance(spans, tuple) and chat and numbers[:1] == [True]:
        return [spans]
    if all(numbers) and len(spans) == 2 and not chat:
        return [tuple(spans)]
    return list(spans)


def _found(
    parts: Sequence[Content], span: Any, name: str, *, chat: bool
) -> list[tuple[Content, int, int]]:
    """Parts that a span lies in, and its code points in each."""
    if isinstance(span, str):
        checked_text(span, f"{name}=", PromptError)
        return [_first(parts, span)]
    entries = list(span) if isinstance(span, Sequence) else [span]
    numbers = [whole_number(entry) for entry in entries]
    if not chat:
        if len(entries) != 2 or None in numbers:
            raise _form(span, name, chat=chat)
        return [_between(parts[0], numbers, "the prompt")]
    if not entries or numbers[0] is None:
        raise _form(span, name, chat=chat)
    count = 1 + max((part.message for part in parts), default=-1)
    message = numbers[0] + (count if numbers[0] < 0 else 0)
    of = [part for part in parts if part.message == message]
    if not of:
        raise PromptError(
            f"{name}= marks message {numbers[0]}, but there is no text in a message of that "
            f"number: messages are numbered 0 to {count - 1}"
        )
    if len(entries) == 1:
        return [(part, 0, len(part.text)) for part in of]
    if len(entries) == 2 and isinstance(entries[1], str):
        checked_text(entries[1], f"{name}=", PromptError)
        return [_first(of, entries[1])]
    if len(entries) == 3 and None not in numbers and len(of) == 1:
        return [_between(of[0], numbers[1:], f"message {message}")]
    raise _form(span, name, chat=chat)


def _first(parts: Sequence[Content], span: str) -> tuple[Content, int, int]:
    for part in parts:
        start = part.text.find(span) if span.strip() else -1
        if start >= 0:
            return part, start, start + len(span)
    nearest = _nearest(" ".join(part.text for part in parts), span)
    raise PromptError(f"the span {span!r} is not in the prompt; the nearest match is {nearest!r}")


def _between(part: Content, span: Sequence[Any], where: str) -> tuple[Content, int, int]:
    start, end = span
    if not 0 <= start < end <= len(part.text):
        raise PromptError(
            f"the span ({start}, {end}) is not in {where}, which has {len(part.text)} characters"
        )
    return part, start, end


def _form(span: Any, name: str, *, chat: bool) -> PromptError:
    forms = (
        "a text, (message, text), (message, start, end) or the number of a message"
        if chat
        else "a text or (start, end) in characters"
    )
    return PromptError(f"{name}= is {forms}, or a list of these, not {span!r}")


def _nearest(text: str, span: str) -> str:
    words = list(re.finditer(r"\S+", text))
    count = max(1, min(len(span.split()), len(words)))
    windows = [
        text[words[i].start() : words[i + count - 1].end()] for i in range(len(words) - count + 1)
    ]
    return difflib.get_close_matches(span, windows, n=1, cutoff=0.0)[0]
