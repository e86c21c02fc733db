"""The text of single tokens."""

from __future__ import annotations

import re
from functools import lru_cache

from transformers import PreTrainedTokenizerFast


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
