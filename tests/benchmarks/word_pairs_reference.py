"""The straightforward way to find word pairs: one neuron at a time, one pair at a time.

Written from the description of the paper's method, independent of the package: the yardstick of
the benchmark and the judge of the unit tests.
"""

from __future__ import annotations

import time
from collections import Counter

import numpy as np

#: CPU seconds spent per step.
SPENT: Counter[str] = Counter()


def thresholds(units, z, frequent):
    """Mean plus z population deviations of a word's cosines to the most frequent words."""
    cosines = units @ units[:frequent].T
    return np.maximum(cosines.mean(axis=1) + z * cosines.std(axis=1), 0)


def neuron_pairs(embeddings, query, key, norm, units, limits, top):
    """Energy and pairs (query word, key word, cosine; by falling cosine) of one neuron.

    `query` and `key` are its two rows of the projections, each [hidden].
    """
    start = time.process_time()
    on_query, on_key = embeddings @ (query * norm), embeddings @ (key * norm)
    energy = (on_query**2 + on_key**2).sum()
    activated = time.process_time()
    query_words = np.argsort(-np.abs(on_query), kind="stable")[:top]
    key_words = np.argsort(-np.abs(on_key), kind="stable")[:top]
    sorted_ = time.process_time()
    pairs = []
    for first in query_words:
        for second in key_words:
            if first == second or on_query[first] * on_key[second] <= 0:
                continue
            cosine = units[first] @ units[second]
            if cosine > limits[first] and cosine > limits[second]:
                pairs.append((int(first), int(second), float(cosine)))
    pairs.sort(key=lambda pair: -pair[2])
    SPENT["activations"] += activated - start
    SPENT["top words"] += sorted_ - activated
    SPENT["pairs"] += time.process_time() - sorted_
    return energy, pairs


def layer_pairs(embeddings, query, key, norm, units, limits, top):
    """Energy and pairs of every neuron of every head of a layer.

    `query` is [heads, head_dim, hidden], `key` the same with fewer heads.
    """
    repeated = np.repeat(key, len(query) // len(key), axis=0)
    return [
        [
            neuron_pairs(
                embeddings, query[head, dim], repeated[head, dim], norm, units, limits, top
            )
            for dim in range(query.shape[1])
        ]
        for head in range(len(query))
    ]
