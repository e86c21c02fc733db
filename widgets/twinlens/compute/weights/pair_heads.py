"""What the weights alone say about the attention heads of a pair, kept for every prompt."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from threading import RLock
from typing import TYPE_CHECKING

import numpy as np
import torch

from twinlens.blocks import Array
from twinlens.changes.head_words import HeadWords
from twinlens.changes.word_pairs import LayerPairs, WordPairs
from twinlens.compute.weights import cache as pair_cache
from twinlens.compute.weights.circuits import CircuitChange, circuit_change
from twinlens.compute.weights.reading import HeldWeights, Weights
from twinlens.compute.weights.word_pairs import (
    Search,
    VectorSource,
    Words,
    filter_words,
    parameters_of,
    prepare,
    silent,
)
from twinlens.compute.weights.word_vectors import Cooccurrence, Settings, token_words
from twinlens.schema import SIDES, Side
from twinlens.trace import Report
from twinlens.vocabulary import Vocabulary

if TYPE_CHECKING:
    from twinlens.compute.pair import Pair

#: Tokenizers with fewer tokens spell most words in letters: their own words are used instead.
_FEW_TOKENS = 8000
#: K is by default at most this share of the words.
_SHARE = 0.05


class PairHeads:
    """Circuits and word pairs of both models of a pair."""

    def __init__(self, pair: Pair) -> None:
        self._pair = pair
        self._lock = RLock()
        self._circuits: CircuitChange | None = None
        self._search: PairSearch | None = None

    def circuits(self, report: Report | None = None) -> CircuitChange:
        """How far the circuits of every head moved, see `circuit_change`."""
        with self._lock:
            if self._circuits is None:
                # Models that take turns in memory leave a copy of their attention weights.
                held = []
                for side in SIDES:
                    with pair_weights(self._pair, side) as weights:
                        alone = self._pair.memory == "sequential"
                        held.append(HeldWeights(weights) if alone else weights)
                self._circuits = circuit_change(*held, report=report)
            return self._circuits

    @property
    def search(self) -> PairSearch:
        """The search for word pairs that blocks show; by default with default settings."""
        with self._lock:
            if self._search is None:
                self._search = PairSearch(self._pair)
            return self._search

    @search.setter
    def search(self, search: PairSearch) -> None:
        with self._lock:
            self._search = search


class PairSearch:
    """Finds word pairs of both models of a pair, layer by layer, with one filter for both.

    Parameters as in `Pair.word_pairs`. Finished layers are kept; safe to use from several threads.
    """

    def __init__(
        self,
        pair: Pair,
        words: Vocabulary | None = None,
        *,
        cooccurrence: VectorSource | None = None,
        settings: Settings | None = None,
        cache: bool | str | os.PathLike[str] = True,
        device: str | torch.device | None = None,
    ) -> None:
        self._pair, self._vocabulary = pair, words
        self._source, self._settings = cooccurrence, settings
        self._folder, self._device = pair_cache.folder(cache), device
        self._lock = RLock()
        self._words: Words | None = None
        self._filter: Cooccurrence | None = None
        self._searches: dict[Side, Search] = {}
        self._found: dict[Side, dict[int, LayerPairs]] = {side: {} for side in SIDES}
        self._ready: dict[tuple[int, ...], HeadWords] = {}

    @property
    def complete(self) -> bool:
        """Whether all layers of both models are there."""
        layers = self._pair.sizes.layers
        return all(len(found) == layers for found in self._found.values())

    def find(self, layers: Iterable[int] | None = None, report: Report | None = None) -> HeadWords:
        """Word pairs of some layers, by default of all.

        Raises
        ------
        VocabularyError
            If there are fewer words than K, or the vectors cannot be read.
        HeadIndexError, ModelLoadError, UnsupportedArchitectureError
            If a layer cannot be read.
        Interrupted
            If `report` asked to stop; finished layers are kept.
        """
        every = range(self._pair.sizes.layers)
        wanted = tuple(every if layers is None else sorted(set(layers)))
        with self._lock:
            if wanted not in self._ready:
                self._complete(wanted, report or silent)
                self._ready[wanted] = HeadWords(*(self._pairs(side, wanted) for side in SIDES))
            return self._ready[wanted]

    def _complete(self, wanted: tuple[int, ...], report: Report) -> None:
        missing = {
            side: [layer for layer in wanted if layer not in self._found[side]] for side in SIDES
        }
        done, total = 0, sum(map(len, missing.values()))
        words = self._prepared()
        for side in SIDES:
            if not missing[side] and self._filter is not None:
                continue
            with pair_weights(self._pair, side) as weights:
                if self._filter is None:
                    settings = self._settings or _settings(len(words.words))
                    self._filter = filter_words(self._source, words, weights, settings, report)
                if side not in self._searches:
                    self._searches[side] = Search(
                        weights, words, self._filter, self._folder, self._device
                    )
                for layer in missing[side]:
                    report(done, total, f"word pairs of {weights.name}, layer {layer}")
                    self._found[side][layer] = self._searches[side].layer(weights, layer)
                    done += 1
        report(done, total, "word pairs")

    def _prepared(self) -> Words:
        if self._words is None:
            tokenizer, words = self._pair.tokenizers["base"], self._vocabulary
            if words is None and len(tokenizer) < _FEW_TOKENS:
                words = token_words(tokenizer)
            self._words = prepare(tokenizer, words, self._settings or Settings(top=1))
        return self._words

    def _pairs(self, side: Side, layers: tuple[int, ...]) -> WordPairs:
        assert self._words is not None
        assert self._filter is not None
        return WordPairs(
            getattr(self._pair.info, side).name,
            self._words.words,
            {layer: self._found[side][layer] for layer in layers},
            parameters_of(self._words, self._filter),
        )


def _settings(words: int) -> Settings:
    """The paper's, with a smaller K where there are few words."""
    return Settings(top=max(1, min(Settings().top, int(words * _SHARE))))


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


def circuit_array(change: CircuitChange) -> Array:
    """The block ``heads/circuits``, float32 [layers, heads, 4]."""
    columns = change.qk_difference, change.qk_cosine, change.ov_difference, change.ov_cosine
    return np.stack(columns, axis=-1).astype(np.float32)
