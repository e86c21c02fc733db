"""Principal components of feed-forward layers and their words, from weights alone (paper, 3.3).

The value vectors of a layer (rows of its last linear map) are centred; the eigenvectors of their
covariance are the components, and the words whose output embeddings point along one describe it.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import scipy.linalg
import torch
from torch import Tensor

from twinlens.compute.models import architectures
from twinlens.compute.models.architectures import Sizes
from twinlens.compute.models.weights import Weights, key_of, layer_folder, load_layer, save_layer
from twinlens.compute.text.arguments import whole_number
from twinlens.compute.words.word_rows import Ends, WordRows
from twinlens.contract.wire import Array
from twinlens.errors import (
    ArgumentError,
    HeadIndexError,
    NotFiniteError,
    UnsupportedArchitectureError,
)
from twinlens.support.calls import methods_called_rightly
from twinlens.support.progress import Report, told
from twinlens.weights.vocabulary import Vocabulary, vocabulary

#: Components shown by default; the paper looks at the first 300.
COMPONENTS = 50
WORDS = 40

# Value vectors that are made precise at once.
_BLOCK = 2048
_KIND = "components_2"


@methods_called_rightly
@dataclass(frozen=True)
class ConceptSettings:
    """How feed-forward layers are described.

    Attributes
    ----------
    components : int or None
        Leading components per layer; None for 50, or the rank where that is smaller. The paper
        looks at 300.
    words : int
        Words per component, and per end of it; the paper stores 50 and names by 15.
    vocabulary : Vocabulary or "words" or "tokens"
        A vocabulary, each word of which is the mean of its tokens' output embeddings (the paper's
        way); "words" for the 20,000 most frequent English words of `wordfreq`; "tokens" for the
        tokens that are whole words.
    cache : bool or path
        Whether, or in which folder, finished layers are kept on disk, under the hash of weights,
        words and settings; interrupted work goes on where it stopped.

    Examples
    --------
    >>> import twinlens as tl
    >>> pair = tl.demo_pair(concepts=tl.ConceptSettings(components=8, words=10))
    """

    components: int | None = None
    words: int = WORDS
    vocabulary: Vocabulary | Literal["words", "tokens"] = "tokens"
    cache: bool | str | os.PathLike[str] = True

    def __post_init__(self) -> None:
        for name, number in (("components", self.components), ("words", self.words)):
            left_out = name == "components" and number is None
            if not left_out and (whole_number(number) or 0) < 1:
                raise ArgumentError(f"{name} is a whole number, at least 1, not {number!r}")
        named = isinstance(self.vocabulary, str) and self.vocabulary in ("words", "tokens")
        if not (named or isinstance(self.vocabulary, Vocabulary)):
            raise ArgumentError(
                'vocabulary is "words", "tokens" or a twinlens.weights.vocabulary.vocabulary(...), '
                f"not {self.vocabulary!r}"
            )

        if not isinstance(self.cache, bool | str | os.PathLike):
            raise ArgumentError(f"cache is True, False or a folder, not {self.cache!r}")

    def count(self, sizes: Sizes) -> int:
        """K, components per layer of a model of that shape.

        Parameters
        ----------
        sizes : Sizes
            Of the model: width of its residual stream and of its feed-forward layers.

        Raises
        ------
        HeadIndexError
            If more are asked for than the rank of the value vectors.
        """
        rank = sizes.rank
        if self.components is None:
            return min(COMPONENTS, rank)
        if self.components > rank:
            raise HeadIndexError(
                f"there are no {self.components} components: the value vectors have rank {rank}, "
                f"so ask for at most {rank}"
            )
        return self.components

    def chosen(self) -> Vocabulary | None:
        """The vocabulary; None for tokens.

        Raises
        ------
        VocabularyError
            If `wordfreq` is needed and missing.
        """
        if isinstance(self.vocabulary, Vocabulary):
            return self.vocabulary
        return vocabulary() if self.vocabulary == "words" else None


@dataclass(frozen=True)
class Basis:
    """Principal components of one layer's value vectors, strongest first.

    Attributes
    ----------
    directions : float64 array [K, hidden]
        Of length 1. Their signs are free: from weights alone the entry with the largest magnitude
        is positive, with words at hand the end that holds the strongest word is.
    explained : float64 array [K]
        Share of the variance.
    """

    directions: Array
    explained: Array


@dataclass(frozen=True)
class LayerComponents:
    """Components of one layer, and the words at both ends of each."""

    basis: Basis
    ends: Ends


def principal_components(values: Array | Tensor, count: int = COMPONENTS) -> Basis:
    """Principal components of value vectors (Wu et al. 2024, section 3.3).

    Parameters
    ----------
    values : array or tensor [intermediate, hidden]
        Value vectors as rows, in any floating-point type; they are centred here.
    count : int
        Most components to return; never more than the rank allows.
    """
    rows, columns = values.shape
    count = min(count, rows - 1, columns)
    if rows >= columns:
        covariance = _covariance(values)
        total = float(np.trace(covariance))
        variances, vectors = _leading(covariance, count)
        variances, directions = np.maximum(variances[::-1], 0), vectors.T[::-1]
    else:
        exact = _precise(values)
        _, singular, vectors = scipy.linalg.svd(exact - exact.mean(axis=0), full_matrices=False)
        variances, directions = singular[:count] ** 2, vectors[:count]
        total = float((singular**2).sum())
    largest = np.abs(directions).argmax(axis=1)
    signs = np.where(directions[np.arange(count), largest] < 0, -1.0, 1.0)
    return Basis(directions * signs[:, None], variances / (total or 1.0))


def _leading(covariance: Array, count: int) -> tuple[Array, Array]:
    """The largest eigenvalues, rising, and their vectors as columns; overwrites the matrix."""
    options: dict[str, Any] = {"overwrite_a": True, "check_finite": False}
    size = len(covariance)
    if 4 * count < size:
        chosen = [size - count, size - 1]
        variances, vectors = scipy.linalg.eigh(covariance, subset_by_index=chosen, **options)
        return variances, vectors
    # Where many are wanted all of them come faster, by blocks: half the time for 300 of 576.
    variances, vectors = scipy.linalg.eigh(covariance, driver="evd", **options)
    return variances[-count:], vectors[:, -count:]


def _covariance(values: Array | Tensor) -> Array:
    """Times the number of rows; block by block, so that no second copy of the layer is made."""
    rows, columns = values.shape
    blocks = [slice(start, start + _BLOCK) for start in range(0, rows, _BLOCK)]
    mean = np.zeros(columns)
    for block in blocks:
        mean += _precise(values[block]).sum(axis=0) / rows
    covariance = np.zeros((columns, columns), order="F")
    for block in blocks:
        centred = _precise(values[block]) - mean
        covariance += centred.T @ centred
    return covariance


def _precise(values: Array | Tensor) -> Array:
    if isinstance(values, Tensor):
        return np.asarray(values.double().cpu().numpy())
    return np.asarray(values, dtype=np.float64)


def value_vectors(weights: Weights, layer: int) -> Tensor:
    """What each feed-forward neuron of a layer writes, as stored, shape [intermediate, hidden].

    Raises
    ------
    HeadIndexError
        If there is no such layer.
    UnsupportedArchitectureError
        If the weights are quantised, not where the architecture table says, or of experts.
    ModelLoadError
        If the files do not hold them.
    """
    architectures.check_neurons(weights._model.config)
    if not 0 <= layer < weights.sizes.layers:
        raise HeadIndexError(
            f"there is no layer {layer}: {weights.name!r} has {weights.sizes.layers} layers, "
            "counted from 0"
        )
    try:
        module = architectures.feed_forward_out(weights._model, layer)
    except AttributeError as error:
        raise UnsupportedArchitectureError(
            f"layer {layer} of {weights.name!r} lacks the feed-forward weight that the table "
            f"names ({error})"
        ) from error
    with weights._filled([module]):
        return architectures.value_vectors(weights._model, layer)


def check_finite(values: Tensor, name: str, layer: int) -> Tensor:
    """The value vectors of a layer, if all are finite.

    Raises
    ------
    NotFiniteError
        If a weight is NaN or infinite.
    """
    if not bool(torch.isfinite(torch.stack(torch.aminmax(values))).all()):
        raise NotFiniteError(
            f"the feed-forward weights of layer {layer} of {name!r} hold NaN or infinity"
        )
    return values


def layer_components(
    weights: Weights,
    words: WordRows,
    settings: ConceptSettings,
    layers: Iterable[int] | None = None,
    report: Report | None = None,
) -> dict[int, LayerComponents]:
    """Components of the feed-forward layers of one model, layer by layer, without running it.

    Parameters
    ----------
    words : WordRows
        Words of the model; those of `Ends` are counted there.
    layers : iterable of int, optional
        All by default.
    report : callable, optional
        Told the layers done; may raise `Interrupted`.

    Raises
    ------
    HeadIndexError
        If there is no such layer, or K is larger than the rank.
    NotFiniteError
        If a weight is NaN or infinite.
    ModelLoadError, UnsupportedArchitectureError
        If a layer cannot be read.
    """
    count = settings.count(weights.sizes)
    layers = range(weights.sizes.layers) if layers is None else sorted(set(layers))
    folder = layer_folder(settings.cache, _KIND)
    components: dict[int, LayerComponents] = {}
    for layer in told(layers, lambda layer: f"components of {weights.name}, layer {layer}", report):
        values = value_vectors(weights, layer)
        key = key_of(count, settings.words, words.digest, values) if folder else ""
        stored = load_layer(folder, key)
        if stored is None:
            basis = principal_components(check_finite(values, weights.name, layer), count)
            ends = words.ends(torch.from_numpy(basis.directions), settings.words)
            basis, ends = _strongest_first(basis, ends)
            components[layer] = LayerComponents(basis, ends)
            save_layer(folder, key, {**vars(basis), **vars(ends)})
        else:
            components[layer] = LayerComponents(
                Basis(stored["directions"], stored["explained"]),
                Ends(stored["words"], stored["cosines"]),
            )
        del values
        weights.let_go()
    if report:
        report(len(layers), len(layers), f"components of {weights.name}")
    return components


def _strongest_first(basis: Basis, ends: Ends) -> tuple[Basis, Ends]:
    """Turn components about so that the end that holds the strongest word is the positive one.

    A reader would else have to read a minus sign in front of most words of half the components.
    """
    strongest = np.abs(ends.cosines).max(axis=2)
    signs = np.where(strongest[1] > strongest[0], -1, 1)
    order = np.where(signs < 0, [[1], [0]], [[0], [1]])[:, :, None]
    words, cosines = (
        np.take_along_axis(array, order, axis=0) for array in (ends.words, ends.cosines)
    )
    cosines = cosines * signs[:, None].astype(cosines.dtype)
    return Basis(basis.directions * signs[:, None], basis.explained), Ends(words, cosines)
