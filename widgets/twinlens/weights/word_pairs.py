"""Word pairs of attention heads: what was found, counted and compared between two models.

`twinlens.compute.heads.word_pair_search` finds the pairs; everything here needs only their ids. The
rules are those of the paper's analysis code: a pair has no direction, it counts for a head if it
appears in more than one neuron of it, and it counts once.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, TypeAlias

import numpy as np

from twinlens.contract.wire import Array
from twinlens.errors import HeadIndexError, PairMismatchError, VocabularyError

PairTableRow: TypeAlias = dict[str, Any]


@dataclass(frozen=True)
class LayerPairs:
    """Word pairs of one layer; words are ids into the vocabulary.

    Attributes
    ----------
    energy : float array, shape [heads, head_dim]
        Sum over all words of squared query and key activation, per neuron.
    top_query : int array, shape [heads, head_dim, K]
        Words with the largest absolute activation on the query side, largest first.
    top_key : int array, shape [kv_heads, head_dim, K]
        The same on the key side; query head h reads key head ``h // (heads // kv_heads)``.
    offsets : int array, shape [heads * head_dim + 1]
        Neuron n (counted over heads) holds pairs ``offsets[n] .. offsets[n + 1]``.
    query, key : int array, shape [pairs]
        The two words of a pair, by falling cosine within a neuron.
    cosine : float array, shape [pairs]
        Cosine of their co-occurrence vectors.
    """

    energy: Array = field(repr=False)
    top_query: Array = field(repr=False)
    top_key: Array = field(repr=False)
    offsets: Array = field(repr=False)
    query: Array = field(repr=False)
    key: Array = field(repr=False)
    cosine: Array = field(repr=False)


@dataclass(frozen=True)
class Neuron:
    """One dimension of a head, spelled out in words.

    Attributes
    ----------
    dim : int
    energy : float
    top_query, top_key : tuple of str
    pairs : tuple of (str, str, float)
        Word on the query side, word on the key side, cosine of their co-occurrence vectors.
    """

    dim: int
    energy: float
    top_query: tuple[str, ...]
    top_key: tuple[str, ...]
    pairs: tuple[tuple[str, str, float], ...]


@dataclass(frozen=True)
class WordPairs:
    """Word pairs of the heads of one model.

    Attributes
    ----------
    model : str
        Its name.
    words : tuple of str
        The vocabulary, without the words that have no vector.
    layers : dict of int to LayerPairs
        Layers that were looked at, counted from 0.
    parameters : dict
        Every setting that influences the pairs, plain JSON values; among them ``cooccurrence``,
        where the co-occurrence vectors come from, and ``words_without_vectors``.
    """

    model: str
    words: tuple[str, ...] = field(repr=False)
    layers: dict[int, LayerPairs] = field(repr=False)
    parameters: dict[str, Any] = field(repr=False)

    def neurons(self, layer: int, head: int) -> list[Neuron]:
        """Neurons of a head in words, the one with the most energy first.

        Raises
        ------
        HeadIndexError
            If there is no such layer or head among the pairs.
        """
        pairs = self._layer(layer, head)
        heads, size = pairs.energy.shape
        key_head = head // (heads // len(pairs.top_key))
        neurons = []
        for dim in np.argsort(-pairs.energy[head], kind="stable"):
            start, end = pairs.offsets[head * size + dim : head * size + dim + 2]
            neurons.append(
                Neuron(
                    dim=int(dim),
                    energy=float(pairs.energy[head, dim]),
                    top_query=self._spell(pairs.top_query[head, dim]),
                    top_key=self._spell(pairs.top_key[key_head, dim]),
                    pairs=tuple(
                        zip(
                            self._spell(pairs.query[start:end]),
                            self._spell(pairs.key[start:end]),
                            pairs.cosine[start:end].tolist(),
                            strict=True,
                        )
                    ),
                )
            )
        return neurons

    @cached_property
    def counted(self) -> dict[int, list[tuple[Array, Array]]]:
        """Per layer and head, the pairs that count.

        Two int arrays: the pairs, as ``smaller id * number of words + larger id`` in rising
        order, and the number of neurons each appears in.
        """
        return {layer: self._counted(pairs) for layer, pairs in self.layers.items()}

    def counts(self, words: Sequence[str]) -> Array:
        """Number of pairs that count and contain a word, int32, shape [layers, heads, words].

        Words outside the vocabulary count 0 everywhere; case does not matter.
        """
        ids = [self.word_id(word) for word in words]
        counts = np.zeros((len(self.layers), self.heads, len(ids)), np.int32)
        columns = [column for column, word in enumerate(ids) if word is not None]
        rows = [word for word in ids if word is not None]
        for row, layer in enumerate(self.counted.values()):
            for head, (pairs, _) in enumerate(layer):
                members = np.concatenate(np.divmod(pairs, len(self.words)))
                counts[row, head, columns] = np.bincount(members, minlength=len(self.words))[rows]
        return counts

    @property
    def heads(self) -> int:
        """Number of query heads per layer."""
        return len(next(iter(self.layers.values())).energy)

    def word_id(self, word: str) -> int | None:
        """Place of a word in the vocabulary, in any case; None if it is not there."""
        return self._ids.get(word.lower())

    @cached_property
    def _ids(self) -> dict[str, int]:
        return {word.lower(): index for index, word in enumerate(self.words)}

    def _layer(self, layer: int, head: int) -> LayerPairs:
        if layer not in self.layers or not 0 <= head < self.heads:
            raise HeadIndexError(
                f"there are no word pairs of layer {layer}, head {head}: {self.model!r} has heads "
                f"0 to {self.heads - 1} in layers {min(self.layers)} to {max(self.layers)}"
            )
        return self.layers[layer]

    def _counted(self, layer: LayerPairs) -> list[tuple[Array, Array]]:
        heads, size = layer.energy.shape
        neurons, words = heads * size, len(self.words)
        query, key = layer.query.astype(np.int64), layer.key.astype(np.int64)
        pair = np.minimum(query, key) * words + np.maximum(query, key)
        # a-b and b-a in one neuron are one pair in one neuron.
        once = np.unique(pair * neurons + np.repeat(np.arange(neurons), np.diff(layer.offsets)))
        of_head = once % neurons // size * words**2 + once // neurons
        pairs, number = np.unique(of_head, return_counts=True)
        pairs, number = pairs[number > 1], number[number > 1]
        ends = np.searchsorted(pairs, np.arange(heads + 1) * words**2)
        return [
            (pairs[start:end] % words**2, number[start:end])
            for start, end in itertools.pairwise(ends)
        ]

    def _spell(self, ids: Array) -> tuple[str, ...]:
        return tuple(self.words[word] for word in ids.tolist())


def pair_changes(base: WordPairs, tuned: WordPairs, layer: int, head: int) -> list[PairTableRow]:
    """Pairs that count for one head of either model.

    Returns
    -------
    list of dict
        ``word``, ``partner``, ``base`` and ``tuned`` (number of neurons the pair appears in, 0
        where it does not count), ``change`` (``"gained"``, ``"kept"`` or ``"lost"``); the pairs in
        most neurons first.

    Raises
    ------
    HeadIndexError
        If there is no such layer or head.
    PairMismatchError
        If the models' pairs were found with different words or settings.
    """
    check_comparable(base, tuned)
    base._layer(layer, head)
    sides = [
        dict(zip(*map(np.ndarray.tolist, model.counted[layer][head]), strict=True))
        for model in (base, tuned)
    ]
    rows = []
    for pair in sorted(set(sides[0]) | set(sides[1])):
        word, partner = divmod(pair, len(base.words))
        before, after = sides[0].get(pair, 0), sides[1].get(pair, 0)
        rows.append(
            {
                "word": base.words[word],
                "partner": base.words[partner],
                "base": before,
                "tuned": after,
                "change": "kept" if before and after else "gained" if after else "lost",
            }
        )
    return sorted(rows, key=lambda row: -max(row["base"], row["tuned"]))


def overlap(base: WordPairs, tuned: WordPairs) -> Array:
    """Share of the pairs of either model that both have, shape [layers, heads]; NaN without pairs.

    Raises
    ------
    PairMismatchError
        If the models' pairs were found with different words or settings.
    """
    check_comparable(base, tuned)
    shares = np.full((len(base.layers), base.heads), np.nan)
    for row, layer in enumerate(base.layers):
        for head in range(base.heads):
            pairs_base, pairs_tuned = base.counted[layer][head][0], tuned.counted[layer][head][0]
            common = len(np.intersect1d(pairs_base, pairs_tuned, assume_unique=True))
            if union := len(pairs_base) + len(pairs_tuned) - common:
                shares[row, head] = common / union
    return shares


def word_changes(base: WordPairs, tuned: WordPairs, word: str) -> list[PairTableRow]:
    """Heads whose number of pairs with a word differs between the models.

    Returns
    -------
    list of dict
        ``layer``, ``head``, ``base`` and ``tuned`` (pairs with the word), ``gained`` and ``lost``
        (its partners, in words); the largest change first.

    Raises
    ------
    VocabularyError
        If the word is not in the vocabulary.
    PairMismatchError
        If the models' pairs were found with different words or settings.
    """
    check_comparable(base, tuned)
    if base.word_id(word) is None:
        raise VocabularyError(
            f"{word!r} is not among the {len(base.words):,} words of this analysis"
        )
    before, after = (model.counts([word])[..., 0] for model in (base, tuned))
    layers = list(base.layers)
    rows = []
    for layer_index, head in np.argwhere(before != after).tolist():
        partners = [_partners(model, layers[layer_index], head, word) for model in (base, tuned)]
        rows.append(
            {
                "layer": layers[layer_index],
                "head": head,
                "base": int(before[layer_index, head]),
                "tuned": int(after[layer_index, head]),
                "gained": sorted(partners[1] - partners[0]),
                "lost": sorted(partners[0] - partners[1]),
            }
        )
    return sorted(rows, key=lambda row: -abs(row["tuned"] - row["base"]))


def _partners(model: WordPairs, layer: int, head: int, word: str) -> set[str]:
    word_id = model.word_id(word)
    pairs = np.stack(np.divmod(model.counted[layer][head][0], len(model.words)), axis=1)
    pairs = pairs[(pairs == word_id).any(axis=1)]
    return {model.words[partner] for partner in pairs[pairs != word_id].tolist()}


def check_comparable(base: WordPairs, tuned: WordPairs) -> None:
    """Make sure that two models' pairs were found in the same way."""
    if (
        base.words != tuned.words
        or list(base.layers) != list(tuned.layers)
        or base.heads != tuned.heads
        or base.parameters != tuned.parameters
    ):
        raise PairMismatchError(
            f"the word pairs of {base.model!r} and {tuned.model!r} cannot be compared because "
            "they were found with different words, layers or settings: compute both at once"
        )
