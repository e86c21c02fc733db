"""Word pairs of attention heads, from weights alone (paper, section on self-attention heads).

Every dimension of a head is a neuron with a query side and a key side. Words are ranked on both
sides by the absolute activation ``e_word . (W * norm)``; a word of the query side and one of the
key side form a pair if they may occur together and both activations have the same sign. The
division of the norm by its root mean square, biases, rotary position and ``1 / sqrt(head_dim)``
are left out, as in the paper's code.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from twinlens.compute.models.weights import LayerWeights, Weights, load_layer, save_layer
from twinlens.compute.words.vectors import (
    Cooccurrence,
    CooccurrenceSettings,
    all_but_the_top,
    mean_embeddings,
    word_pieces,
)
from twinlens.contract.wire import Array
from twinlens.errors import VocabularyError
from twinlens.support.progress import Report
from twinlens.weights.vocabulary import Vocabulary, WordVectors, read_word_vectors, vocabulary
from twinlens.weights.word_pairs import LayerPairs

# Rows of weights that are ranked at once; bounds the buffers to 61 MB each for 20,000 words.
_ROWS = 768

#: A GloVe or word2vec text file, or a function from words to an array [words, d] in which the
#: rows of words without a vector are NaN.
VectorSource: TypeAlias = str | os.PathLike[str] | Callable[[Sequence[str]], Array]


class Ranking:
    """Ranks words by their activation on rows of weights.

    Large buffers are kept from layer to layer: handing them out anew costs as much as a fifth of
    the work.

    Parameters
    ----------
    vectors : tensor, shape [words, hidden]
        Word vectors; their dtype and device are those of the computation.
    """

    def __init__(self, vectors: Tensor) -> None:
        self.vectors = vectors
        self._activations = vectors.new_empty(_ROWS, len(vectors))
        self._absolute = torch.empty_like(self._activations)

    def top(self, rows: Tensor, count: int) -> tuple[Array, Array, Array]:
        """Words of largest absolute activation per row.

        Parameters
        ----------
        rows : tensor, shape [rows, hidden]

        Returns
        -------
        energy : float array, shape [rows]
            Sum of the squared activations of all words.
        words : int array, shape [rows, count]
            The largest first.
        signs : int8 array, shape [rows, count]
            Of their activations: -1, 0 or 1.
        """
        parts: list[tuple[Array, Array, Array]] = []
        for start in range(0, len(rows), _ROWS):
            block = rows[start : start + _ROWS].to(self.vectors)
            activations = self._activations[: len(block)]
            if self.vectors.is_cuda:
                torch.matmul(block, self.vectors.T, out=activations)
            else:  # NumPy's BLAS was a fifth faster than torch's where it was measured, on AMD.
                np.matmul(block.numpy(), self.vectors.numpy().T, out=activations.numpy())
            absolute = torch.abs(activations, out=self._absolute[: len(block)])
            words = absolute.topk(count, dim=1).indices
            signs = activations.gather(1, words).sign().to(torch.int8)
            energy = torch.linalg.vector_norm(activations, dim=1).square()
            parts.append((energy.cpu().numpy(), words.cpu().numpy(), signs.cpu().numpy()))
        energies, ids, marks = (np.concatenate(part) for part in zip(*parts, strict=True))
        return energies, ids, marks


def layer_pairs(ranking: Ranking, weights: LayerWeights, cooccurrence: Cooccurrence) -> LayerPairs:
    """Word pairs of every head of one layer.

    Parameters
    ----------
    ranking : Ranking
        Of the word vectors.
    cooccurrence : Cooccurrence
        Of the same words.
    """
    heads, size, _ = weights.query.shape
    shared = heads // len(weights.key)
    norm = weights.norm.to(ranking.vectors)
    # The activations of a key head are computed once, however many query heads read it.
    query, key = (
        [
            part.reshape(-1, size, *part.shape[1:])
            for part in ranking.top(
                rows.flatten(0, 1).to(ranking.vectors) * norm, cooccurrence.settings.top
            )
        ]
        for rows in (weights.query, weights.key)
    )
    tables = [
        _pairs(query[1][head], query[2][head], key[1][key_head], key[2][key_head], cooccurrence)
        for head, key_head in enumerate(np.arange(heads) // shared)
    ]
    neurons = np.concatenate([pairs[0] + head * size for head, pairs in enumerate(tables)])
    small = np.uint16 if len(ranking.vectors) <= 1 << 16 else np.int32
    return LayerPairs(
        energy=query[0] + np.repeat(key[0], shared, axis=0),
        top_query=query[1].astype(small),
        top_key=key[1].astype(small),
        offsets=np.searchsorted(neurons, np.arange(heads * size + 1)),
        query=np.concatenate([pairs[1] for pairs in tables]).astype(small),
        key=np.concatenate([pairs[2] for pairs in tables]).astype(small),
        cosine=np.concatenate([pairs[3] for pairs in tables]),
    )


def _pairs(
    query: Array, query_sign: Array, key: Array, key_sign: Array, cooccurrence: Cooccurrence
) -> tuple[Array, Array, Array, Array]:
    """Pairs of one head: neuron, query word, key word, cosine; by neuron, then falling cosine.

    `query` and `key` are word ids [head_dim, K], the signs are those of their activations.
    """
    bits = cooccurrence.allowed
    place = (query * bits.shape[1])[:, :, None] + (key >> 3)[:, None, :]
    cooccurring = bits.reshape(-1)[place] & (1 << (key & 7)).astype(np.uint8)[:, None, :]
    allowed = (cooccurring != 0) & (query_sign[:, :, None] * key_sign[:, None, :] > 0)
    neuron, first, second = np.unravel_index(np.flatnonzero(allowed), allowed.shape)
    query_word, key_word = query[neuron, first], key[neuron, second]
    cosine = cooccurrence.cosines(query_word, key_word)
    order = np.lexsort((-cosine, neuron))
    return neuron[order], query_word[order], key_word[order], cosine[order]


@dataclass(frozen=True)
class Words:
    """A vocabulary whose words all have tokens."""

    words: tuple[str, ...]
    pieces: list[list[int]]
    source: str
    left_out: tuple[str, ...]


def prepare(tokenizer: PreTrainedTokenizerBase, words: Vocabulary | None, top: int) -> Words:
    """Spell a vocabulary, by default the most frequent English words, in tokens.

    Raises
    ------
    VocabularyError
        If fewer words than K have any.
    """
    words = words or vocabulary()
    pieces = word_pieces(tokenizer, words.words)
    spelled = [place for place, tokens in enumerate(pieces) if tokens]
    left_out = tuple(word for word, tokens in zip(words.words, pieces, strict=True) if not tokens)
    if len(spelled) < top:
        raise VocabularyError(
            f"the vocabulary has {len(spelled)} words with a vector, fewer than the K = "
            f"{top} a neuron is described with: give more words or a smaller K"
        )
    return Words(
        tuple(words.words[place] for place in spelled),
        [pieces[place] for place in spelled],
        words.source,
        left_out,
    )


def filter_words(
    source: VectorSource | None,
    words: Words,
    weights: Weights,
    settings: CooccurrenceSettings,
    report: Report | None,
) -> Cooccurrence:
    """Which words may occur together; by default the model's own input embeddings say so.

    Raises
    ------
    VocabularyError
        If the vectors cannot be read, or do not fit the words.
    """
    if source is None:
        embeddings = mean_embeddings(weights.input_embeddings(), words.pieces)
        vectors, components = all_but_the_top(embeddings)
        name = (
            f"input embeddings of {weights.name}, less their mean and first {components} "
            f"principal component{'s' if components > 1 else ''}"
        )
        word_vectors = WordVectors(vectors, np.ones(len(vectors), bool), name)
    elif callable(source):
        vectors = np.array(source(words.words), dtype=np.float32)
        if vectors.ndim != 2 or len(vectors) != len(words.words):
            raise VocabularyError(
                f"the co-occurrence function returned an array of shape {vectors.shape} for "
                f"{len(words.words)} words: it has to be [words, d]"
            )
        finite = np.asarray(np.isfinite(vectors).all(axis=1))
        vectors[~finite] = 0
        word_vectors = WordVectors(
            vectors, finite, getattr(source, "__name__", type(source).__name__)
        )
    else:
        word_vectors = read_word_vectors(source, words.words, report)
    return Cooccurrence(word_vectors, settings)


class Search:
    """Finds the word pairs of one model, layer by layer; holds what the layers share.

    Parameters
    ----------
    folder : Path, optional
        Where finished layers are kept on disk.
    device : str or device, optional
        Where activations are computed; the CPU by default.
    """

    def __init__(
        self,
        weights: Weights,
        words: Words,
        cooccurrence: Cooccurrence,
        folder: Path | None,
        device: str | torch.device | None,
    ) -> None:
        self._vectors = mean_embeddings(weights.input_embeddings(), words.pieces)
        self._cooccurrence, self._folder, self._device = cooccurrence, folder, device
        self._ranking: Ranking | None = None
        self._common = hashlib.sha256(repr(cooccurrence.settings).encode())
        for array in (self._vectors, cooccurrence.units, cooccurrence.known):
            self._common.update(np.ascontiguousarray(array).data)

    def layer(self, weights: Weights, layer: int) -> LayerPairs:
        """Word pairs of one layer of the model, from disk if they are there."""
        read = weights.layer(layer)
        key = self._common.copy()
        for part in (read.query, read.key, read.norm):
            key.update(part.float().contiguous().cpu().numpy().data)
        stored = load_layer(self._folder, key.hexdigest())
        if stored is not None:
            return LayerPairs(**stored)
        vectors = torch.from_numpy(self._vectors).to(self._device or "cpu")
        self._ranking = self._ranking or Ranking(vectors)
        pairs = layer_pairs(self._ranking, read, self._cooccurrence)
        save_layer(self._folder, key.hexdigest(), vars(pairs))
        return pairs


def parameters_of(words: Words, cooccurrence: Cooccurrence) -> dict[str, Any]:
    """Every setting that influences word pairs, plain JSON values."""
    settings = cooccurrence.settings
    return {
        "top": settings.top,
        "z": settings.z,
        "frequent": settings.frequent,
        "vocabulary": words.source,
        "words": len(words.words),
        "words_without_vectors": list(words.left_out),
        "cooccurrence": cooccurrence.source,
        "words_without_cooccurrence": int((~cooccurrence.known).sum()),
    }
