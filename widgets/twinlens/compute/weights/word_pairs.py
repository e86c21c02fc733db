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
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
import torch
from torch import Tensor

from twinlens.blocks import Array
from twinlens.changes.word_pairs import LayerPairs, WordPairs
from twinlens.compute.weights import cache as pair_cache
from twinlens.compute.weights.reading import LayerWeights, Source, Weights, weights_of
from twinlens.compute.weights.word_vectors import (
    Cooccurrence,
    Settings,
    all_but_the_top,
    mean_embeddings,
    word_pieces,
)
from twinlens.errors import VocabularyError
from twinlens.schema import SIDES, Side
from twinlens.trace import Report
from twinlens.vocabulary import Vocabulary, WordVectors, read_word_vectors, vocabulary

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from twinlens.compute.pair import Pair

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
        count : int

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
    weights : LayerWeights
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
    found = [
        _pairs(query[1][head], query[2][head], key[1][other], key[2][other], cooccurrence)
        for head, other in enumerate(np.arange(heads) // shared)
    ]
    neurons = np.concatenate([pairs[0] + head * size for head, pairs in enumerate(found)])
    small = np.uint16 if len(ranking.vectors) <= 1 << 16 else np.int32
    return LayerPairs(
        energy=query[0] + np.repeat(key[0], shared, axis=0),
        top_query=query[1].astype(small),
        top_key=key[1].astype(small),
        offsets=np.searchsorted(neurons, np.arange(heads * size + 1)),
        query=np.concatenate([pairs[1] for pairs in found]).astype(small),
        key=np.concatenate([pairs[2] for pairs in found]).astype(small),
        cosine=np.concatenate([pairs[3] for pairs in found]),
    )


def _pairs(
    query: Array, query_sign: Array, key: Array, key_sign: Array, cooccurrence: Cooccurrence
) -> tuple[Array, Array, Array, Array]:
    """Pairs of one head: neuron, query word, key word, cosine; by neuron, then falling cosine.

    `query` and `key` are word ids [head_dim, K], the signs are those of their activations.
    """
    bits = cooccurrence.allowed
    place = (query * bits.shape[1])[:, :, None] + (key >> 3)[:, None, :]
    both = bits.reshape(-1)[place] & (1 << (key & 7)).astype(np.uint8)[:, None, :]
    kept = (both != 0) & (query_sign[:, :, None] * key_sign[:, None, :] > 0)
    neuron, first, second = np.unravel_index(np.flatnonzero(kept), kept.shape)
    query_word, key_word = query[neuron, first], key[neuron, second]
    cosine = cooccurrence.cosines(query_word, key_word)
    order = np.lexsort((-cosine, neuron))
    return neuron[order], query_word[order], key_word[order], cosine[order]


@dataclass(frozen=True)
class _Words:
    """A vocabulary whose words all have tokens."""

    words: tuple[str, ...]
    pieces: list[list[int]]
    source: str
    left_out: tuple[str, ...]


def _prepare(
    tokenizer: PreTrainedTokenizerBase, words: Vocabulary | None, settings: Settings
) -> _Words:
    words = words or vocabulary()
    pieces = word_pieces(tokenizer, words.words)
    kept = [place for place, tokens in enumerate(pieces) if tokens]
    left_out = tuple(word for word, tokens in zip(words.words, pieces, strict=True) if not tokens)
    if len(kept) < settings.top:
        raise VocabularyError(
            f"the vocabulary has {len(kept)} words with a vector, fewer than the K = "
            f"{settings.top} a neuron is described with: give more words or a smaller K"
        )
    return _Words(
        tuple(words.words[place] for place in kept),
        [pieces[place] for place in kept],
        words.source,
        left_out,
    )


def _cooccurrence(
    source: VectorSource | None,
    words: _Words,
    weights: Weights,
    settings: Settings,
    report: Report | None,
) -> Cooccurrence:
    if source is None:
        embeddings = mean_embeddings(weights.input_embeddings(), words.pieces)
        vectors, components = all_but_the_top(embeddings)
        name = (
            f"input embeddings of {weights.name}, less their mean and first {components} "
            f"principal component{'s' if components > 1 else ''}"
        )
        found = WordVectors(vectors, np.ones(len(vectors), bool), name)
    elif callable(source):
        vectors = np.array(source(words.words), dtype=np.float32)
        if vectors.ndim != 2 or len(vectors) != len(words.words):
            raise VocabularyError(
                f"the co-occurrence function returned an array of shape {vectors.shape} for "
                f"{len(words.words)} words: it has to be [words, d]"
            )
        known = np.asarray(np.isfinite(vectors).all(axis=1))
        vectors[~known] = 0
        found = WordVectors(vectors, known, getattr(source, "__name__", type(source).__name__))
    else:
        found = read_word_vectors(source, words.words, report)
    return Cooccurrence(found, settings)


def _model_pairs(
    weights: Weights,
    words: _Words,
    cooccurrence: Cooccurrence,
    layers: Iterable[int] | None,
    folder: Path | None,
    device: str | torch.device | None,
    report: Report,
) -> WordPairs:
    vectors = mean_embeddings(weights.input_embeddings(), words.pieces)
    settings = cooccurrence.settings
    common = hashlib.sha256(repr(settings).encode())
    for array in (vectors, cooccurrence.units, cooccurrence.known):
        common.update(np.ascontiguousarray(array).data)
    ranking: Ranking | None = None
    found: dict[int, LayerPairs] = {}
    wanted = range(weights.sizes.layers) if layers is None else sorted(set(layers))
    for done, layer in enumerate(wanted):
        report(done, len(wanted), f"word pairs of {weights.name}, layer {layer}")
        read = weights.layer(layer)
        key = common.copy()
        for part in (read.query, read.key, read.norm):
            key.update(part.float().contiguous().cpu().numpy().data)
        pairs = pair_cache.load(folder, key.hexdigest())
        if pairs is None:
            ranking = ranking or Ranking(torch.from_numpy(vectors).to(device or "cpu"))
            pairs = layer_pairs(ranking, read, cooccurrence)
            pair_cache.save(folder, key.hexdigest(), pairs)
        found[layer] = pairs
    report(len(wanted), len(wanted), f"word pairs of {weights.name}")
    parameters = {
        "top": settings.top,
        "z": settings.z,
        "frequent": settings.frequent,
        "vocabulary": words.source,
        "words": len(words.words),
        "words_without_vectors": list(words.left_out),
        "cooccurrence": cooccurrence.source,
        "words_without_cooccurrence": int((~cooccurrence.known).sum()),
    }
    return WordPairs(weights.name, words.words, found, parameters)


def word_pairs(
    source: Source,
    tokenizer: PreTrainedTokenizerBase,
    words: Vocabulary | None = None,
    *,
    cooccurrence: VectorSource | None = None,
    settings: Settings | None = None,
    layers: Iterable[int] | None = None,
    cache: bool | str | os.PathLike[str] = True,
    device: str | torch.device | None = None,
    report: Report | None = None,
) -> WordPairs:
    """Word pairs of the heads of one model, layer by layer, without running it.

    Parameters
    ----------
    source : loaded model, folder, safetensors file or Weights
        A folder or file is read layer by layer; the model is not loaded.
    tokenizer : tokenizer of the model
    words : Vocabulary, optional
        By default the 20,000 most frequent English words of `wordfreq`.
    cooccurrence : path or callable, optional
        Where the vectors that say which words may occur together come from; by default the
        model's own input embeddings, as `all_but_the_top` leaves them. The result names it.
    settings : Settings, optional
        K, z and the number of frequent words.
    layers : iterable of int, optional
        Layers to look at; all by default.
    cache : bool or path
        Whether, or in which folder, finished layers are kept on disk, under the hash of weights,
        words and settings; interrupted work goes on where it stopped.
    device : str or device, optional
        Where activations are computed; the CPU by default.
    report : callable, optional
        Told the layers done; may raise `Interrupted`.

    Raises
    ------
    VocabularyError
        If fewer words than K have a vector, or the vectors cannot be read.
    ModelLoadError, UnsupportedArchitectureError, HeadIndexError
        If a layer cannot be read.
    """
    settings, report = settings or Settings(), report or _silent
    weights, prepared = weights_of(source), _prepare(tokenizer, words, settings)
    pairs = _cooccurrence(cooccurrence, prepared, weights, settings, report)
    folder = pair_cache.folder(cache)
    return _model_pairs(weights, prepared, pairs, layers, folder, device, report)


def pair_word_pairs(
    pair: Pair,
    words: Vocabulary | None = None,
    *,
    cooccurrence: VectorSource | None = None,
    settings: Settings | None = None,
    layers: Iterable[int] | None = None,
    cache: bool | str | os.PathLike[str] = True,
    device: str | torch.device | None = None,
    report: Report | None = None,
) -> dict[Side, WordPairs]:
    """Word pairs of both models of a pair, with one filter for both.

    Parameters and errors as in `word_pairs`; by default the co-occurrence vectors are the input
    embeddings of the base model, so that differences come from the heads alone.
    """
    settings, report = settings or Settings(), report or _silent
    prepared = _prepare(pair.tokenizers["base"], words, settings)
    folder = pair_cache.folder(cache)
    layers = None if layers is None else list(layers)
    filter_: Cooccurrence | None = None
    found: dict[Side, WordPairs] = {}
    for turn, side in enumerate(SIDES):

        def both(done: int, total: int, what: str, turn: int = turn) -> None:
            report(done + turn * total, len(SIDES) * total, what)

        with pair_weights(pair, side) as weights:
            filter_ = filter_ or _cooccurrence(cooccurrence, prepared, weights, settings, report)
            found[side] = _model_pairs(weights, prepared, filter_, layers, folder, device, both)
    return found


@contextmanager
def pair_weights(pair: Pair, side: Side) -> Iterator[Weights]:
    """Weights of one side; the pair is locked only if its models take turns in memory."""
    name = getattr(pair.info, side).name
    with pair.model(side) as model:
        weights = Weights(model, name)
        if pair.memory == "sequential":
            yield weights
            return
    yield weights


def _silent(done: int, total: int, what: str) -> None:
    """Report to nobody."""
