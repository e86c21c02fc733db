"""Words that directions of the residual stream point to, by the output embeddings.

Words are either those of a vocabulary, each the mean of its tokens' embeddings (the paper's way),
or the tokens themselves that are whole words.
"""

from __future__ import annotations

import hashlib
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor
from transformers import PreTrainedTokenizerFast

from twinlens.compute.text.cutting import pieces
from twinlens.compute.words.vectors import mean_embeddings, word_pieces
from twinlens.contract.wire import Array
from twinlens.errors import VocabularyError
from twinlens.support.cached import cached_property
from twinlens.weights.vocabulary import Vocabulary

#: Tokens that differ only in blanks are one word: so many are looked at for each word wanted.
_VARIANTS = 3
#: Directions of which one product of matrices takes least time for each.
LOOKED_UP_TOGETHER = 160
#: Fewer are added up in another order, and the last digit shall not hang on it.
_FEWEST = 32
#: Words of which cosines are worked out at once, which then stay in the cache, and cosines held.
_ROWS, _COSINES = 1024, 2**23
#: Words of which only the largest cosine is looked at, before those of the largest ones.
_FOLDS = 16


@dataclass(frozen=True)
class Ends:
    """Words of both ends of some directions, by falling magnitude of the cosine.

    Attributes
    ----------
    words : int array [2, K, W]
        Rows of a `WordRows`, of the positive end, then of the negative; -1 where there is none.
    cosines : float32 array [2, K, W]
        Negative at the negative end.
    """

    words: Array
    cosines: Array

    def named(self, words: Sequence[str], end: int, k: int) -> list[list[Any]]:
        """Words of one end of direction k, with their cosines to six decimals, as float32 has."""
        rows = zip(self.words[end, k].tolist(), _short(self.cosines[end, k]), strict=True)
        return [[words[row], cosine] for row, cosine in rows if row >= 0]

    def both(self, words: Sequence[str], k: int, count: int) -> list[list[Any]]:
        """Words of direction k by the magnitude of the cosine, whatever its sign."""
        rows, cosines = self.words[:, k].ravel(), self.cosines[:, k].ravel()
        order = np.argsort(-np.abs(cosines), kind="stable")
        merged: dict[str, float] = {}
        for row, cosine in zip(rows[order].tolist(), _short(cosines[order]), strict=True):
            if row >= 0:
                merged.setdefault(words[row], cosine)
        return [[word, cosine] for word, cosine in merged.items()][:count]


def _short(cosines: Array) -> list[float]:
    return cast(list[float], cosines.astype(np.float64).round(6).tolist())


@dataclass(frozen=True)
class WordRows:
    """Words and their vectors.

    Attributes
    ----------
    words : list of str
        Several rows may be one word (tokens that differ in blanks); "" is none.
    rows : tensor [n, hidden]
        In the dtype and on the device of the embeddings; not of length 1.
    source : str
        Where the words come from, for people.
    """

    words: list[str]
    rows: Tensor
    source: str

    @cached_property
    def _lengths(self) -> Tensor:
        """Length of each row, float32, on the CPU; without end where it is no word."""
        # Lengths instead of a normalised copy: that would double the largest matrix there is.
        exact = torch.promote_types(self.rows.dtype, torch.float32)
        lengths = torch.linalg.vector_norm(self.rows, dim=1, dtype=exact).float().cpu()
        no_words = torch.tensor([not word for word in self.words], dtype=torch.bool)
        return cast(Tensor, lengths.clamp_min(1e-12).masked_fill(no_words, torch.inf))

    @cached_property
    def _several_rows(self) -> bool:
        named = [word for word in self.words if word]
        return len(set(named)) < len(named)

    @cached_property
    def digest(self) -> bytes:
        """Hash of words and rows."""
        hasher = hashlib.sha256("\n".join(self.words).encode())
        rows = self.rows.contiguous().cpu()
        hasher.update(rows.view(torch.uint8).numpy().data if rows.numel() else b"")
        return hasher.digest()

    def cosines(self, directions: Tensor) -> Tensor:
        """Cosine of each direction [k, hidden] with each row, float32 [k, n]; 0 where no word."""
        exact = self.rows.new_empty(0, dtype=torch.float32)
        unit = torch.nn.functional.normalize(directions.to(exact), dim=1)
        unit = torch.nn.functional.pad(unit, (0, 0, 0, max(0, _FEWEST - len(unit))))
        cosines = torch.empty(len(unit), len(self.rows), dtype=torch.float32, device="cpu")
        parts = (self.rows, self._lengths, cosines.t())
        for rows, lengths, place in zip(*(torch.split(of, _ROWS) for of in parts), strict=True):
            torch.div((unit @ rows.to(exact).t()).cpu(), lengths, out=place.t())
        return cosines[: len(directions)]

    def ends(self, directions: Tensor, count: int) -> Ends:
        """Words at both ends of each direction [k, hidden], at most `count` of each."""
        cosines = self.cosines(directions)
        most = min(count * (_VARIANTS if self._several_rows else 1), cosines.shape[1])
        extremes = [cosines.topk(most, dim=1), cosines.topk(most, dim=1, largest=False)]
        rows = np.stack([best.indices.numpy() for best in extremes]).astype(np.int32)
        values = np.stack([best.values.numpy() for best in extremes])
        values[0] = np.where(values[0] > 0, values[0], 0)
        values[1] = np.where(values[1] < 0, values[1], 0)
        rows[values == 0] = -1
        if self._several_rows:
            rows, values = self._merged(rows, values)
        return Ends(rows[:, :, :count], values[:, :, :count])

    def nearest(self, directions: Tensor, count: int) -> list[list[list[Any]]]:
        """For each direction its words by |cosine|, largest first, with the signed cosine."""
        at_once = max(_FEWEST, _COSINES // max(1, len(self.rows)))
        listed = []
        for some in torch.split(directions, at_once):
            cosines = self.cosines(some)
            rows = _strongest(cosines, count * (_VARIANTS if self._several_rows else 1))
            strengths = cosines.gather(1, rows).numpy()
            for places, values in zip(rows.tolist(), strengths, strict=True):
                by_word: dict[str, float] = {}
                for row, cosine in zip(places, _short(values), strict=True):
                    if not cosine or len(by_word) == count:
                        break
                    by_word.setdefault(self.words[row], cosine)
                listed.append([[word, cosine] for word, cosine in by_word.items()])
        return listed

    def vectors(self, word: str, tokenizer: PreTrainedTokenizerFast, embeddings: Tensor) -> Tensor:
        """Vectors of a word, [variants, hidden]: its rows, or else the mean over its tokens.

        Raises
        ------
        VocabularyError
            If it is empty or the tokenizer cannot spell it.
        """
        text = word.strip()
        if text:
            places = [place for place, entry in enumerate(self.words) if entry == text]
            if places:
                return self.rows[places]
            spelled = word_pieces(tokenizer, [text])
            if spelled[0]:
                return torch.from_numpy(mean_embeddings(embeddings, spelled))
        raise VocabularyError(f"{word!r} cannot be looked for: the tokenizer has no tokens for it")

    def _merged(self, rows: Array, values: Array) -> tuple[Array, Array]:
        """Keep the best row of each word, and move the others behind the end."""
        kept_rows, kept_values = np.full_like(rows, -1), np.zeros_like(values)
        for end in np.ndindex(*rows.shape[:2]):
            first: dict[str, int] = {}
            for place, row in enumerate(rows[end].tolist()):
                if row >= 0:
                    first.setdefault(self.words[row], place)
            places = list(first.values())
            kept_rows[end][: len(places)] = rows[end][places]
            kept_values[end][: len(places)] = values[end][places]
        return kept_rows, kept_values


def _strongest(cosines: Tensor, count: int) -> Tensor:
    """Rows of the `count` largest |cosines| [k, n] of each direction, largest first."""
    n = cosines.shape[1]
    wide = n // _FOLDS
    columns = torch.arange(n).expand(len(cosines), -1)
    if wide > count:
        # All of them are among those that have the largest of their fold beside them.
        folded = cosines[:, : wide * _FOLDS].view(len(cosines), _FOLDS, wide)
        largest = torch.maximum(folded.amax(dim=1), -folded.amin(dim=1)).topk(count).indices
        of_largest = largest[:, None] + wide * torch.arange(_FOLDS)[:, None]
        columns = torch.cat([of_largest.flatten(1), columns[:, wide * _FOLDS :]], dim=1)
    strengths = cosines.gather(1, columns).abs()
    return columns.gather(1, strengths.topk(min(count, n)).indices)


def word_rows(
    tokenizer: PreTrainedTokenizerFast, embeddings: Tensor, vocabulary: Vocabulary | None = None
) -> WordRows:
    """Words by output embeddings [vocabulary, hidden].

    Parameters
    ----------
    vocabulary : Vocabulary, optional
        Each word is the mean of its tokens' embeddings, with a blank in front; words that the
        tokenizer cannot spell are left out. Without it the tokens are the words: those of whole
        characters that hold a letter or a digit, without special tokens.

    Raises
    ------
    VocabularyError
        If the tokenizer cannot spell any of the words.
    """
    if vocabulary is None:
        count = min(len(tokenizer), len(embeddings))
        return WordRows(_token_words(tokenizer)[:count], embeddings[:count], "tokens")
    spelled = word_pieces(tokenizer, vocabulary.words)
    spellable = [place for place, tokens in enumerate(spelled) if tokens]
    if not spellable:
        raise VocabularyError(
            f"the tokenizer can spell none of the {len(vocabulary.words)} words of "
            f"{vocabulary.source}: give other words"
        )
    means = mean_embeddings(embeddings, [spelled[place] for place in spellable])
    return WordRows(
        [vocabulary.words[place] for place in spellable], torch.from_numpy(means), vocabulary.source
    )


@lru_cache(maxsize=4)
def _token_words(tokenizer: PreTrainedTokenizerFast) -> list[str]:
    show, special = pieces(tokenizer), set(tokenizer.all_special_ids)
    return ["" if i in special else _word(show.raw(i)) for i in range(len(tokenizer))]


def _word(piece: bytes) -> str:
    try:
        word = piece.decode().strip()
    except UnicodeDecodeError:
        return ""
    return word if word.isalnum() or any(unicodedata.category(c)[0] in "LN" for c in word) else ""
