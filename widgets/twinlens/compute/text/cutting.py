"""From a text to the tokens both models read, each with its part of the text, and back."""

from __future__ import annotations

import copy
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import takewhile

from transformers import PreTrainedTokenizerFast

from twinlens.compute.models.models import Models
from twinlens.errors import PromptError

#: Code points ``[start, end)`` of a text.
Place = tuple[int, int]


@dataclass(frozen=True)
class CutText:
    """A text in tokens.

    Attributes
    ----------
    touched : list of (start, end)
        Every character that a token is made of; tokens may share one that is cut into bytes.
    places : list of (start, end)
        The same, each character in one token only: in the one that completes it. Blanks that no
        token was made of belong to the token behind them.
    front : int
        Tokens at the start that the tokenizer put there by itself.
    """

    ids: list[int]
    touched: list[Place]
    places: list[Place]
    front: int


def cut(pair: Models, text: str, *, bare: bool) -> CutText:
    """CutText a text into tokens.

    Parameters
    ----------
    bare : bool
        Whether the tokenizer puts its start token in front; a text that begins with one gets no
        second. Nothing is ever put behind a text, which goes on with the answer.

    Raises
    ------
    PromptError
        If the two tokenizers cut it differently, or there is nothing to read.
    """
    tuned, base = pair.tokenizers["tuned"], pair.tokenizers["base"]
    ids, spans, front = _encoded(tuned, text, bare=bare)
    if not ids:
        raise PromptError("the tokenizer makes no token of this prompt: write something else")
    others, _, _ = _encoded(base, text, bare=bare)
    if others != ids:
        # Tokens that tuning has added: base's tokenizer would cut their text into pieces.
        knowing = _knowing(base, tuned)
        others, _, _ = _encoded(knowing, text, bare=bare)
        if knowing.convert_ids_to_tokens(others) != tuned.convert_ids_to_tokens(ids):
            raise PromptError(
                f"the two tokenizers cut this prompt differently ({len(others)} tokens in base, "
                f"{len(ids)} in tuned): give load_pair one tokenizer= for both"
            )
    return CutText(ids, spans, _apart(text, spans, front), front)


def _encoded(
    tokenizer: PreTrainedTokenizerFast, text: str, *, bare: bool
) -> tuple[list[int], list[Place], int]:
    """Ids, the characters each is made of, and how many stand in front of the text."""
    made = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
    ids, spans = list(made["input_ids"]), list(made["offset_mapping"])
    front = in_front(tokenizer) if bare else []
    if ids[: len(front)] == front:
        front = []
    return [*front, *ids], [*[(0, 0)] * len(front), *spans], len(front)


def in_front(tokenizer: PreTrainedTokenizerFast) -> list[int]:
    """What a tokenizer puts in front of every text."""
    made = tokenizer("a", return_special_tokens_mask=True)
    pairs = zip(made["input_ids"], made["special_tokens_mask"], strict=True)
    return [identifier for identifier, _ in takewhile(lambda pair: pair[1], pairs)]


@lru_cache(maxsize=4)
def _knowing(
    tokenizer: PreTrainedTokenizerFast, other: PreTrainedTokenizerFast
) -> PreTrainedTokenizerFast:
    """A copy of a tokenizer that also knows the tokens that were added to another one."""
    known = tokenizer.get_vocab()
    grown = copy.deepcopy(tokenizer)
    grown.add_tokens([t for t in other.added_tokens_decoder.values() if t.content not in known])
    return grown


def _apart(text: str, spans: Sequence[Place], front: int) -> list[Place]:
    """Spans that share no character and leave out no blank between two of them."""
    places: list[Place] = []
    limit = len(text)
    for start, end in reversed(spans[front:]):
        end = min(end, limit)
        limit = min(start, end)
        places.append((limit, end))
    places = [*spans[:front], *reversed(places)]
    before = 0
    for i, (start, end) in enumerate(places):
        if before < start and text[before:start].isspace():
            places[i] = before, end
        before = max(before, places[i][1])
    return places


class Pieces:
    """The text of single tokens."""

    def __init__(self, tokenizer: PreTrainedTokenizerFast) -> None:
        decoder = tokenizer.backend_tokenizer.decoder
        byte_level = decoder is not None and b'"ByteLevel"' in decoder.__getstate__()
        self._byte_of = _byte_alphabet() if byte_level else {}
        self._added = {i: token.content for i, token in tokenizer.added_tokens_decoder.items()}
        self._tokenizer = tokenizer
        # WordPiece marks what goes on with a word, where others mark what begins one.
        model = tokenizer.backend_tokenizer.model
        self._joined = getattr(model, "continuing_subword_prefix", None) or ""

    def __call__(self, identifier: int) -> str:
        """Its own piece of text for display; bytes that are no character as ``\\xNN``."""
        return self.raw(identifier).decode("utf-8", "backslashreplace")

    def raw(self, identifier: int) -> bytes:
        """The bytes a token stands for."""
        if identifier in self._added:
            return self._added[identifier].encode()
        piece = str(self._tokenizer.convert_ids_to_tokens(identifier) or "")
        if self._byte_of:
            try:
                return bytes(map(self._byte_of.__getitem__, piece))
            except KeyError:  # of no byte: the piece was added, and holds it as it is
                return b"".join(
                    bytes([self._byte_of[c]]) if c in self._byte_of else c.encode() for c in piece
                )
        if self._joined:
            return piece.removeprefix(self._joined).encode()
        byte = re.fullmatch(r"<0x([0-9A-F]{2})>", piece)
        return bytes([int(byte[1], 16)]) if byte else piece.replace("\u2581", " ").encode()


@lru_cache(maxsize=8)
def pieces(tokenizer: PreTrainedTokenizerFast) -> Pieces:
    """The pieces of a tokenizer."""
    return Pieces(tokenizer)


def _byte_alphabet() -> dict[str, int]:
    """Character that stands for each byte in byte-level vocabularies (GPT-2's table)."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    unprintable = [byte for byte in range(256) if byte not in printable]
    return {chr(byte): byte for byte in printable} | {
        chr(256 + place): byte for place, byte in enumerate(unprintable)
    }


def label(piece: str, covered: str) -> str:
    """What to show for a token: its piece, with the blanks in front that its text has.

    Some tokenizers put a blank before a text that is not in it, others leave out the one that is.
    A token of blanks alone stays as it is.

    Parameters
    ----------
    piece, covered : str
        The token's own piece, and the text that belongs to it.
    """
    word = piece.lstrip()
    if not word:
        return piece or covered
    return covered[: len(covered) - len(covered.lstrip())] + word
