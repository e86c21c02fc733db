"""How far tuning turned the feed-forward layers, from weights alone.

The paper says that tuning rotates the concepts of feed-forward layers and leaves it at that; here
it is measured between the spaces that the leading principal components of both models span, and
held against random rotations.
"""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial

import numpy as np
import scipy.linalg
import torch
from torch import Tensor
from transformers import PreTrainedTokenizerFast

from twinlens.compute.concepts.components import check_finite, principal_components, value_vectors
from twinlens.compute.models.models import Models
from twinlens.compute.models.weights import (
    Weights,
    key_of,
    layer_folder,
    load_layer,
    save_layer,
)
from twinlens.compute.words.word_rows import WordRows, word_rows
from twinlens.contract.wire import Array
from twinlens.errors import (
    HeadIndexError,
    PairMismatchError,
)
from twinlens.support.progress import Report, silent
from twinlens.weights.rotation_table import Added, LayerRotation, Rotation

#: The paper looks at the first 300 components.
COMPONENTS = 300
_KIND = "rotation_1"


def principal_angles(base: Array, tuned: Array, counts: Iterable[int] | None = None) -> Array:
    """Principal angles between the leading subspaces of two bases, for every number of directions.

    Parameters
    ----------
    base, tuned : array, shape [K, hidden]
        Orthonormal rows, the leading one first.
    counts : iterable of int, optional
        Numbers of directions to look at; 1 .. K by default.

    Returns
    -------
    float32 array, shape [K, K], degrees
        Row k - 1 holds the k angles between the spans of the first k rows, the smallest first,
        then NaN; a row that is not looked at is NaN. They come from cosines, so that angles
        below 1e-5 degrees are not resolved.
    """
    cosines = np.asarray(base, np.float64) @ np.asarray(tuned, np.float64).T
    angles = np.full(cosines.shape, np.nan, np.float32)
    for k in range(1, len(cosines) + 1) if counts is None else counts:
        of_subspaces = np.linalg.svd(cosines[:k, :k], compute_uv=False)
        angles[k - 1, :k] = np.degrees(np.arccos(np.minimum(of_subspaces, 1)))
    return angles


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
    counts: Iterable[int] | None = None,
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
    counts : iterable of int, optional
        Numbers of components whose angles are measured; all by default.
    read : callable, optional
        Gives the words of directions [n, hidden]; without it they have none.
    """
    count = frames.shape[1]
    first, second = np.asarray(base, np.float64), np.asarray(tuned, np.float64)
    base_directions, tuned_directions = (
        principal_components(values, count).directions for values in (first, second)
    )
    centred = first - first.mean(axis=0)
    covariance = centred.T @ centred

    def share(directions: Array) -> Array:
        along = np.vecdot(directions @ covariance, directions)
        return np.asarray(np.cumsum(along) / np.trace(covariance))

    base_norm, tuned_norm, apart = (
        np.linalg.norm(values) for values in (first, second, second - first)
    )
    return LayerRotation(
        layer=layer,
        angles=principal_angles(base_directions, tuned_directions, counts),
        inside=share(tuned_directions),
        own=share(base_directions),
        null_inside=np.stack([share(frame) for frame in frames]),
        difference=float(apart / base_norm),
        # The cross term of |X Q - X|^2 is 0 on average over all rotations Q.
        null_difference=float(np.sqrt(base_norm**2 + tuned_norm**2) / base_norm),
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
        Added(float(square / np.trace(gram)), nearest)
        for square, nearest in zip(squares, words, strict=True)
    )


@dataclass(frozen=True)
class RotationSettings:
    """RotationSettings of the comparison.

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
    counts : tuple of int or None
        Numbers of components whose angles are measured; None for all of 1 .. K.
    seed : int
        Of the random rotations.
    cache : bool or path
        Whether, or in which folder, finished layers are kept on disk, under the hash of weights,
        words and settings.
    """

    components: int | None = None
    added: int = 10
    words: int = 15
    draws: int = 10
    counts: tuple[int, ...] | None = None
    seed: int = 0
    cache: bool | str | os.PathLike[str] = True

    def __post_init__(self) -> None:
        if self.draws < 1 or self.words < 1 or self.added < 0:
            raise ValueError("rotation needs at least one draw, one word and no negative number")


def rotation(
    base: Weights,
    tuned: Weights,
    tokenizer: PreTrainedTokenizerFast | None = None,
    *,
    settings: RotationSettings,
    layers: Iterable[int] | None = None,
    values: Callable[[int], Tensor] | None = None,
    report: Report | None = None,
) -> Rotation:
    """How far the feed-forward components of two models are turned, layer by layer.

    Parameters
    ----------
    base, tuned : Weights
        Those of files are read layer by layer; nothing is loaded.
    tokenizer : tokenizer of tuned, optional
        Reads the directions of the weight difference as words, by tuned's output embeddings;
        without it they have none.
    settings : RotationSettings
    layers : iterable of int, optional
        Layers to look at; all by default.
    values : callable, optional
        Gives the value vectors of a layer of base, where they are at hand.
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
    report, values = report or silent, values or partial(value_vectors, base)
    check_shapes(base, tuned)
    hidden = base.sizes.hidden
    rank = base.sizes.rank
    count = min(COMPONENTS, rank) if settings.components is None else settings.components
    if not 1 <= count <= rank:
        raise HeadIndexError(
            f"{count} components cannot be compared: the value vectors of {base.name!r} have "
            f"rank {rank}, so that K is between 1 and {rank}"
        )
    layers = range(base.sizes.layers) if layers is None else sorted(set(layers))
    frames = random_frames(settings.draws, count, hidden, settings.seed)
    null = []
    for frame in frames:
        report(0, len(layers), "random rotations")
        null.append(principal_angles(np.eye(count, hidden), frame, settings.counts))
    rows = word_rows(tokenizer, tuned.output_embeddings()) if tokenizer else None
    folder = layer_folder(settings.cache, _KIND)
    parameters = {**dataclasses.asdict(settings), "components": count, "rank": rank}
    del parameters["cache"]
    rotations = []
    for done, layer in enumerate(layers):
        report(done, len(layers), f"rotation of layer {layer}")
        vectors = (
            check_finite(values(layer), base.name, layer),
            check_finite(value_vectors(tuned, layer), tuned.name, layer),
        )
        key = key_of(parameters, rows.digest if rows else None, *vectors) if folder else ""
        stored = load_layer(folder, key)
        turned = _restored(layer, stored) if stored else None
        if turned is None:
            first, second = (tensor.double().cpu().numpy() for tensor in vectors)
            turned = layer_rotation(
                first,
                second,
                frames,
                layer=layer,
                added=settings.added,
                counts=settings.counts,
                read=_reader(rows, settings.words) if rows else None,
            )
            save_layer(folder, key, _stored(turned))
        rotations.append(turned)
    report(len(layers), len(layers), "rotation")
    return Rotation(base.name, tuned.name, tuple(rotations), np.stack(null), parameters)


def pair_rotation(
    pair: Models, settings: RotationSettings, report: Report | None = None
) -> Rotation:
    """How far the feed-forward components of a pair are turned; parameters as in `rotation`.

    With ``memory="sequential"`` base's value vectors stay in memory, in the dtype of the model,
    while tuned is read.
    """
    with pair.weights("base") as base:
        vectors = [value_vectors(base, layer) for layer in range(base.sizes.layers)]
    with pair.weights("tuned") as tuned:
        return rotation(
            base,
            tuned,
            pair.tokenizers["tuned"],
            settings=settings,
            values=vectors.__getitem__,
            report=report,
        )


def _stored(layer: LayerRotation) -> dict[str, Array]:
    """As arrays only, so that no file has to be trusted."""
    fields = {name: np.asarray(value) for name, value in vars(layer).items() if name != "added"}
    added = json.dumps([dataclasses.astuple(direction) for direction in layer.added]).encode()
    return {**fields, "added": np.frombuffer(added, np.uint8)}


def _restored(layer: int, stored: dict[str, Array]) -> LayerRotation | None:
    """What `_stored` kept; None if it is something else."""
    try:
        added = tuple(
            Added(share, tuple((word, cosine) for word, cosine in words))
            for share, words in json.loads(stored.pop("added").tobytes())
        )
        scalars = {name: float(stored.pop(name)) for name in ("difference", "null_difference")}
        return LayerRotation(**{**stored, **scalars, "layer": layer, "added": added})  # type: ignore[arg-type]
    except (KeyError, TypeError, ValueError):
        return None


def check_shapes(base: Weights, tuned: Weights) -> None:
    """Make sure that the feed-forward layers of two models can be compared.

    Raises
    ------
    PairMismatchError
        If they differ in number or shape.
    """
    for what in ("layers", "hidden", "intermediate"):
        base_size, tuned_size = getattr(base.sizes, what), getattr(tuned.sizes, what)
        if base_size != tuned_size:
            raise PairMismatchError(
                f"the feed-forward layers cannot be compared: {base.name!r} has {base_size} for "
                f"{what!r}, {tuned.name!r} has {tuned_size}"
            )


def _reader(rows: WordRows, words: int) -> Callable[[Array], list[tuple[tuple[str, float], ...]]]:
    def read(directions: Array) -> list[tuple[tuple[str, float], ...]]:
        nearest = rows.nearest(torch.from_numpy(directions.copy()), words)
        return [tuple((word, cosine) for word, cosine in row) for row in nearest]

    return read
