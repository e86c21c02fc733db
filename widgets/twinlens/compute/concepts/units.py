"""Units of feed-forward layers: principal components, neurons, and the words they stand for."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from scipy import stats
from scipy.optimize import linear_sum_assignment
from torch import Tensor
from transformers import PreTrainedModel

from twinlens.compute.concepts.components import (
    Basis,
    ConceptSettings,
    LayerComponents,
    layer_components,
)
from twinlens.compute.concepts.rotation import RotationSettings, pair_rotation
from twinlens.compute.models import architectures
from twinlens.compute.models.models import Models
from twinlens.compute.models.weights import Weights
from twinlens.compute.words.word_rows import WordRows, word_rows
from twinlens.contract.wire import Array
from twinlens.contract.words import SIDES, Side
from twinlens.labels.annotate import annotate, components_of, read_annotations
from twinlens.labels.given_names import Named, names_of
from twinlens.labels.questions import Annotation, Annotator
from twinlens.support.progress import Report, told

#: Words of a value vector after the final norm.
NORMED_WORDS = 15
#: Components a search for a word lists, per model.
FOUND = 20
_ENDS = ("positive", "negative")


@dataclass(frozen=True)
class Match:
    """Which component of tuned belongs to each component of base.

    Attributes
    ----------
    index : int array [K]
        Component of tuned.
    sign : float array [K]
        Factor that turns it towards base's.
    cosine : float array [K]
        Of the two directions, then not negative.
    """

    index: Array
    sign: Array
    cosine: Array


def match_components(base: Array, tuned: Array) -> Match:
    """Assign the components of two models to each other so that the sum of |cosine| is largest."""
    cosines = base @ tuned.T
    _, index = linear_sum_assignment(-np.abs(cosines))
    matched = cosines[np.arange(len(index)), index]
    sign = np.where(matched < 0, -1.0, 1.0)
    return Match(index, sign, np.minimum(matched * sign, 1.0))


def matched(
    components: Sequence[LayerComponents],
    words: Sequence[Sequence[str]],
    count: int,
    neurons: int,
) -> list[dict[str, Any]]:
    """Components of one layer of two models as a ``components`` block, `count` words each.

    `neurons` is how many value vectors they are the components of.
    """
    base, tuned = components
    base_words, tuned_words = words
    match = match_components(base.basis.directions, tuned.basis.directions)
    doubts = doubts_of(match, base.basis, tuned.basis, neurons)
    return [
        {
            "base": {
                "explained": float(base.basis.explained[k]),
                "words": base.ends.both(base_words, k, count),
            },
            "tuned": {
                "index": int(index),
                "explained": float(tuned.basis.explained[index]),
                "words": [
                    [word, sign * score]
                    for word, score in tuned.ends.both(tuned_words, index, count)
                ],
            },
            "cosine": float(cosine),
            "angle": float(np.degrees(np.arccos(cosine))),
            "doubt": doubts[k],
        }
        for k, (index, sign, cosine) in enumerate(
            zip(match.index, match.sign.tolist(), match.cosine, strict=True)
        )
    ]


def doubts_of(match: Match, base: Basis, tuned: Basis, neurons: int) -> list[str]:
    """Why each component of base says little, one of `DOUBTS`.

    It is not separable where a neighbour's variance, in its own model, is nearer than chance
    throws variances about (`separable`), and a weak match where its match is within what random
    directions reach, or holds less than half of its length squared.
    """
    alone = separable(base.explained, neurons) & separable(tuned.explained, neurons)[match.index]
    count, size = base.directions.shape
    # Squared cosine of two random directions; the best of all pairs, in 5 of 100 layers.
    null = stats.beta.isf(0.05 / count**2, 0.5, (size - 1) / 2) if size > 1 else 1.0
    weak = match.cosine**2 < max(float(null), 0.5)
    return [
        "not separable" if not apart else "weak match" if far else ""
        for apart, far in zip(alone.tolist(), weak.tolist(), strict=True)
    ]


def separable(explained: Array, neurons: int) -> Array:
    """Whether each variance is farther from its neighbours' than its sampling error.

    The rule of thumb of North et al. (1982): the error of the variance v of n samples is
    ``v * sqrt(2 / n)``, and a component that is nearer than that to a neighbour is any mixture of
    both.

    Parameters
    ----------
    explained : array [K]
        Variances in any unit, falling.
    neurons : int
        n, the samples they are the variances of.

    Returns
    -------
    bool array [K]
    """
    gaps = -np.diff(explained, prepend=np.inf, append=-np.inf)
    return np.asarray(np.minimum(gaps[:-1], gaps[1:]) > explained * np.sqrt(2 / neurons))


class Concepts:
    """Components and words of both models of a pair, computed once.

    With ``memory="sequential"`` everything of a kind is computed for all layers while a model is
    there, since fetching it again for each layer would cost far more.

    Parameters
    ----------
    pair : Models
    settings : ConceptSettings, optional

    Raises
    ------
    HeadIndexError
        If more components are asked for than the rank.

    Attributes
    ----------
    count : int
        K, components per layer.
    annotations : list of Annotation
        Names and labels of components, see `label`.
    """

    def __init__(self, pair: Models, settings: ConceptSettings | None = None) -> None:
        self.settings = settings or ConceptSettings()
        self.count = self.settings.count(pair.sizes)
        self.annotations: list[Annotation] = []
        self._pair = pair
        self._vocabulary = self.settings.chosen()
        self._layers: dict[tuple[Side, int], LayerComponents] = {}
        self._norms: dict[tuple[Side, int], Array] = {}
        self._matches: dict[int, Match] = {}
        self._words: dict[Side, list[str]] = {}
        self._rows: dict[Side, WordRows] = {}

    @property
    def source(self) -> str:
        """Where the words come from, for people."""
        return self._vocabulary.source if self._vocabulary else "tokens"

    def basis(self, side: Side, layer: int) -> Basis:
        """Principal components of one layer."""
        return self._layer(side, layer).basis

    def match(self, layer: int) -> Match:
        """How the components of the two models belong together."""
        if layer not in self._matches:
            bases = (self.basis(side, layer).directions for side in SIDES)
            self._matches[layer] = match_components(*bases)
        return self._matches[layer]

    def directions(self, side: Side, layer: int) -> Array:
        """Components in the order and with the signs of base's, shape [K, hidden]."""
        directions = self.basis(side, layer).directions
        if side == "base":
            return directions
        match = self.match(layer)
        return np.asarray(directions[match.index] * match.sign[:, None])

    def change(self, report: Report | None = None) -> Array:
        """Mean of 1 - cosine over the matched components, shape [layers]."""
        result = np.zeros(self._pair.sizes.layers, dtype=np.float32)
        for layer in range(len(result)):
            result[layer] = (1 - self.match(layer).cosine).mean()
            if report:
                report(layer + 1, len(result), "components of each layer")
        return result

    def components(self, layer: int) -> list[dict[str, Any]]:
        """A ``components`` block, see `twinlens.contract.blocks`."""
        components = [self._layer(side, layer) for side in SIDES]
        words = [self._words[side] for side in SIDES]
        block = matched(components, words, self.settings.words, self._pair.sizes.intermediate)
        if self.annotations:
            named = names_of(self.annotations)
            for k, entry in enumerate(block):
                places = ("base", layer, k), ("tuned", layer, entry["tuned"]["index"])
                names = [named[place] for place in places if place in named]
                entry |= next((name for name in names if name.name), Named(None, ())).to_json()
        return block

    def label(
        self,
        source: Annotator | str | os.PathLike[str] | Sequence[Annotation],
        *,
        layers: Iterable[int] | None = None,
        words: int = 15,
        rounds: Sequence[int] = range(5),
        concurrency: int = 4,
        cache: bool | str | os.PathLike[str] = True,
        report: Report | None = None,
    ) -> list[Annotation]:
        """Name and label the components of both models; panels opened afterwards show it.

        Parameters
        ----------
        source : callable, path or sequence of Annotation
            Whoever answers (`twinlens.labels.endpoint.Endpoint`, or any function), a file that
            `read_annotations` reads, or annotations that are there already.
        layers : iterable of int, optional
            Layers to ask about; all by default.
        words : int
            Words a component is shown to the annotator with; the paper shows 15.
        rounds, concurrency, cache, report
            As in `twinlens.labels.annotate.annotate`.

        Returns
        -------
        list of Annotation
            For `twinlens.labels.shares.label_shares`; ``self.annotations`` keeps them.

        Raises
        ------
        AnnotationError
            If a file cannot be read, or the annotator gives up; its answers so far are kept.
        """
        if isinstance(source, str | os.PathLike):
            self.annotations = read_annotations(source)
        elif callable(source):
            chosen = range(self._pair.sizes.layers) if layers is None else sorted(set(layers))
            components = [
                component
                for la in chosen
                for component in components_of(la, self.components(la), words=words)
            ]
            self.annotations = annotate(
                components,
                source,
                rounds=rounds,
                concurrency=concurrency,
                cache=cache,
                report=report,
            )
        else:
            self.annotations = list(source)
        return self.annotations

    def ends(self, layer: int) -> list[dict[str, Any]]:
        """A ``components/l/ends`` block: words of both ends, with the signs of base."""
        base, tuned = (self._layer(side, layer).ends for side in SIDES)
        match = self.match(layer)
        entries = []
        for k, (index, sign) in enumerate(zip(match.index, match.sign.tolist(), strict=True)):
            base_words = [base.named(self._words["base"], end, k) for end in (0, 1)]
            tuned_words = [
                [
                    [word, sign * score]
                    for word, score in tuned.named(self._words["tuned"], end, index)
                ]
                for end in ((0, 1) if sign > 0 else (1, 0))
            ]
            entries.append(
                {
                    "base": dict(zip(_ENDS, base_words, strict=True)),
                    "tuned": dict(zip(_ENDS, tuned_words, strict=True)),
                }
            )
        return entries

    def find(self, word: str, report: Report | None = None) -> dict[str, Any]:
        """A ``concepts/find`` block: the components a word lies along most, in both models.

        Raises
        ------
        VocabularyError
            If the tokenizer has no tokens for the word.
        """
        return {"word": word.strip(), **{s: self._find(s, word, report) for s in SIDES}}

    def _find(self, side: Side, word: str, report: Report | None) -> list[list[Any]]:
        depth = self._pair.sizes.layers
        layers = told(range(depth), f"components of {side}", report)
        stacked = [self.basis(side, layer).directions for layer in layers]
        directions = torch.from_numpy(np.concatenate(stacked)).float()
        with self._pair.model(side) as model, self._using(side, model) as rows:
            embeddings = architectures.unembedding(model)
            vectors = rows.vectors(word, self._pair.tokenizers[side], embeddings)
            units = torch.nn.functional.normalize(vectors.float().cpu(), dim=1)
            cosines = directions @ units.T
            cosines = cosines.gather(1, cosines.abs().argmax(dim=1, keepdim=True))[:, 0]
            best = cosines.abs().topk(min(FOUND, len(cosines))).indices
            word_cosines = rows.cosines(directions[best]).abs()
            entries = []
            for place, row_cosines in zip(best.tolist(), word_cosines, strict=True):
                # A little more, so that rounding never puts a word behind itself.
                ahead = (row_cosines > float(cosines[place].abs()) * (1 + 1e-6)).nonzero()[:, 0]
                rank = 1 + len({rows.words[row] for row in ahead.tolist()} - {word.strip()})
                entries.append([*divmod(place, self.count), float(cosines[place]), rank])
        return entries

    def rotation(self, report: Report | None = None) -> list[dict[str, Any]]:
        """A ``rotation`` block: how far the leading components of each layer are turned."""
        # More than a quarter of the rank nearly fills the space: then all subspaces agree.
        k = max(1, min(self.count, self._pair.sizes.rank // 4))
        settings = RotationSettings(components=k, added=1, counts=(k,), cache=self.settings.cache)
        return pair_rotation(self._pair, settings, report).block(k)

    def value_norms(self, side: Side, layer: int) -> Array:
        """Length of every value vector, shape [intermediate]."""
        if (side, layer) not in self._norms:
            together = self._pair.memory == "sequential"
            with self._pair.model(side) as model:
                for number in range(self._pair.sizes.layers) if together else (layer,):
                    values = architectures.value_vectors(model, number)
                    self._norms[side, number] = np.asarray(values.float().norm(dim=1).cpu())
        return self._norms[side, layer]

    def value_vector(self, side: Side, layer: int, neuron: int) -> Tensor:
        """What a neuron writes when it is 1, float32, shape [hidden]."""
        with self._pair.model(side) as model:
            return architectures.value_vectors(model, layer)[neuron].float().cpu()

    def neurons(self, places: Sequence[tuple[int, int]]) -> list[dict[str, Any]]:
        """``neuron`` blocks of neurons, by layer and number; see `twinlens.contract.blocks`."""
        vectors: dict[Side, Tensor] = {}
        result: list[dict[str, Any]] = [{} for _ in places]
        for side in SIDES:
            with self._pair.model(side) as model, self._using(side, model) as rows:
                written = _value_vectors(model, places)
                vectors[side] = written
                looked_up = torch.cat([written, _normed(model, written)])
                listed = rows.nearest(looked_up, max(self.settings.words, NORMED_WORDS))
            for place, (block, norm) in enumerate(zip(result, written.norm(dim=1), strict=True)):
                block[side] = {
                    "norm": float(norm),
                    "words": listed[place][: self.settings.words],
                    "normed": listed[len(written) + place][:NORMED_WORDS],
                }
        cosines = torch.cosine_similarity(vectors["base"], vectors["tuned"])
        for block, cosine in zip(result, cosines.tolist(), strict=True):
            block["cosine"] = cosine
        return result

    def _layer(self, side: Side, layer: int) -> LayerComponents:
        if (side, layer) not in self._layers:
            together = self._pair.memory == "sequential"
            layers = range(self._pair.sizes.layers) if together else (layer,)
            with self._pair.model(side) as model, self._using(side, model) as rows:
                if (side, layer) not in self._layers:  # another thread may have been first
                    components = layer_components(Weights(model, side), rows, self.settings, layers)
                    self._words[side] = rows.words
                    self._layers |= {(side, at): value for at, value in components.items()}
        return self._layers[side, layer]

    @contextmanager
    def _using(self, side: Side, model: PreTrainedModel) -> Iterator[WordRows]:
        """Words of one side; not kept where that would keep the model in memory."""
        rows = self._rows.get(side)
        if rows is None:
            embeddings = architectures.unembedding(model)
            rows = word_rows(self._pair.tokenizers[side], embeddings, self._vocabulary)
            if self._pair.memory == "both" or self._vocabulary is not None:
                self._rows[side] = rows
        yield rows


def _value_vectors(model: PreTrainedModel, places: Sequence[tuple[int, int]]) -> Tensor:
    """What neurons write when they are 1, by layer and number, float32 [places, hidden]."""
    vectors: dict[tuple[int, int], Tensor] = {}
    for layer in {layer for layer, _ in places}:
        numbers = [number for at, number in places if at == layer]
        of_layer = architectures.value_vectors(model, layer)[numbers].float().cpu()
        vectors |= {(layer, i): vector for i, vector in zip(numbers, of_layer, strict=True)}
    return torch.stack([vectors[place] for place in places])


def _normed(model: PreTrainedModel, vector: Tensor) -> Tensor:
    """Vectors [..., hidden] as the final norm passes them on, but for the common factor 1 / rms."""
    norm = architectures.final_norm(model)
    # RMS norms leave a constant vector as it is, others take the mean away.
    ones = torch.ones(vector.shape[-1], device=model.device, dtype=model.dtype)
    centres = bool(torch.equal(norm(ones), norm(torch.zeros_like(ones))))
    centred = vector - vector.mean(dim=-1, keepdim=True) if centres else vector
    gain = architectures.norm_gain(model, norm)
    return centred if gain is None else centred * gain.float().cpu()


def strongest(*strengths: Array, each: int) -> list[int]:
    """Indices of the largest values of several arrays together, strongest first."""
    indices = {int(i) for values in strengths for i in _largest(values, each)}
    best = np.max(strengths, axis=0)
    return sorted(indices, key=lambda i: (-best[i], i))


def _largest(values: Array, count: int) -> Array:
    """Indices of the largest values; of equal ones the first."""
    count = min(count, len(values))
    # Only few are sorted: a layer has thousands of neurons.
    at_least = np.flatnonzero(values >= np.partition(values, -count)[-count])
    largest: Array = at_least[np.argsort(-values[at_least], kind="stable")][:count]
    return largest
