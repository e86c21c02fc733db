"""Components of two models from their folders, without loading either."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from transformers import PreTrainedTokenizerFast

from twinlens.compute.concepts.components import ConceptSettings, layer_components
from twinlens.compute.concepts.rotation import RotationSettings, check_shapes, rotation
from twinlens.compute.concepts.units import matched
from twinlens.compute.models.sources import load_tokenizer, source_of
from twinlens.compute.models.weights import Weights
from twinlens.compute.words.word_rows import word_rows
from twinlens.support.progress import Report
from twinlens.weights.rotation_table import ConceptComparison


def compare_concepts(
    base: Weights,
    tuned: Weights,
    tokenizer: PreTrainedTokenizerFast | None = None,
    *,
    settings: ConceptSettings,
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
    check_shapes(base, tuned)
    layers = range(base.sizes.layers) if layers is None else sorted(set(layers))
    count = settings.count(base.sizes)
    if tokenizer is None:
        tokenizer = load_tokenizer(source_of(base.folder or Path(base.name), None), False)
    vocabulary = settings.chosen()
    components, words = [], []
    for weights in (base, tuned):
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
            base.sizes.intermediate,
        )
        for layer in layers
    }
    k = max(1, min(count, base.sizes.rank // 4))
    turned = rotation(
        base,
        tuned,
        tokenizer,
        settings=RotationSettings(components=count, counts=(k,), cache=settings.cache),
        layers=layers,
        report=report,
    )
    parameters = {
        "base": base.name,
        "tuned": tuned.name,
        "components": count,
        "words": settings.words,
        "vocabulary": source,
        "vocabulary_words": len({word for word in words[0] if word}),
        "rotation": turned.parameters,
    }
    return ConceptComparison(blocks, turned, parameters)
