"""The text of single tokens."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast


class Pieces:
    """The text of single tokens."""

    def __init__(self, tokenizer: PreTrainedTokenizerFast) -> None:
        decoder = tokenizer.backend_tokenizer.decoder
        byte_level = decoder is not None and b'"ByteLevel"' in decoder.__getstate__()
        self._byte_of = _byte_alphabet() if byte_level else {}
        self._added = {i: token.content for i, token in tokenizer.added_tokens_decoder.items()}
        self._tokenizer = tokenizer

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
