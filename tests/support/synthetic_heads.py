"""Made-up blocks of attention heads, and of their word pairs, for `tests.support.synthetic`."""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Sequence

import numpy as np
from twinlens.contract.wire import Array, Value
from twinlens.contract.words import ABLATIONS, SIDES, TOP_HEADS, Side
from twinlens.traces.trace import Trace


def head_keys(trace: Trace) -> Iterator[str]:
    """Blocks a recording keeps."""
    m = trace.manifest
    for side in SIDES:
        yield from (f"heads/{name}/{side}" for name in ("entropy", "previous"))
        answers = ["answer", *range(m.answer_length(side))]
        yield from (f"heads/effect/{side}/{at}" for at in answers)
    yield "heads/circuits"
    yield from ("word_pairs/info", "word_pairs/counts")
    depth, heads = range(m.pair.layers), range(m.pair.heads)
    yield from (f"word_pairs/{layer}/{head}" for layer in depth for head in heads)


def head_block(trace: Trace, parts: Sequence[str], words: Sequence[str]) -> Value | None:
    """A block of `twinlens.contract.blocks` about heads; None for another one."""
    m = trace.manifest
    layers, heads = m.pair.layers, m.pair.heads
    rng = np.random.default_rng(zlib.crc32("/".join(parts).encode()))
    side: Side = "tuned" if "tuned" in parts else "base"
    length, answer = m.length(side), m.answer_length(side)
    kinds = ABLATIONS if m.shared else ABLATIONS[:2]

    match parts:
        case ["heads", "entropy", _]:
            return (rng.beta(2, 4, size=(length, layers, heads)) * 4).astype(np.float16)
        case ["heads", "previous", _]:
            values = rng.beta(1, 4, size=(length, layers, heads)).astype(np.float16)
            values[0] = 0
            return values
        case ["heads", "effect", _, "answer"]:
            columns = [trace.array(f"heads/effect/{side}/{m}") for m in range(answer)]
            return np.sum(columns, axis=0, dtype=np.float32)
        case ["heads", "effect", _, at] if int(at) < answer:
            return (rng.normal(size=(layers, heads)) ** 3 * 0.1).astype(np.float32)
        case ["heads", "ablation", _, kind, at, *rest] if kind in kinds:
            exact = _exact(trace, side, kind, at)
            match rest:
                case [layer, head]:
                    return exact[int(layer), int(head)].reshape(1)
                case [] | ["so_far"]:
                    order = np.argsort(-np.abs(trace.array(f"heads/effect/{side}/{at}")).ravel())
                    count = TOP_HEADS if not rest else TOP_HEADS // 2
                    table = np.full(exact.size, np.nan, np.float32)
                    table[order[:count]] = exact.ravel()[order[:count]]
                    return table.reshape(exact.shape)
        case ["heads", "circuits"]:
            moved = rng.gamma(2, 0.05, size=(layers, heads, 2))
            both = np.stack([moved, np.cos(moved * 1.2)], axis=-1)  # [L, H, circuit, measure]
            return both.reshape(layers, heads, 4).astype(np.float32)
        case ["word_pairs", "info"]:
            return {
                "parameters": {"top": 100, "z": 1.96, "frequent": 3000, "vocabulary": "made up"},
                "words": len(words),
                "missing": 3,
                "heads_changed": layers * heads - 1,
            }
        case ["word_pairs", "find", word]:
            found = rng.integers(0, 9, size=(layers, heads, 2))
            rows = [
                [layer, head, *map(int, found[layer, head])]
                for layer in range(layers)
                for head in range(heads)
                if found[layer, head].any()
            ]
            return sorted(rows, key=lambda row: row[2] - row[3]) if word in words else []
        case ["word_pairs", "counts"]:
            return rng.poisson(6, size=(layers, heads, 3)).astype(np.float32)
        case ["word_pairs", layer, head] if int(layer) < layers and int(head) < heads:
            rows = []
            for _ in range(int(rng.integers(0, 60))):
                first, second = rng.choice(words, size=2, replace=False)
                base, tuned = rng.integers(0, 8, size=2)
                if base or tuned:
                    rows.append([str(first), str(second), int(base), int(tuned)])
            rows.sort(key=lambda row: -max(row[2:]))
            return {"rows": rows, "left_out": int(rng.integers(0, 5))}
    return None


def _exact(trace: Trace, side: Side, kind: str, at: str) -> Array:
    estimate = trace.array(f"heads/effect/{side}/{at}")
    noise = np.random.default_rng(zlib.crc32(f"{side}{kind}{at}".encode()))
    return (estimate * 0.8 + 0.05 * noise.normal(size=estimate.shape)).astype(np.float32)
