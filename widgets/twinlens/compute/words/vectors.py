"""Vectors of words: from a model's tokens, and as the judge of which words may occur together."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np
import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase, PreTrainedTokenizerFast

from twinlens.compute.text.cutting import Pieces
from twinlens.contract.wire import Array
from twinlens.errors import VocabularyError
from twinlens.support.cached import cached_property
from twinlens.weights.vocabulary import Vocabulary, WordVectors, vocabulary

#: Word vectors are made, and words compared, so many at a time.
_BLOCK = 2048

# Vectors gathered at a time; few enough to stay in the cache, which makes it five times faster.
_GATHER = 512


@dataclass(frozen=True)
class CooccurrenceSettings:
    """CooccurrenceSettings of the method; the defaults are the paper's.

    Attributes
    ----------
    top : int
        K: words per neuron and side.
    z : float
        Standard deviations above its mean that a word's cosine has to exceed.
    frequent : int
        The mean and deviation are taken over the cosines to so many most frequent words.
    """

    top: int = 100
    z: float = 1.96
    frequent: int = 3000


class Cooccurrence:
    """Which words may occur together: cosine above the threshold of both.

    A word's threshold is the mean of its cosines to the most frequent words plus `z` population
    standard deviations, itself included if it is among them; never less than 0. Words without a
    vector occur with none.

    Parameters
    ----------
    vectors : WordVectors
        Of a vocabulary, the most frequent word first.
    """

    def __init__(self, vectors: WordVectors, settings: CooccurrenceSettings | None = None) -> None:
        self.settings = settings or CooccurrenceSettings()
        self.source = vectors.source
        self.known = vectors.known
        lengths = np.linalg.norm(vectors.vectors, axis=1, keepdims=True)
        #: Vectors of length 1, shape [words, d]; zero for words without one.
        self.units: Array = vectors.vectors / np.where(lengths > 0, lengths, 1)
        self.units[~vectors.known] = 0

    @cached_property
    def thresholds(self) -> Array:
        """Threshold per word, shape [words]; infinite for words without a vector."""
        valid = self.known[: self.settings.frequent]
        if not valid.any():
            raise VocabularyError(
                f"none of the {len(valid):,} most frequent words has a vector in {self.source!r}, "
                "so that there is nothing to compare co-occurrence with"
            )
        frequent = self.units[: self.settings.frequent][valid].astype(np.float64)
        # Mean and mean square of the cosines u . f follow from those of f and of f f'.
        mean, square = frequent.mean(axis=0), frequent.T @ frequent / len(frequent)
        thresholds = np.full(len(self.units), np.inf)
        for start in range(0, len(self.units), _BLOCK):
            units = self.units[start : start + _BLOCK].astype(np.float64)
            average = units @ mean
            variance = np.maximum(np.vecdot(units @ square, units) - average**2, 0)
            thresholds[start : start + _BLOCK] = average + self.settings.z * np.sqrt(variance)
        thresholds = np.maximum(thresholds, 0).astype(self.units.dtype)
        thresholds[~self.known] = np.inf
        return np.asarray(thresholds)

    @cached_property
    def allowed(self) -> Array:
        """Bit matrix of the pairs, uint8 [words, ceil(words / 8)]; bit j of row i in byte j // 8.

        One bit per pair of words, 50 MB for 20,000 of them, filled block by block.
        """
        units, limits, words = self.units, self.thresholds, len(self.units)
        bits = np.zeros((words, -(-words // 8)), np.uint8)
        for top in range(0, words, _BLOCK):
            rows = slice(top, min(top + _BLOCK, words))
            for left in range(top, words, _BLOCK):
                columns = slice(left, min(left + _BLOCK, words))
                together = units[rows] @ units[columns].T > np.maximum(
                    limits[rows, None], limits[None, columns]
                )
                if left == top:
                    np.fill_diagonal(together, val=False)
                bits[rows, left // 8 : -(-columns.stop // 8)] = _packed(together)
                # Torch turns a matrix of bytes round ten times faster than NumPy packs it turned.
                turned = torch.from_numpy(together).T.contiguous().numpy()
                bits[columns, top // 8 : -(-rows.stop // 8)] = _packed(turned)
        return bits

    def cosines(self, first: Array, second: Array) -> Array:
        """Cosine of each word of `first` with the word at the same place of `second`."""
        cosines = np.empty(len(first), self.units.dtype)
        for start in range(0, len(cosines), _GATHER):
            part = slice(start, start + _GATHER)
            cosines[part] = np.vecdot(self.units[first[part]], self.units[second[part]])
        return cosines


def _packed(block: Array) -> Array:
    return np.packbits(block, axis=1, bitorder="little")


def word_pieces(tokenizer: PreTrainedTokenizerBase, words: Sequence[str]) -> list[list[int]]:
    """Tokens of each word with a blank in front; a lone leading blank is dropped.

    A word that the tokenizer cannot spell has none.
    """
    ids = tokenizer([f" {word}" for word in words], add_special_tokens=False)["input_ids"]
    pieces = tokenizer.convert_ids_to_tokens(sorted({word[0] for word in ids if word}))
    blanks = {
        token
        for token, piece in zip(sorted({word[0] for word in ids if word}), pieces, strict=True)
        if not piece.strip(" ▁Ġ")
    }
    unknown = tokenizer.unk_token_id
    return [
        [] if unknown in word else word[1:] if len(word) > 1 and word[0] in blanks else word
        for word in ids
    ]


def token_words(tokenizer: PreTrainedTokenizerBase) -> Vocabulary:
    """Words that a tokenizer has as one token behind a blank, in the order of their ids.

    The vocabulary to use with a small model of few words: others would be spelled in letters.
    Of case variants the one in lower case is taken.
    """
    # Not by decoding: that drops the blank of a single SentencePiece token.
    show = Pieces(cast("PreTrainedTokenizerFast", tokenizer))
    texts = [show(token) for token in range(len(tokenizer))]
    words = [text[1:] for text in texts if text[:1] == " " and text[1:].isalpha()]
    ordered = vocabulary(sorted(words, key=lambda word: not word.islower()), size=len(words))
    return dataclasses.replace(ordered, source="words of the tokenizer")


def mean_embeddings(embeddings: Tensor, pieces: Sequence[Sequence[int]]) -> Array:
    """Mean embedding of the tokens of each word, float32, shape [words, hidden]."""
    means = np.empty((len(pieces), embeddings.shape[1]), np.float32)
    for start in range(0, len(pieces), _BLOCK):
        block = pieces[start : start + _BLOCK]
        counts = torch.tensor([len(word) for word in block])
        tokens = torch.tensor([token for word in block for token in word])
        rows = embeddings.detach()[tokens.to(embeddings.device)].float().cpu()
        sums = torch.zeros(len(block), rows.shape[1], dtype=torch.float32)
        sums.index_add_(0, torch.repeat_interleave(counts), rows)
        means[start : start + _BLOCK] = (sums / counts[:, None]).numpy()
    return means


def all_but_the_top(vectors: Array) -> tuple[Array, int]:
    """Word vectors without what all of them share (Mu and Viswanath 2018).

    Their mean and their first ``max(1, d // 100)`` principal components are taken away. These say
    how frequent a word is or how it is written rather than what it means, and make cosines so
    uneven that a threshold of mean + z sd leaves hubs with many partners and words with none: in
    SmolLM2-135M half of 8,000 words had 30 to 490 partners without this and 150 to 200 with it.

    Returns
    -------
    vectors : array, shape [words, d]
    components : int
        How many were taken away.
    """
    components = max(1, vectors.shape[1] // 100)
    centred = vectors - vectors.mean(axis=0)
    _, axes = np.linalg.eigh(centred.T.astype(np.float64) @ centred)  # by rising variance
    top = axes[:, -components:].astype(vectors.dtype)
    return centred - (centred @ top) @ top.T, components
