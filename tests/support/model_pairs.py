"""Word pairs of one model; the product finds those of two, with one filter."""

from __future__ import annotations

from twinlens.compute.heads import word_pair_search as heads
from twinlens.compute.models.weights import Weights, layer_folder
from twinlens.compute.words.vectors import CooccurrenceSettings
from twinlens.weights.word_pairs import WordPairs


def word_pairs(
    source,
    tokenizer,
    words=None,
    *,
    cooccurrence=None,
    settings=None,
    layers=None,
    cache=True,
    report=lambda done, total, what: None,
):
    """Pairs by layer, of a loaded model or of one that is read from its files."""
    settings = settings or CooccurrenceSettings()
    weights = source if isinstance(source, Weights) else Weights(source)
    prepared = heads.prepare(tokenizer, words, settings.top)
    filter_ = heads.filter_words(cooccurrence, prepared, weights, settings, report)
    search = heads.Search(weights, prepared, filter_, layer_folder(cache), None)
    pairs = {}
    layers = range(weights.sizes.layers) if layers is None else sorted(set(layers))
    for done, layer in enumerate(layers):
        report(done, len(layers), f"word pairs of {weights.name}, layer {layer}")
        pairs[layer] = search.layer(weights, layer)
    return WordPairs(weights.name, prepared.words, pairs, heads.parameters_of(prepared, filter_))
