"""What a trace says in a few numbers: densities, scores, the heads and layers that changed most."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from twinlens.contract import blocks
from twinlens.contract.wire import Array
from twinlens.contract.words import Segment, Side
from twinlens.measures.density import DensityParameters, density_of_importance, instruction_score
from twinlens.measures.effect_shares import marked_segments
from twinlens.support.progress import Report
from twinlens.traces.trace import Trace

SCORED_SEGMENTS: tuple[Segment, ...] = ("instruction", "context", "other")


def trace_density(
    trace: Trace,
    side: Side,
    method: str | None = None,
    parameters: DensityParameters | None = None,
    report: Report | None = None,
) -> Array:
    """Importance density of every prompt token of one model, shape [N].

    Special and template tokens neither set the maximum nor count; theirs is given all the same.
    """
    values = trace.saliency(side, method or trace.manifest.score_method, report).values
    scored = trace.manifest.segment_positions(*SCORED_SEGMENTS)
    return density_of_importance(values, parameters, scored)


def trace_score(
    trace: Trace,
    side: Side,
    method: str | None = None,
    parameters: DensityParameters | None = None,
    report: Report | None = None,
    segments: Sequence[Segment] | None = None,
) -> float:
    """The paper's instruction score of one model on this prompt (`instruction_score`).

    `segments` marks the spans anew, as in `effect_shares`.
    """
    settings = parameters or DensityParameters()
    density = trace_density(trace, side, method, settings, report)
    marked = marked_segments(trace, segments)
    instruction = [i for i, segment in enumerate(marked) if segment == "instruction"]
    return instruction_score(density, instruction, settings.aggregation)


def changed_heads(trace: Trace, count: int = 5) -> list[tuple[int, int, float]]:
    """The heads whose patterns changed most: (layer, head, mean divergence in bits)."""
    change = trace.head_change()
    order = np.argsort(-change, axis=None, kind="stable")[: min(count, np.isfinite(change).sum())]
    layers, heads = np.unravel_index(order, change.shape)
    return [(int(i), int(j), float(change[i, j])) for i, j in zip(layers, heads, strict=True)]


def changed_layers(trace: Trace, count: int = 3) -> list[tuple[int, dict[str, Any]]]:
    """The layers whose outputs changed most, with the shift of each part at each."""
    shifts = {
        name: trace.array(blocks.SHIFTS[name]()).mean(axis=0)
        for name in ("attention", "feed_forward")
    }
    total = sum(shifts.values())
    order = np.argsort(-total, kind="stable")[:count]
    return [(int(i), {name: float(shift[i]) for name, shift in shifts.items()}) for i in order]
