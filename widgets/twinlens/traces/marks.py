"""The prompt's tokens: which are marked anew, instruction or context; words, sentences, segments.

Standard library only. Marks lie over a trace without changing it: densities, scores and shares
follow them at once, from values that are there.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, TypeAlias, cast

from twinlens.contract.manifest import Token
from twinlens.contract.words import MARKED, Segment, Unit
from twinlens.errors import PromptError

#: First token, one past the last, and what the tokens are.
Mark: TypeAlias = tuple[int, int, Segment]

#: Code points ``[start, end)`` of a prompt.
CharacterSpan: TypeAlias = tuple[int, int]

#: The template's tokens stay what they are, whatever is marked over them.
FIXED: tuple[Segment, Segment] = ("special", "template")
_ENDS = ".!?:。！？："
_CLOSING = "\"'”’)]»"


def span_tokens(text: str, tokens: Sequence[Token], spans: Iterable[CharacterSpan]) -> list[int]:
    """Indexes of the tokens that spans of a text stand for, as Wu et al. count them.

    For each span the run from the first to the last token that has a character of it, blanks and
    line breaks in between included, those at either end not; nor does a token belong to it that
    shares no more than a blank with it. The union over the spans.

    Parameters
    ----------
    text : str
        That the tokens were cut from.
    tokens : sequence of Token
        With their offsets.

    Returns
    -------
    sorted list of int
    """
    chosen: set[int] = set()
    for start, end in spans:
        run = [i for i, token in enumerate(tokens) if _touches(text, token, start, end)]
        if run:
            chosen.update(range(run[0], run[-1] + 1))
    return sorted(chosen)


def _touches(text: str, token: Token, start: int, end: int) -> bool:
    """Whether a token can be an end of the run of a span.

    It has a character of the span that is no blank, and is more than a blank and a quote; or it
    is part of a character that a later token completes.
    """
    if token.start == token.end and token.segment != "special":
        return start <= token.start < end and bool(token.text.strip())
    shared = text[max(token.start, start) : min(token.end, end)]
    return bool(shared.strip()) and token.text != ' "'


def segments(tokens: Sequence[Token], marks: Iterable[Mark] | None) -> list[Segment]:
    """Segment of every prompt token under the marks; with None as the trace has them.

    Special and template tokens keep their segment; what is not marked is ``other``.
    """
    trace_segments: list[Segment] = [token.segment for token in tokens]
    if marks is None:
        return trace_segments
    marked: list[Segment] = [segment if segment in FIXED else "other" for segment in trace_segments]
    for start, end, name in marks:
        for position in range(start, end):
            if trace_segments[position] not in FIXED:
                marked[position] = name
    return marked


def marks_of(token_segments: Sequence[Segment]) -> list[Mark]:
    """Marks that give these segments, in order, neighbours of one kind as one."""
    marks: list[Mark] = []
    for position, name in enumerate(token_segments):
        if name not in MARKED:
            continue
        if marks and marks[-1][1] == position and marks[-1][2] == name:
            marks[-1] = marks[-1][0], position + 1, name
        else:
            marks.append((position, position + 1, name))
    return marks


def read_marks(value: Any, tokens: Sequence[Token]) -> list[Mark] | None:
    """Check marks from outside; of two that overlap the later one counts.

    Parameters
    ----------
    value : sequence of (start, end, "instruction" or "context"), or None
        Positions of prompt tokens, ``start <= position < end``.

    Returns
    -------
    list of Mark, or None
        In order and without overlap; None stands for the trace's own segments.

    Raises
    ------
    PromptError
        If a mark has another form or leaves the prompt.
    """
    if value is None:
        return None
    n = len(tokens)
    if not isinstance(value, Sequence) or isinstance(value, str):
        raise PromptError(f"marks are a list of (start, end, segment), not {value!r}")
    marks: list[Mark] = []
    for mark in value:
        try:
            start, end, name = mark
        except (TypeError, ValueError) as error:
            raise PromptError(f"mark {mark!r} is not (start, end, segment)") from error
        if name not in MARKED:
            raise PromptError(f"a mark is 'instruction' or 'context', not {name!r}")
        if not (type(start) is type(end) is int and 0 <= start < end <= n):
            raise PromptError(
                f"mark {mark!r} does not lie in the prompt: 0 <= start < end <= {n} prompt tokens"
            )
        marks.append((start, end, cast(Segment, name)))
    return marks_of(segments(tokens, marks))


def groups(tokens: Sequence[Token], unit: Unit) -> list[list[int]]:
    """Positions that belong together; every position is in exactly one group.

    Parameters
    ----------
    tokens : sequence of Token
        Tokens of the prompt.
    unit : {"token", "word", "sentence", "segment"}
        A word ends at white space; a sentence at a line break, or at white space after one of
        ``. ! ? :`` (as Wu et al. split prompts). Neither crosses the border of a segment, and a
        special token stands alone. A segment is all tokens of one kind, wherever they stand.
    """
    if unit == "token":
        return [[i] for i in range(len(tokens))]
    if unit == "segment":
        segments = dict.fromkeys(token.segment for token in tokens)
        return [[i for i, t in enumerate(tokens) if t.segment == name] for name in segments]
    begins = _begins_word if unit == "word" else _begins_sentence
    positions: list[list[int]] = []
    for i, token in enumerate(tokens):
        before = tokens[i - 1] if i else token
        new_segment = i == 0 or before.segment != token.segment or token.segment == "special"
        if new_segment or begins(before.text, token.text):
            positions.append([])
        positions[-1].append(i)
    return positions


def _begins_word(before: str, text: str) -> bool:
    return before[-1:].isspace() or text[:1].isspace()


def _begins_sentence(before: str, text: str) -> bool:
    # White space at a line's end stays with its line.
    if "\n" in before and text.strip():
        return True
    ended = before.rstrip().rstrip(_CLOSING)[-1:] in tuple(_ENDS)
    return ended and bool(text.strip()) and _begins_word(before, text)
