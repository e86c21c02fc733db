"""Made-up blocks of attention heads, and of their word pairs, for `tests.support.made_up`."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np
from twinlens.contract import blocks
from twinlens.contract.block import Block
from twinlens.contract.wire import Array, Value
from twinlens.contract.words import TOP_HEADS, Side
from twinlens.errors import UnknownBlockError
from twinlens.traces.trace import Trace

from tests.support.made_up_words import WORDS

Rng: TypeAlias = np.random.Generator


def _shape(of: Trace) -> tuple[int, int]:
    return of.manifest.pair.layers, of.manifest.pair.heads


def _previous(of: Trace, rng: Rng, side: Side) -> Array:
    values = rng.beta(1, 4, size=(of.manifest.length(side), *_shape(of)))
    values[0] = 0
    return values


def _effect(of: Trace, rng: Rng, side: Side, answer_token: int | None) -> Array:
    if answer_token is None:
        every = range(of.manifest.answer_length(side))
        columns = [of.array(blocks.head_effect(side, m)) for m in every]
        return np.sum(columns, axis=0, dtype=np.float32)
    return rng.normal(size=_shape(of)) ** 3 * 0.1


def _exact(of: Trace, side: Side, ablation: str, answer_token: int | None) -> Array:
    if ablation == "other" and not of.manifest.shared:
        raise UnknownBlockError("replacing a head by the other model's needs one answer")
    estimate = of.array(blocks.head_effect(side, answer_token))
    key = blocks.head_ablation(side, ablation, answer_token)
    noise = np.random.default_rng(zlib.crc32(key.encode()))
    return (estimate * 0.8 + 0.05 * noise.normal(size=estimate.shape)).astype(np.float32)


def _ablation(of: Trace, side: Side, ablation: str, answer_token: int | None, count: int) -> Array:
    exact = _exact(of, side, ablation, answer_token)
    order = np.argsort(-np.abs(of.array(blocks.head_effect(side, answer_token))).ravel())
    table = np.full(exact.size, np.nan, np.float32)
    table[order[:count]] = exact.ravel()[order[:count]]
    return table.reshape(exact.shape)


def _circuits(of: Trace, rng: Rng) -> Array:
    moved = rng.gamma(2, 0.05, size=(*_shape(of), 2))
    both = np.stack([moved, np.cos(moved * 1.2)], axis=-1)  # [L, H, circuit, measure]
    return both.reshape(*_shape(of), 4)


def _info(of: Trace, rng: Rng) -> Value:
    return {
        "parameters": {"top": 100, "z": 1.96, "frequent": 3000, "vocabulary": "made up"},
        "words": len(WORDS),
        "missing": 3,
        "heads_changed": int(np.prod(_shape(of))) - 1,
    }


def _find(of: Trace, rng: Rng, word: str) -> Value:
    counts = rng.integers(0, 9, size=(*_shape(of), 2))
    rows = [
        [*place, *map(int, counts[place])]
        for place in np.ndindex(*_shape(of))
        if counts[place].any()
    ]
    return sorted(rows, key=lambda row: row[2] - row[3]) if word in WORDS else []


def _pairs(of: Trace, rng: Rng, layer: int, head: int) -> Value:
    rows = []
    for _ in range(int(rng.integers(0, 60))):
        first, second = rng.choice(WORDS, size=2, replace=False)
        base, tuned = rng.integers(0, 8, size=2)
        if base or tuned:
            rows.append([str(first), str(second), int(base), int(tuned)])
    rows.sort(key=lambda row: -max(row[2:]))
    return {"rows": rows, "left_out": int(rng.integers(0, 5))}


#: Makers of blocks about heads, see `tests.support.made_up.SPECIAL`.
HEADS: dict[Block[Any], Callable[..., Any]] = {
    blocks.head_change: lambda of, rng: rng.beta(
        1, 6, size=(of.manifest.common_length, *_shape(of))
    ),
    blocks.head_received: lambda of, rng, side: rng.beta(
        1, 12, size=(of.manifest.prompt_length, *_shape(of))
    ),
    blocks.head_instruction: lambda of, rng, side: rng.beta(
        1, 4, size=(of.manifest.length(side), *_shape(of))
    ),
    blocks.head_sink: lambda of, rng, side: rng.beta(
        1, 4, size=(of.manifest.length(side), *_shape(of))
    ),
    blocks.head_entropy: lambda of, rng, side: (
        rng.beta(2, 4, size=(of.manifest.length(side), *_shape(of))) * 4
    ),
    blocks.head_previous: _previous,
    blocks.head_effect: _effect,
    blocks.head_ablation: lambda of, rng, side, ablation, answer_token: _ablation(
        of, side, ablation, answer_token, TOP_HEADS
    ),
    blocks.head_ablation_so_far: lambda of, rng, side, ablation, answer_token: _ablation(
        of, side, ablation, answer_token, TOP_HEADS // 2
    ),
    blocks.head_ablation_one: lambda of, rng, side, ablation, answer_token, layer, head: _exact(
        of, side, ablation, answer_token
    )[layer, head].reshape(1),
    blocks.head_circuits: _circuits,
    blocks.word_pair_info: _info,
    blocks.word_pair_find: _find,
    blocks.word_pair_counts: lambda of, rng: rng.poisson(6, size=(*_shape(of), 3)),
    blocks.word_pairs: _pairs,
}
