"""What the weights alone say about the attention heads of a pair, kept for every prompt.

How far the circuits moved in weight space: the query-key circuit ``W_QK = W_Q^T W_K`` says what a
head looks for, the value-output circuit ``W_OV = W_O W_V`` what it moves (Elhage et al. 2021). Both
are hidden x hidden but of rank head_dim, and everything here follows from head_dim x head_dim
products: with factors ``A = P^T R``, ``<A, A'> = tr(A^T A') = sum((P P'^T) * (R R'^T))``. Rotary
position (this is the circuit at equal positions), biases, norms of queries, keys and values, and
gates of what heads give are left out.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, nullcontext
from inspect import signature
from threading import RLock
from typing import TypeAlias

import numpy as np
import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from twinlens.compute.heads.word_pair_search import (
    Search,
    VectorSource,
    Words,
    filter_words,
    parameters_of,
    prepare,
)
from twinlens.compute.models.hub import looked_up
from twinlens.compute.models.models import Models
from twinlens.compute.models.placement import read_device
from twinlens.compute.models.running import methods_plainly, plainly
from twinlens.compute.models.sources import load_tokenizer, tokenizer_source
from twinlens.compute.models.weights import (
    HeldWeights,
    LayerWeights,
    Weights,
    layer_folder,
    stored_weights,
)
from twinlens.compute.text.arguments import whole_number
from twinlens.compute.words.vectors import Cooccurrence, CooccurrenceSettings, token_words
from twinlens.contract.wire import Array
from twinlens.contract.words import SIDES, Side
from twinlens.errors import ArgumentError, PairMismatchError
from twinlens.support.files import checked_path
from twinlens.support.progress import Report, silent, told
from twinlens.weights.head_words import HeadWords
from twinlens.weights.vocabulary import Vocabulary, vocabulary
from twinlens.weights.word_pairs import LayerPairs, WordPairs

#: Words to describe heads with: a vocabulary, a file of words, or the words.
WordSource: TypeAlias = Vocabulary | str | os.PathLike[str] | Iterable[str]
#: Gives the weights of one side while they are needed.
OpenWeights: TypeAlias = Callable[[Side], AbstractContextManager[Weights]]

#: Tokenizers with fewer tokens spell most words in letters: their own words are used instead.
_FEW_TOKENS = 8000
#: K is by default at most this share of the words.
_SHARE = 0.05


@methods_plainly
class PairSearch:
    """Finds word pairs of two models, layer by layer, with one filter for both.

    Finished layers are kept; safe to use from several threads.

    Parameters
    ----------
    weights : callable
        Opens the weights of a side.
    tokenizer : tokenizer of both models
    words : Vocabulary, path or iterable of str, optional
        By default the 20,000 most frequent English words of `wordfreq`, or the words of the
        tokenizer where it has few tokens.
    cooccurrence : path or callable, optional
        Vectors that say which words may occur together: a GloVe or word2vec text file, or a
        function from words to an array. By default the base model's input embeddings, for both
        models, so that differences come from the heads alone.
    top : int, optional
        K, the words a neuron is described with on either side: by default the paper's 100, but
        at most a twentieth of the words.
    z : float
        Standard deviations above its mean that a word's cosine has to exceed.
    frequent : int
        Most frequent words that mean and deviation are taken over.
    cache : bool or path
        Whether, or in which folder, finished layers are kept on disk, under the hash of weights,
        words and settings.
    device : str or device, optional
        Where activations are computed; the CPU by default.
    """

    def __init__(
        self,
        weights: OpenWeights,
        tokenizer: PreTrainedTokenizerBase,
        words: WordSource | None = None,
        *,
        cooccurrence: VectorSource | None = None,
        top: int | None = None,
        z: float = CooccurrenceSettings.z,
        frequent: int = CooccurrenceSettings.frequent,
        cache: bool | str | os.PathLike[str] = True,
        device: str | torch.device | None = None,
    ) -> None:
        counts = {"top": top, "frequent": frequent}
        for name, value in counts.items():
            counts[name] = whole_number(value)
            if value is not None and (counts[name] or 0) < 1:
                raise ArgumentError(f"{name} is a number of words, at least 1, not {value!r}")
        if not isinstance(z, int | float) or not math.isfinite(z):
            raise ArgumentError(f"z is a number of standard deviations, not {z!r}")
        if not (cooccurrence is None or callable(cooccurrence)):
            checked_path(cooccurrence, "a file with cooccurrence= vectors")
        self._open, self._tokenizer, self._source = weights, tokenizer, cooccurrence
        self._vocabulary = words
        self._top, self._z, self._frequent = counts["top"], z, counts["frequent"] or 1
        self._folder, self._device = layer_folder(cache), read_device(device)
        self._lock = RLock()
        self._words: Words | None = None
        self._filter: Cooccurrence | None = None
        self._searches: dict[Side, Search] = {}
        self._names: dict[Side, str] = {}
        self._attending: list[int] = []
        self._found: dict[Side, dict[int, LayerPairs]] = {side: {} for side in SIDES}
        self._ready: dict[tuple[int, ...], HeadWords] = {}

    @property
    def complete(self) -> bool:
        """Whether all layers of both models are there."""
        return bool(self._attending) and all(
            len(f) == len(self._attending) for f in self._found.values()
        )

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
        if not (layers is None or isinstance(layers, Iterable)) or isinstance(layers, str):
            raise ArgumentError(f"layers is a list of numbers, not {layers!r}")
        with self._lock:
            self._prepare(report or silent)
            chosen = tuple(self._attending if layers is None else sorted(set(layers)))
            if chosen not in self._ready:
                self._complete(chosen, report or silent)
                self._ready[chosen] = HeadWords(*(self._pairs(side, chosen) for side in SIDES))
            return self._ready[chosen]

    def _prepare(self, report: Report) -> tuple[Words, Cooccurrence]:
        """Vocabulary and filter, both from the base model."""
        if self._words is None or self._filter is None:
            words = self._vocabulary
            if words is None:
                few = len(self._tokenizer) < _FEW_TOKENS
                words = token_words(self._tokenizer) if few else None
            elif not isinstance(words, Vocabulary):
                words = vocabulary(words)
            prepared = prepare(self._tokenizer, words, self._top or 1)
            most = max(1, min(CooccurrenceSettings.top, int(len(prepared.words) * _SHARE)))
            settings = CooccurrenceSettings(self._top or most, self._z, self._frequent)
            with self._open("base") as weights:
                self._filter = filter_words(self._source, prepared, weights, settings, report)
                self._attending = weights.attending
            self._words = prepared
        return self._words, self._filter

    def _complete(self, layers: tuple[int, ...], report: Report) -> None:
        words, filter_ = self._prepare(report)
        missing = {s: [layer for layer in layers if layer not in self._found[s]] for s in SIDES}
        done, total = 0, sum(map(len, missing.values()))
        for side in SIDES:
            if not missing[side]:
                continue
            with self._open(side) as weights:
                self._names[side] = weights.name
                if side not in self._searches:
                    self._searches[side] = Search(
                        weights, words, filter_, self._folder, self._device
                    )
                for layer in missing[side]:
                    report(done, total, f"word pairs of {weights.name}, layer {layer}")
                    self._found[side][layer] = self._searches[side].layer(weights, layer)
                    done += 1
        report(done, total, "word pairs")

    def _pairs(self, side: Side, layers: tuple[int, ...]) -> WordPairs:
        words, filter_ = self._prepare(silent)
        pairs = {layer: self._found[side][layer] for layer in layers}
        return WordPairs(
            self._names.get(side, side), words.words, pairs, parameters_of(words, filter_)
        )


def check_settings(settings: Iterable[str]) -> None:
    """Make sure that `PairSearch` has settings of these names.

    Raises
    ------
    ArgumentError
        If it has not.
    """
    parameters = signature(PairSearch).parameters.values()
    known = [parameter.name for parameter in parameters if parameter.kind == parameter.KEYWORD_ONLY]
    unknown = [name for name in settings if name not in known]
    if unknown:
        raise ArgumentError(
            f"there is no setting {', '.join(unknown)}: known are {', '.join(known)}"
        )


class PairHeads:
    """Circuits and word pairs of both models of a pair.

    Attributes
    ----------
    search : PairSearch
        The search whose results blocks show.
    """

    def __init__(self, pair: Models) -> None:
        self._pair = pair
        self._lock = RLock()
        self._circuits: Array | None = None
        self.search = PairSearch(pair.weights, pair.tokenizers["base"])

    def circuits(self, report: Report | None = None) -> Array:
        """How far the circuits of every head moved, see `circuit_change`."""
        with self._lock:
            if self._circuits is None:
                # Models that take turns in memory leave a copy of their attention weights.
                sides: list[Weights | HeldWeights] = []
                for side in SIDES:
                    with self._pair.weights(side) as weights:
                        alone = self._pair.memory == "sequential"
                        sides.append(HeldWeights(weights) if alone else weights)
                self._circuits = circuit_change(sides[0], sides[1], report)
            return self._circuits


@plainly()
@looked_up()
def stored_search(
    base: str | os.PathLike[str],
    tuned: str | os.PathLike[str],
    words: WordSource | None = None,
    *,
    tokenizer: str | os.PathLike[str] | None = None,
    base_revision: str | None = None,
    tuned_revision: str | None = None,
    **settings: object,
) -> PairSearch:
    """`PairSearch` over two models that are read layer by layer, see `stored_weights`.

    Parameters and errors are those of `twinlens.word_pairs`.
    """
    check_settings(settings)
    sides = {
        "base": stored_weights(base, base_revision),
        "tuned": stored_weights(tuned, tuned_revision),
    }
    first, second = sides["base"].sizes, sides["tuned"].sizes
    if (first.layers, first.heads) != (second.layers, second.heads):
        raise PairMismatchError(
            f"the heads cannot be compared because {sides['base'].name!r} has {first.layers} "
            f"layers of {first.heads} heads and {sides['tuned'].name!r} {second.layers} of "
            f"{second.heads}"
        )
    place = sides["base"].folder or base if tokenizer is None else tokenizer
    read = load_tokenizer(tokenizer_source(place), trust_remote_code=False)
    return PairSearch(lambda side: nullcontext(sides[side]), read, words, **settings)  # type: ignore[arg-type]


def circuit_change(
    base: Weights | HeldWeights, tuned: Weights | HeldWeights, report: Report | None = None
) -> Array:
    """Compare the circuits of every head of two models, layer by layer.

    Query, key and value weights are multiplied by the weight of the norm in front of them, which
    belongs to what a head reads.

    Parameters
    ----------
    base, tuned : Weights or HeldWeights
    report : callable, optional
        Told the layers done.

    Returns
    -------
    float64 array [layers, heads, 4]
        Of the query-key circuit, then of the value-output circuit: Frobenius norm of the difference
        divided by that of the base circuit, where 0 is no change; cosine similarity of the two
        circuits, taken as vectors, where 1 is no change of direction. Not a number where a circuit
        of the base model is zero, and in layers that have no heads.

    Raises
    ------
    PairMismatchError
        If layers, heads or sizes differ.
    ModelLoadError, UnsupportedArchitectureError
        If a layer cannot be read.
    """
    layers = base.sizes.layers
    if layers != tuned.sizes.layers:
        raise PairMismatchError(
            f"the heads cannot be compared because {base.name!r} has {layers} layers and "
            f"{tuned.name!r} has {tuned.sizes.layers}"
        )
    change = np.full((layers, base.sizes.heads, 4), np.nan)
    for layer in told(base.attending, lambda layer: f"weights of the heads, layer {layer}", report):
        read = [weights.layer(layer) for weights in (base, tuned)]
        if read[0].query.shape != read[1].query.shape or read[0].key.shape != read[1].key.shape:
            raise PairMismatchError(
                f"the heads of layer {layer} cannot be compared because their shapes differ: "
                f"{tuple(read[0].query.shape)} and {tuple(read[1].query.shape)}"
            )
        circuits = zip(*map(_circuits, read), strict=True)
        measures = [of for first, second in circuits for of in _compare(*first, *second)]
        change[layer] = np.stack(measures, axis=-1)
    return change


def _circuits(weights: LayerWeights) -> list[tuple[Tensor, Tensor]]:
    """Both circuits as factors P, R of ``P^T R``, each float64 [heads, head_dim, hidden].

    Heads that share keys and values share R, [groups, head_dim, hidden].
    """
    norm = weights.norm.double().cpu()
    query, key, value = (
        part.double().cpu() * norm for part in (weights.query, weights.key, weights.value)
    )
    return [(query, key), (weights.output.double().cpu().transpose(1, 2), value)]


def _compare(left: Tensor, right: Tensor, new_left: Tensor, new_right: Tensor) -> list[Array]:
    """Relative norm of the difference and cosine of ``left^T right`` and ``new_left^T new_right``.

    The difference is written as one product of stacked factors, ``[new_left; new_left - left]^T
    [new_right - right; right]``, so that a small change is not lost between two large norms.
    """
    moved_left, moved_right = new_left - left, new_right - right
    after_left, before_right = new_left @ new_left.mT, right @ right.mT
    before = _inner(left @ left.mT, before_right)
    after = _inner(after_left, new_right @ new_right.mT)
    together = _inner(left @ new_left.mT, right @ new_right.mT)
    moved = (
        _inner(after_left, moved_right @ moved_right.mT)
        + 2 * _inner(new_left @ moved_left.mT, moved_right @ right.mT)
        + _inner(moved_left @ moved_left.mT, before_right)
    )
    difference = (moved.clamp(min=0) / before).sqrt()
    cosine = together / (before * after).sqrt()
    return [difference.numpy(), cosine.clamp(-1, 1).numpy()]


def _inner(of_left: Tensor, of_right: Tensor) -> Tensor:
    """``<A, A'>`` per head, by ``P P'^T`` [heads, d, d] and ``R R'^T`` [groups, d, d]."""
    grouped = of_left.view(len(of_right), -1, *of_left.shape[1:])
    return (grouped * of_right[:, None]).sum(dim=(2, 3)).flatten()
