"""Feed-forward neurons on one text: which are active, which changed, and what they do.

The effect of a neuron is the log-probability of an answer token as it is, less that with the
neuron at zero at every position, in nats; its estimate is the derivative by a gate on it (`gates`).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from twinlens.compute.concepts.units import Concepts, strongest
from twinlens.compute.models import architectures
from twinlens.compute.passes.gates import changed_neurons
from twinlens.compute.passes.reading import Reading, log_probability, precise
from twinlens.compute.passes.subject import Subject
from twinlens.contract.wire import Array
from twinlens.contract.words import SIDES, Side, reading_position
from twinlens.errors import NotFiniteError

#: Neurons a ``neurons`` block takes from each of its rankings.
NEURONS = 6


@torch.inference_mode(False)
def neuron_ablation(reading: Reading, layer: int, neuron: int, columns: Sequence[int]) -> float:
    """Exact effect of one neuron: summed log-probability as it is, less that with it at zero.

    Raises
    ------
    UnsupportedArchitectureError
        If feed-forward layers are not made of neurons that are shown.
    """
    architectures.check_neurons(reading.model.config)

    def silent(activations: Tensor) -> Tensor:
        silenced = activations.clone()
        silenced[..., neuron] = 0
        return silenced

    before = _logprob(reading, columns)
    with changed_neurons(reading.model, {layer: silent}):
        effect = float(before - _logprob(reading, columns))
    if not math.isfinite(effect):
        raise NotFiniteError(
            "the effect of a neuron is NaN or infinite although the forward pass is finite: load "
            "the pair with dtype=torch.float32"
        )
    return effect


def _logprob(reading: Reading, columns: Sequence[int]) -> Tensor:
    chosen = list(columns)
    with torch.no_grad(), reading.at_its_length():
        output = reading.model(
            reading.read, use_cache=False, logits_to_keep=reading.positions[chosen]
        )
        return log_probability(precise(output.logits[0]), reading, chosen).sum()


class Neurons:
    """Neurons of both models on the text of a trace.

    ``token`` is a position, or None for the whole answer; ``layer`` may be None for all of them.
    """

    def __init__(self, subject: Subject, concepts: Concepts) -> None:
        self._subject, self._models, self._manifest = subject, subject.models, subject.manifest
        self._concepts = concepts

    def listed(self, layer: int | None, token: int | None) -> list[dict[str, Any]]:
        """A ``neurons`` block: the most active neurons of each model and the most changed."""
        sides = [s for s in SIDES if token is None or token < self._manifest.length(s)]
        layers = range(self._models.sizes.layers) if layer is None else [layer]
        values = {s: np.stack([self._activations(s, la, token) for la in layers]) for s in sides}
        norms = {s: np.stack([self._concepts.value_norms(s, la) for la in layers]) for s in sides}
        written = [values[side] * norms[side] for side in sides]
        strengths = [np.abs(write).ravel() for write in written]
        if len(sides) == 2:
            strengths.append(np.abs(written[1] - written[0]).ravel())
        entries = []
        for place in strongest(*strengths, each=NEURONS):
            row, neuron = divmod(place, self._models.sizes.intermediate)
            entry: dict[str, Any] = {"layer": layers[row], "neuron": neuron}
            for side in SIDES:
                entry[side] = float(values[side][row, neuron]) if side in sides else None
            entries.append(entry)
        return entries

    def ablation(self, side: Side, layer: int, neuron: int, columns: Sequence[int]) -> Array:
        """Exact effect of one neuron, see `neuron_ablation`; float32 [1]."""
        with self._models.model(side) as model:
            effect = neuron_ablation(self._subject.reading(side, model), layer, neuron, columns)
        return np.array([effect], np.float32)

    def change(self, layer: int, neuron: int, token: int | None) -> dict[str, Any]:
        """A ``neuron/change`` block: whether the vector moved, and whether it is used more."""
        vectors = {s: self._concepts.value_vector(s, layer, neuron) for s in SIDES}
        values: dict[Side, float | None] = {
            s: float(self._activations(s, layer, token)[neuron])
            if token is None or token < self._manifest.length(s)
            else None
            for s in SIDES
        }
        norms = {s: float(vector.norm()) for s, vector in vectors.items()}
        apart = float((vectors["tuned"] - vectors["base"]).norm())
        base, tuned = values["base"], values["tuned"]
        return {
            "moved": apart / norms["base"] if norms["base"] else None,
            "cosine": float(torch.cosine_similarity(vectors["base"], vectors["tuned"], dim=0)),
            "base": base,
            "tuned": tuned,
            "used": None if base is None or tuned is None else abs(tuned) - abs(base),
            "write": {s: None if v is None else v * norms[s] for s, v in values.items()},
        }

    def _activations(self, side: Side, layer: int, token: int | None) -> Array:
        """Where a token is read, or the mean magnitude over the answer; shape [intermediate]."""
        prompt_length, activations = (
            self._manifest.prompt_length,
            self._subject.captures[side].neurons[layer],
        )
        if token is not None:
            return np.asarray(activations[reading_position(token, prompt_length)])
        answer = slice(prompt_length - 1, self._manifest.length(side) - 1)
        return np.asarray(activations[answer].abs().mean(dim=0))
