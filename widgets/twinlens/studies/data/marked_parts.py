"""Marked parts of a prompt: annotations, and widening to sentences.

The published tables need three small rules of the authors, each kept by name: how an annotation
is written (`parse_annotation`), how a marked fragment is widened to whole sentences (`widen`), and
which tokens a span stands for (`twinlens.traces.marks.span_tokens`).
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from twinlens.errors import PromptError
from twinlens.traces.marks import CharacterSpan

_SENTENCE_END = re.compile(r"(?<=[.!?:])\s")
_BETWEEN_FRAGMENTS = "|||"
_LABEL = "Input:"


def parse_annotation(text: str) -> tuple[list[str], list[str]]:
    """Split an annotation ``fragment|||fragment&&&context|||context`` into its fragments.

    Parameters
    ----------
    text : str

    Returns
    -------
    instruction, context : lists of str
        Empty fragments left out; blanks inside and around are kept.
    """
    instruction, _, context = text.partition("&&&")
    return _fragments(instruction), _fragments(context)


def _fragments(text: str) -> list[str]:
    return [piece for piece in text.split(_BETWEEN_FRAGMENTS) if piece]


def find_span(prompt: str, text: str) -> CharacterSpan:
    """First place of a text in the prompt.

    Raises
    ------
    PromptError
        If it is empty or not there.
    """
    start = prompt.find(text) if text else -1
    if start < 0:
        raise PromptError(
            f"{_short(text)} is marked but does not occur in the prompt: "
            "mark text as it stands there"
        )
    return start, start + len(text)


def sentences(prompt: str) -> list[CharacterSpan]:
    """Sentences of a prompt: its lines, split at white space after ``.``, ``!``, ``?``, ``:``."""
    spans: list[CharacterSpan] = []
    start = 0
    for line in prompt.split("\n"):
        place = start
        for piece in _SENTENCE_END.split(line):
            spans.append((place, place + len(piece)))
            place += len(piece) + 1
        start += len(line) + 1
    return spans


def widen(
    prompt: str, fragments: Iterable[str], *, published_quirk: bool = True
) -> list[CharacterSpan]:
    """Widen marked fragments to whole sentences, as the published analysis does.

    Every fragment is split into lines and sentences; each piece becomes the first sentence of
    the prompt that contains it, without a leading ``Input:``.

    Parameters
    ----------
    fragments : iterable of str
        Marked text, in any order.
    published_quirk : bool
        In the published analysis an empty piece (a fragment that ends in ``": "`` leaves one) is
        contained in everything and so adds the first sentence of the prompt. True repeats that,
        False ignores empty pieces.

    Returns
    -------
    list of CharacterSpan
        Each sentence once, in the order of the prompt.

    Raises
    ------
    PromptError
        If no sentence contains a piece.
    """
    places = [(span, prompt[slice(*span)]) for span in sentences(prompt)]
    chosen: set[CharacterSpan] = set()
    lines = (line for fragment in fragments for line in fragment.split("\n") if line)
    for line in lines:
        for piece in _SENTENCE_END.split(line):
            if not piece.strip() and not published_quirk:
                continue
            span = next((span for span, text in places if piece.strip() in text), None)
            if span is None:
                raise PromptError(
                    f"{_short(piece)} is marked but is in no sentence of the prompt: "
                    "mark text as it stands there"
                )
            chosen.add(_without_label(prompt, span))
    return sorted(span for span in chosen if span[0] < span[1])


def _without_label(prompt: str, span: CharacterSpan) -> CharacterSpan:
    text = prompt[slice(*span)]
    rest = text.removeprefix(_LABEL).lstrip() if text.startswith(_LABEL) else text
    return span[1] - len(rest), span[1]


def _short(text: str) -> str:
    return repr(text if len(text) <= 60 else text[:57] + "...")
