"""Blocks about feed-forward layers: components, neurons, and the words they stand for."""

from __future__ import annotations

from collections.abc import Iterator
from typing import cast

from twinlens.compute.concepts.mattered import Mattered
from twinlens.compute.concepts.neurons import Neurons
from twinlens.compute.concepts.units import Concepts
from twinlens.compute.models.architectures import check_neurons, has_neurons
from twinlens.compute.passes.gates import AnswerGates
from twinlens.compute.passes.subject import Subject
from twinlens.compute.provide import provides, records
from twinlens.compute.words.word_rows import LOOKED_UP_TOGETHER
from twinlens.contract import blocks
from twinlens.contract.block import Block
from twinlens.contract.forms import NeuronActivity
from twinlens.contract.wire import Array, Value, half
from twinlens.contract.words import SIDES, Side
from twinlens.support.progress import Report
from twinlens.traces.trace import Trace

#: Layers and answer tokens of which a recording keeps the effects of units: about 0.3 kB each.
_UNIT_EFFECTS = 2**8


class ConceptBlocks:
    """The room of components and neurons."""

    def __init__(self, subject: Subject, concepts: Concepts, gates: AnswerGates) -> None:
        self._subject, self._concepts, self._gates = subject, concepts, gates
        self._neurons = Neurons(subject, concepts)
        self._mattered = Mattered(subject, concepts)
        #: Neurons whose words a recording asks for later, and words that are looked up already.
        self._due: dict[tuple[int, int], None] = {}
        self._words: dict[tuple[int, int], Value] = {}

    @provides(blocks.component_change)
    def change(self, report: Report | None) -> Array:
        """How far the components of each layer moved."""
        return self._concepts.change(report)

    @provides(blocks.components, cached=False)
    def components(self, layer: int) -> Value:
        """Components of a layer, with the names they may have been given since."""
        return self._concepts.components(layer)

    @provides(blocks.component_ends)
    def ends(self, layer: int) -> Value:
        """Words of both ends."""
        return self._concepts.ends(layer)

    @provides(blocks.concept_find)
    def find(self, word: str, report: Report | None) -> Value:
        """Components in which a word stands out."""
        return self._concepts.find(word, report)

    @provides(blocks.rotation)
    def rotation(self, report: Report | None) -> Value:
        """How far the leading components are turned."""
        return self._concepts.rotation(report)

    @provides(blocks.component_activations)
    def activations(self, side: Side, layer: int) -> Array:
        """Output along a model's own components."""
        return self._along(side, side, layer)

    @provides(blocks.base_component_activations)
    def base_activations(self, layer: int) -> Array:
        """Tuned's output along base's components."""
        return self._along("tuned", "base", layer)

    def _along(self, side: Side, components_of: Side, layer: int) -> Array:
        outputs = self._subject.captures[side].feed_forward_out[layer].numpy()
        return half(outputs @ self._concepts.directions(components_of, layer).T)

    @provides(blocks.neuron_activations)
    def neuron_activations(self, side: Side, layer: int, neuron: int) -> Array:
        """One neuron along the tokens."""
        check_neurons(self._subject.models.configs[side])
        return half(self._subject.captures[side].neurons[layer][:, neuron].numpy())

    @provides(blocks.neurons)
    def neurons(self, layer: int | None, token: int | None) -> Value:
        """The most active and the most changed neurons."""
        return self._neurons.listed(layer, token)

    @provides(blocks.unit_effects)
    def unit_effects(self, layer: int, token: int, report: Report | None) -> Value:
        """Measured effects of the units of a layer."""
        return self._mattered.measured(layer, token, report)

    @provides(blocks.unit_estimates)
    def unit_estimates(self, layer: int, token: int, report: Report | None) -> Value:
        """Estimated effects of the same units."""
        return self._mattered.estimate(layer, token, report)

    @provides(blocks.neuron_effect)
    def neuron_effect(self, side: Side, answer_token: int | None) -> Array:
        """Estimated effect of every neuron."""
        return self._gates.neurons(side, answer_token).copy()

    @provides(blocks.neuron_ablation)
    def neuron_ablation(
        self, side: Side, layer: int, neuron: int, answer_token: int | None
    ) -> Array:
        """Exact effect of one neuron."""
        count = self._subject.manifest.answer_length(side)
        columns = range(count) if answer_token is None else [answer_token]
        return self._neurons.ablation(side, layer, neuron, columns)

    @provides(blocks.neuron_change)
    def neuron_change(self, layer: int, neuron: int, token: int | None) -> Value:
        """Whether a neuron's vector moved or it is used more."""
        return self._neurons.change(layer, neuron, token)

    @provides(blocks.neuron_words)
    def neuron_words(self, layer: int, neuron: int) -> Value:
        """Words of a neuron; of those of a recording, which come in order, many are looked up."""
        place = layer, neuron
        if place not in self._words:
            due = [at for at in self._due if at not in self._words]
            # Whoever asks for another waits for that one only.
            together = due[: LOOKED_UP_TOGETHER // 2] if due[:1] == [place] else [place]
            looked_up = self._concepts.neurons(together)
            self._words |= dict(zip(together, looked_up, strict=True))
        return self._words[place]

    @records(blocks.neuron_effect)
    def recorded_effects(self, *_: object) -> Iterator[str]:
        """Of the whole answer."""
        yield from (blocks.neuron_effect(side, None) for side in SIDES)

    @records(blocks.unit_effects)
    def recorded_units(self, trace: Trace, _: object) -> Iterator[str]:
        """Of small models, at every answer token: all layers, of many the one shown first."""
        m, sizes = trace.manifest, self._subject.models.sizes
        if sizes.small and has_neurons(self._subject.models.configs["base"]):
            tokens = range(m.prompt_length, max(m.length(side) for side in SIDES))
            layers = range(sizes.layers)
            if len(layers) * len(tokens) > _UNIT_EFFECTS:
                half = sizes.layers // 2
                first = half + int(self._concepts.change()[half:].argmax())
                layers = range(first, first + 1)
            yield from (blocks.unit_effects(layer, token) for layer in layers for token in tokens)

    @records(blocks.neurons)
    def recorded_lists(self, trace: Trace, _: object, everything: bool) -> Iterator[str]:
        """Of the whole answer and of its tokens, in all layers together and in each.

        In each layer of a large pair only of the whole answer.
        """
        m = trace.manifest
        self._due = {}
        each = everything or self._subject.models.sizes.small
        for token in (None, *range(m.prompt_length, max(m.length(side) for side in SIDES))):
            for layer in (None, *(range(m.pair.layers) if each or token is None else ())):
                key = blocks.neurons(layer, token)
                yield key
                listed = cast(NeuronActivity, trace.block(key))
                self._due.update({(entry["layer"], entry["neuron"]): None for entry in listed})

    @records(blocks.neuron_activations, blocks.neuron_words)
    def recorded_neurons(self, _: Trace, block: Block[...]) -> Iterator[str]:
        """Of the neurons that are listed somewhere, words beside activations.

        With ``memory="sequential"`` their words are left out: each would load both models.
        """
        for layer, neuron in self._due if block is blocks.neuron_activations else ():
            yield from (blocks.neuron_activations(side, layer, neuron) for side in SIDES)
            if self._subject.models.memory == "both":
                yield blocks.neuron_words(layer, neuron)
