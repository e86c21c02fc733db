"""Components of two models from their folders, without loading either."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from transformers import PreTrainedTokenizerFast

from twinlens.compute.concepts.components import ConceptSettings, layer_components
from twinlens.compute.concepts.rotation import RotationSettings, check_shapes, rotation
from twinlens.compute.concepts.units import matched
from twinlens.compute.models.sources import load_tokenizer, source_of
from twinlens.compute.models.weights import WeightSource, weights_of
from twinlens.compute.words.word_rows import word_rows
from twinlens.support.progress import Report
from twinlens.weights.rotation_table import ConceptComparison


def compare_concepts(
    base: WeightSource,
    tuned: WeightSource,
    tokenizer: PreTrainedTokenizerFast | None = None,
    *,
    settings: ConceptSettings | None = None,
    layers: Iterable[int] | None = None,
    report: Report | None = None,
) -> ConceptComparison:
    """Components of both models matched to each other, and how far they are turned.

    Parameters and errors are those of `rotation`, but for the tokenizer, which is of both, and by
    default that in base's folder. Finished layers are kept, see `ConceptSettings`.

    Raises
    ------
    VocabularyError
        If the tokenizer can spell no word.
    """
    settings = settings or ConceptSettings()
    sides = weights_of(base), weights_of(tuned)
    check_shapes(*sides)
    layers = range(sides[0].sizes.layers) if layers is None else sorted(set(layers))
    count = settings.count(sides[0].sizes)
    if tokenizer is None:
        tokenizer = load_tokenizer(source_of(sides[0].folder or Path(sides[0].name), None), False)
    vocabulary = settings.chosen()
    components, words = [], []
    for weights in sides:
        rows = word_rows(tokenizer, weights.output_embeddings(), vocabulary)
        weights.let_go()
        components.append(layer_components(weights, rows, settings, layers, report))
        words.append(rows.words)
        source = rows.source
        del rows  # never the embeddings of both
    blocks = {
        layer: matched(
            [of_layers[layer] for of_layers in components],
            words,
            settings.words,
            sides[0].sizes.intermediate,
        )
        for layer in layers
    }
    k = max(1, min(count, sides[0].sizes.rank // 4))
    turned = rotation(
        *sides,
        tokenizer,
        settings=RotationSettings(components=count, counts=(k,), cache=settings.cache),
        layers=layers,
        report=report,
    )
    parameters = {
        "base": sides[0].name,
        "tuned": sides[1].name,
        "components": count,
        "words": settings.words,
        "vocabulary": source,
        "vocabulary_words": len({word for word in words[0] if word}),
        "rotation": turned.parameters,
    }
    return ConceptComparison(blocks, turned, parameters)
