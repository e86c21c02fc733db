"""Units of feed-forward layers: principal components, neurons, and the words they stand for."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import scipy.linalg
import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from twinlens.blocks import Array
from twinlens.compute import architectures
from twinlens.compute.prompt import pieces
from twinlens.schema import SIDES, Side
from twinlens.trace import Report

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerFast

    from twinlens.compute.pair import Pair

COMPONENTS = 50
WORDS = 40


@dataclass(frozen=True)
class Basis:
    """Principal components of one layer's value vectors, strongest first.

    Attributes
    ----------
    directions : float64 array [K, hidden]
        Of length 1; the entry with the largest magnitude is positive.
    explained : float64 array [K]
        Share of the variance.
    """

    directions: Array
    explained: Array


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


def principal_components(values: Array, count: int = COMPONENTS) -> Basis:
    """Principal components of value vectors (Wu et al. 2024, section 3.3).

    Parameters
    ----------
    values : array [intermediate, hidden]
        Value vectors as rows; they are centred here.
    count : int
        Most components to return; never more than the rank allows.
    """
    centred = np.asarray(values, dtype=np.float64)
    centred = centred - centred.mean(axis=0)
    rows, columns = centred.shape
    count = min(count, rows - 1, columns)
    if rows >= columns:
        covariance = centred.T @ centred
        variances, vectors = scipy.linalg.eigh(
            covariance, subset_by_index=[columns - count, columns - 1]
        )
        variances, directions = variances[::-1], vectors.T[::-1]
        total = float(np.trace(covariance))
    else:
        _, singular, vectors = scipy.linalg.svd(centred, full_matrices=False)
        variances, directions = singular[:count] ** 2, vectors[:count]
        total = float((singular**2).sum())
    largest = np.abs(directions).argmax(axis=1)
    signs = np.sign(directions[np.arange(count), largest])
    return Basis(directions * signs[:, None], variances / total)


def match_components(base: Array, tuned: Array) -> Match:
    """Assign the components of two models to each other so that the sum of |cosine| is largest."""
    cosines = base @ tuned.T
    _, index = linear_sum_assignment(-np.abs(cosines))
    matched = cosines[np.arange(len(index)), index]
    sign = np.where(matched < 0, -1.0, 1.0)
    return Match(index, sign, np.minimum(matched * sign, 1.0))


class Concepts:
    """Components and words of both models of a pair, computed once.

    With ``memory="sequential"`` everything of a kind is computed for all layers while a model is
    there, since fetching it again for each layer would cost far more.
    """

    def __init__(self, pair: Pair) -> None:
        self._pair = pair
        self._bases: dict[tuple[Side, int], Basis] = {}
        self._words: dict[tuple[Side, int], list[list[list[Any]]]] = {}
        self._norms: dict[tuple[Side, int], Array] = {}
        self._vocabularies: dict[Side, Vocabulary] = {}

    @property
    def count(self) -> int:
        """K, components per layer."""
        shape = self._pair.sizes
        return min(COMPONENTS, shape.intermediate - 1, shape.hidden)

    def basis(self, side: Side, layer: int) -> Basis:
        """Principal components of one layer."""
        self._for_layers(self._bases, side, layer, self._compute_basis)
        return self._bases[side, layer]

    def match(self, layer: int) -> Match:
        """How the components of the two models belong together."""
        return match_components(*(self.basis(side, layer).directions for side in SIDES))

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
        """A ``components`` block, see `twinlens.schema`."""
        match = self.match(layer)
        for side in SIDES:
            self.basis(side, layer)
            self._for_layers(self._words, side, layer, self._compute_words)
        explained = {side: self.basis(side, layer).explained for side in SIDES}
        words = {side: self._words[side, layer] for side in SIDES}
        return [
            {
                "base": {"explained": float(explained["base"][k]), "words": words["base"][k]},
                "tuned": {
                    "index": int(index),
                    "explained": float(explained["tuned"][index]),
                    "words": [[word, sign * score] for word, score in words["tuned"][index]],
                },
                "cosine": float(cosine),
                "angle": float(np.degrees(np.arccos(cosine))),
            }
            for k, (index, sign, cosine) in enumerate(
                zip(match.index, match.sign.tolist(), match.cosine, strict=True)
            )
        ]

    def value_norms(self, side: Side, layer: int) -> Array:
        """Length of every value vector, shape [intermediate]."""
        self._for_layers(self._norms, side, layer, self._compute_norms)
        return self._norms[side, layer]

    def value_vector(self, side: Side, layer: int, neuron: int) -> Tensor:
        """Direction a neuron writes into, of length 1, shape [hidden]."""
        with self._pair.model(side) as model:
            vector = architectures.value_vectors(model, layer)[neuron].float().cpu()
        return torch.nn.functional.normalize(vector, dim=0)

    def neuron(self, layer: int, neuron: int) -> dict[str, Any]:
        """A ``neuron`` block, see `twinlens.schema`."""
        vectors: dict[Side, Tensor] = {}
        result: dict[str, Any] = {}
        for side in SIDES:
            with self._pair.model(side) as model:
                vector = architectures.value_vectors(model, layer)[neuron].float()
                vectors[side] = vector.cpu()
                words = self.words(side, model, vector[None])[0]
                result[side] = {"norm": float(vector.norm()), "words": words}
        cosine = torch.cosine_similarity(vectors["base"], vectors["tuned"], dim=0)
        return {**result, "cosine": float(cosine)}

    def words(
        self, side: Side, model: PreTrainedModel, directions: Tensor
    ) -> list[list[list[Any]]]:
        """Words whose output embeddings point most along each direction, with the cosine."""
        if side not in self._vocabularies:
            self._vocabularies[side] = Vocabulary(self._pair.tokenizers[side])
        return self._vocabularies[side].nearest(architectures.unembedding(model), directions)

    def _for_layers(
        self,
        found: dict[tuple[Side, int], Any],
        side: Side,
        layer: int,
        compute: Callable[[Side, PreTrainedModel, int], Any],
    ) -> None:
        if (side, layer) in found:
            return
        together = self._pair.memory == "sequential"
        with self._pair.model(side) as model:
            for wanted in range(self._pair.sizes.layers) if together else (layer,):
                if (side, wanted) not in found:
                    found[side, wanted] = compute(side, model, wanted)

    def _compute_basis(self, _: Side, model: PreTrainedModel, layer: int) -> Basis:
        values = architectures.value_vectors(model, layer)
        return principal_components(values.double().cpu().numpy(), self.count)

    def _compute_words(
        self, side: Side, model: PreTrainedModel, layer: int
    ) -> list[list[list[Any]]]:
        return self.words(side, model, torch.from_numpy(self.basis(side, layer).directions))

    def _compute_norms(self, _: Side, model: PreTrainedModel, layer: int) -> Array:
        values = architectures.value_vectors(model, layer)
        return np.asarray(values.float().norm(dim=1).cpu())


class Vocabulary:
    """The words among a tokenizer's tokens.

    A word is the text of a token without blanks around it, if it is whole characters and has a
    letter or a digit; special tokens are none. Tokens that differ only in blanks are one word.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerFast) -> None:
        show, special = pieces(tokenizer), set(tokenizer.all_special_ids)
        self.words = ["" if i in special else _word(show.raw(i)) for i in range(len(tokenizer))]
        self._are_words = torch.tensor([bool(word) for word in self.words])
        self._lengths: Tensor | None = None

    def nearest(self, unembedding: Tensor, directions: Tensor) -> list[list[list[Any]]]:
        """For each direction its words by |cosine|, largest first, with the signed cosine.

        Parameters
        ----------
        unembedding : tensor [vocabulary, hidden]
        directions : tensor [k, hidden]
        """
        rows = unembedding[: len(self.words)]
        if self._lengths is None:
            # Lengths instead of a normalised copy: that would double the largest matrix there is.
            self._lengths = torch.linalg.vector_norm(rows, dim=1, dtype=torch.float32).cpu()
        unit = torch.nn.functional.normalize(directions.to(rows), dim=1)
        cosines = (unit @ rows.T).float().cpu() / self._lengths.clamp_min(1e-12)
        cosines[:, ~self._are_words[: len(rows)]] = 0
        best = cosines.abs().topk(min(4 * WORDS, len(rows)), dim=1).indices
        return [
            self._merged(row[ids], ids.tolist()) for row, ids in zip(cosines, best, strict=True)
        ]

    def _merged(self, scores: Tensor, ids: Sequence[int]) -> list[list[Any]]:
        merged: dict[str, float] = {}
        for identifier, score in zip(ids, scores.tolist(), strict=True):
            if self.words[identifier]:
                merged.setdefault(self.words[identifier], score)
        return [[word, score] for word, score in merged.items()][:WORDS]


def strongest(*strengths: Array, each: int) -> list[int]:
    """Indices of the largest values of several arrays together, strongest first."""
    found = {int(i) for s in strengths for i in np.argsort(-s, kind="stable")[:each]}
    best = np.max(strengths, axis=0)
    return sorted(found, key=lambda i: (-best[i], i))


def _word(piece: bytes) -> str:
    try:
        word = piece.decode().strip()
    except UnicodeDecodeError:
        return ""
    return word if any(unicodedata.category(c)[0] in "LN" for c in word) else ""
