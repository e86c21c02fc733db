"""The straightforward way to find word pairs: one neuron at a time, one pair at a time.

Written from the description of the paper's method, independent of the package: the yardstick of
the benchmark and the judge of the unit tests.
"""

from __future__ import annotations

import numpy as np


def thresholds(units, z, frequent):
    """Mean plus z population deviations of a word's cosines to the most frequent words."""
    cosines = units @ units[:frequent].T
    return np.maximum(cosines.mean(axis=1) + z * cosines.std(axis=1), 0)


def neuron_pairs(query_activation, key_activation, units, limits, top):
    """Pairs (query word, key word, cosine) of one neuron, by falling cosine."""
    query_words = np.argsort(-np.abs(query_activation), kind="stable")[:top]
    key_words = np.argsort(-np.abs(key_activation), kind="stable")[:top]
    pairs = []
    for query in query_words:
        for key in key_words:
            if query == key or query_activation[query] * key_activation[key] <= 0:
                continue
            cosine = units[query] @ units[key]
            if cosine > limits[query] and cosine > limits[key]:
                pairs.append((int(query), int(key), float(cosine)))
    return sorted(pairs, key=lambda pair: -pair[2])


def head_pairs(embeddings, query, key, norm, units, limits, top):
    """Pairs of every neuron of one head, and its energy.

    `query` and `key` are the head's rows of the projections, [head_dim, hidden].
    """
    query_activations = embeddings @ (query * norm).T
    key_activations = embeddings @ (key * norm).T
    energy = (query_activations**2).sum(axis=0) + (key_activations**2).sum(axis=0)
    return energy, [
        neuron_pairs(query_activations[:, dim], key_activations[:, dim], units, limits, top)
        for dim in range(len(query))
    ]


def layer_pairs(embeddings, query, key, norm, units, limits, top):
    """Pairs of every head of a layer: `query` [heads, head_dim, hidden], `key` of fewer heads."""
    repeated = np.repeat(key, len(query) // len(key), axis=0)
    return [
        head_pairs(embeddings, query[head], repeated[head], norm, units, limits, top)
        for head in range(len(query))
    ]
