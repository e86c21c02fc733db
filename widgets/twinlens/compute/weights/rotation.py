"""How far tuning turned the feed-forward layers, from weights alone.

The paper says that tuning rotates the concepts of feed-forward layers and leaves it at that; here
it is measured between the spaces that the leading principal components of both models span, and
held against random rotations.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

import numpy as np
import scipy.linalg
import torch
from torch import Tensor, nn

from twinlens.blocks import Array
from twinlens.changes.rotation import Added, LayerRotation, Rotation
from twinlens.compute import architectures
from twinlens.compute.concepts import Vocabulary, principal_components
from twinlens.compute.weights.pair_heads import pair_weights
from twinlens.compute.weights.reading import Source, Weights, weights_of
from twinlens.errors import (
    HeadIndexError,
    NotFiniteError,
    PairMismatchError,
    UnsupportedArchitectureError,
)
from twinlens.trace import Report

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

    from twinlens.compute.pair import Pair

#: The paper looks at the first 300 components.
COMPONENTS = 300


def value_vectors(weights: Weights, layer: int) -> Tensor:
    """What each feed-forward neuron of a layer writes, as stored, shape [intermediate, hidden].

    Raises
    ------
    HeadIndexError
        If there is no such layer.
    UnsupportedArchitectureError
        If the weights are quantised, or not where the architecture table says.
    ModelLoadError
        If the files do not hold them.
    """
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
    if not cast(nn.Parameter, module.weight).is_floating_point():
        raise UnsupportedArchitectureError(
            f"the feed-forward weights of {weights.name!r} are quantised: load the model in a "
            "floating-point type to look at its weights"
        )
    with weights._filled([module]):
        return architectures.value_vectors(weights._model, layer)


def principal_angles(base: Array, tuned: Array) -> Array:
    """Principal angles between the leading subspaces of two bases, for every number of directions.

    Parameters
    ----------
    base, tuned : array, shape [K, hidden]
        Orthonormal rows, the leading one first.

    Returns
    -------
    float32 array, shape [K, K], degrees
        Row k - 1 holds the k angles between the spans of the first k rows, the smallest first,
        then NaN. They come from cosines, so that angles below 1e-5 degrees are not resolved.
    """
    cosines = np.asarray(base, np.float64) @ np.asarray(tuned, np.float64).T
    found = np.full(cosines.shape, np.nan, np.float32)
    for k in range(1, len(cosines) + 1):
        of_subspaces = np.linalg.svd(cosines[:k, :k], compute_uv=False)
        found[k - 1, :k] = np.degrees(np.arccos(np.minimum(of_subspaces, 1)))
    return found


def random_frames(draws: int, count: int, hidden: int, seed: int = 0) -> Array:
    """Leading directions after random rotations, uniform over all of them.

    A random rotation takes any orthonormal directions to random orthonormal ones, whatever they
    were, so that these alone are drawn.

    Returns
    -------
    float64 array, shape [draws, count, hidden]
        Orthonormal rows.
    """
    rng = np.random.default_rng(seed)
    return np.stack([np.linalg.qr(rng.standard_normal((hidden, count)))[0].T for _ in range(draws)])


def layer_rotation(
    base: Array,
    tuned: Array,
    frames: Array,
    *,
    layer: int = 0,
    added: int = 10,
    read: Callable[[Array], list[tuple[tuple[str, float], ...]]] | None = None,
) -> LayerRotation:
    """Compare the value vectors of one layer.

    Parameters
    ----------
    base, tuned : array, shape [intermediate, hidden]
    frames : array, shape [draws, K, hidden]
        From `random_frames`; K is the number of components to compare.
    layer : int
        Its number in the result.
    added : int
        Leading directions of the difference to return; it is not centred, since what is added to
        all value vectors alike is added too.
    read : callable, optional
        Gives the words of directions [n, hidden]; without it they have none.
    """
    count = frames.shape[1]
    first, second = np.asarray(base, np.float64), np.asarray(tuned, np.float64)
    mine, theirs = (principal_components(values, count).directions for values in (first, second))
    centred = first - first.mean(axis=0)
    covariance = centred.T @ centred

    def share(directions: Array) -> Array:
        along = np.vecdot(directions @ covariance, directions)
        return np.asarray(np.cumsum(along) / np.trace(covariance))

    norm, other, apart = (np.linalg.norm(values) for values in (first, second, second - first))
    return LayerRotation(
        layer=layer,
        angles=principal_angles(mine, theirs),
        inside=share(theirs),
        own=share(mine),
        null_inside=np.stack([share(frame) for frame in frames]),
        difference=float(apart / norm),
        # The cross term of |X Q - X|^2 is 0 on average over all rotations Q.
        null_difference=float(np.sqrt(norm**2 + other**2) / norm),
        added=_added(second - first, added, read) if apart > 0 else (),
    )


def _added(
    difference: Array,
    count: int,
    read: Callable[[Array], list[tuple[tuple[str, float], ...]]] | None,
) -> tuple[Added, ...]:
    gram = difference.T @ difference
    hidden = len(gram)
    count = min(count, *difference.shape)
    if not count:
        return ()
    squares, vectors = scipy.linalg.eigh(gram, subset_by_index=[hidden - count, hidden - 1])
    squares, directions = np.maximum(squares[::-1], 0), vectors.T[::-1]
    words = read(directions) if read else [()] * count
    return tuple(
        Added(float(square / np.trace(gram)), said)
        for square, said in zip(squares, words, strict=True)
    )


@dataclass(frozen=True)
class Settings:
    """Settings of the comparison.

    Attributes
    ----------
    components : int or None
        K; None for 300 as in the paper, or the rank where that is smaller.
    added : int
        Leading directions of the weight difference.
    words : int
        Words per direction, at most 40.
    draws : int
        Random rotations of the null.
    seed : int
        Of the random rotations.
    """

    components: int | None = None
    added: int = 10
    words: int = 15
    draws: int = 10
    seed: int = 0

    def __post_init__(self) -> None:
        if self.draws < 1 or self.words < 1 or self.added < 0:
            raise ValueError("rotation needs at least one draw, one word and no negative number")


def rotation(
    base: Source,
    tuned: Source,
    tokenizer: PreTrainedTokenizerFast | None = None,
    *,
    settings: Settings | None = None,
    layers: Iterable[int] | None = None,
    report: Report | None = None,
) -> Rotation:
    """How far the feed-forward components of two models are turned, layer by layer.

    Parameters
    ----------
    base, tuned : loaded model, folder, safetensors file or Weights
        Folders and files are read layer by layer; nothing is loaded.
    tokenizer : tokenizer of tuned, optional
        Reads the directions of the weight difference as words, by tuned's output embeddings;
        without it they have none.
    settings : Settings, optional
    layers : iterable of int, optional
        Layers to look at; all by default.
    report : callable, optional
        Told the layers done; may raise `Interrupted`.

    Raises
    ------
    PairMismatchError
        If the feed-forward layers of the two models differ in number or shape.
    HeadIndexError
        If there is no such layer, or K is larger than the rank.
    NotFiniteError
        If a weight is NaN or infinite.
    ModelLoadError, UnsupportedArchitectureError
        If a layer cannot be read.
    """
    first = weights_of(base)
    return _compare(
        first,
        lambda layer: value_vectors(first, layer),
        weights_of(tuned),
        tokenizer,
        settings or Settings(),
        layers,
        report or _silent,
    )


def pair_rotation(
    pair: Pair,
    *,
    settings: Settings | None = None,
    layers: Iterable[int] | None = None,
    report: Report | None = None,
) -> Rotation:
    """How far the feed-forward components of a pair are turned; parameters as in `rotation`.

    With ``memory="sequential"`` base's value vectors stay in memory, in the dtype of the model,
    while tuned is read.
    """
    wanted = None if layers is None else sorted(set(layers))
    with pair_weights(pair, "base") as base:
        every = range(base.sizes.layers) if wanted is None else wanted
        kept = {layer: value_vectors(base, layer) for layer in every}
    with pair_weights(pair, "tuned") as tuned:
        return _compare(
            base,
            kept.__getitem__,
            tuned,
            pair.tokenizers["tuned"],
            settings or Settings(),
            every,
            report or _silent,
        )


def _compare(
    base: Weights,
    values: Callable[[int], Tensor],
    tuned: Weights,
    tokenizer: PreTrainedTokenizerFast | None,
    settings: Settings,
    layers: Iterable[int] | None,
    report: Report,
) -> Rotation:
    _check_shapes(base, tuned)
    hidden = base.sizes.hidden
    rank = min(base.sizes.intermediate - 1, hidden)
    count = min(COMPONENTS, rank) if settings.components is None else settings.components
    if not 1 <= count <= rank:
        raise HeadIndexError(
            f"{count} components cannot be compared: the value vectors of {base.name!r} have "
            f"rank {rank}, so that K is between 1 and {rank}"
        )
    wanted = range(base.sizes.layers) if layers is None else sorted(set(layers))
    frames = random_frames(settings.draws, count, hidden, settings.seed)
    null = []
    for frame in frames:
        report(0, len(wanted), "random rotations")
        null.append(principal_angles(np.eye(count, hidden), frame))
    read = _reader(tuned.output_embeddings(), tokenizer, settings.words) if tokenizer else None
    found = []
    for done, layer in enumerate(wanted):
        report(done, len(wanted), f"rotation of layer {layer}")
        found.append(
            layer_rotation(
                _finite(values(layer), base.name, layer),
                _finite(value_vectors(tuned, layer), tuned.name, layer),
                frames,
                layer=layer,
                added=settings.added,
                read=read,
            )
        )
    report(len(wanted), len(wanted), "rotation")
    parameters = {**dataclasses.asdict(settings), "components": count, "rank": rank}
    return Rotation(base.name, tuned.name, tuple(found), np.stack(null), parameters)


def _finite(values: Tensor, name: str, layer: int) -> Array:
    found = values.double().cpu().numpy()
    if not np.isfinite(found).all():
        raise NotFiniteError(
            f"the feed-forward weights of layer {layer} of {name!r} hold NaN or infinity"
        )
    return found


def _check_shapes(base: Weights, tuned: Weights) -> None:
    for what in ("layers", "hidden", "intermediate"):
        here, there = getattr(base.sizes, what), getattr(tuned.sizes, what)
        if here != there:
            raise PairMismatchError(
                f"the feed-forward layers cannot be compared: {base.name!r} has {here} for "
                f"{what!r}, {tuned.name!r} has {there}"
            )


def _reader(
    unembedding: Tensor, tokenizer: PreTrainedTokenizerFast, words: int
) -> Callable[[Array], list[tuple[tuple[str, float], ...]]]:
    vocabulary = Vocabulary(tokenizer)

    def read(directions: Array) -> list[tuple[tuple[str, float], ...]]:
        found = vocabulary.nearest(unembedding, torch.from_numpy(directions.copy()))
        return [tuple((word, cosine) for word, cosine in row[:words]) for row in found]

    return read


def _silent(done: int, total: int, what: str) -> None:
    """Report to nobody."""
