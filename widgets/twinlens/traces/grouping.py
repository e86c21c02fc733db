"""Groups of prompt tokens: words, sentences, and segments."""

from __future__ import annotations

from collections.abc import Sequence

from twinlens.contract.manifest import Token
from twinlens.contract.words import Unit

_ENDS = ".!?:。！？："
_CLOSING = "\"'”’)]»"


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
