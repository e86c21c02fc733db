"""Base against tuned: divergences and differences of arrays, and readings of a trace."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import numpy.typing as npt

from twinlens.contract.wire import Array
from twinlens.contract.words import SEGMENTS, Segment, Side
from twinlens.density import DensityParameters, density_of_importance, instruction_score
from twinlens.support.progress import Report
from twinlens.traces.grouping import Unit, groups
from twinlens.traces.trace import Trace

SCORED_SEGMENTS: tuple[Segment, ...] = ("instruction", "context", "other")


def jensen_shannon(p: npt.ArrayLike, q: npt.ArrayLike) -> Array:
    """Jensen-Shannon divergence in bits along the last axis: 0 the same, 1 nothing in common.

    Parameters
    ----------
    p, q : arrays of one shape [..., n]
        Non-negative rows that sum to 1.

    Returns
    -------
    float array, shape [...]
    """
    first, second = np.asarray(p), np.asarray(q)
    middle = (first + second) / 2

    def relative_entropy(row: Array) -> Array:
        ratio = np.divide(row, middle, out=np.ones_like(middle), where=row > 0)
        return np.asarray((row * np.log2(ratio)).sum(axis=-1))

    divergence = (relative_entropy(first) + relative_entropy(second)) / 2
    return np.asarray(np.clip(divergence, 0.0, 1.0))


def relative_difference(base: npt.ArrayLike, tuned: npt.ArrayLike) -> Array:
    """``||tuned - base|| / mean(||tuned||, ||base||)`` along the last axis, 0 where both vanish."""
    first, second = np.asarray(base), np.asarray(tuned)
    scale = (np.linalg.norm(first, axis=-1) + np.linalg.norm(second, axis=-1)) / 2
    distance = np.linalg.norm(second - first, axis=-1)
    return np.asarray(np.divide(distance, scale, out=np.zeros_like(distance), where=scale > 0))


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
    values = trace.saliency(side, method, report).values
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
    marked = _marked(trace, segments)
    instruction = [i for i, segment in enumerate(marked) if segment == "instruction"]
    return instruction_score(density, instruction, settings.aggregation)


def changed_heads(trace: Trace, count: int = 5) -> list[tuple[int, int, float]]:
    """The heads whose patterns changed most: (layer, head, mean divergence in bits)."""
    change = trace.head_change()
    order = np.argsort(-change, axis=None, kind="stable")[:count]
    layers, heads = np.unravel_index(order, change.shape)
    return [(int(i), int(j), float(change[i, j])) for i, j in zip(layers, heads, strict=True)]


def changed_layers(trace: Trace, count: int = 3) -> list[tuple[int, dict[str, Any]]]:
    """The layers whose outputs changed most, with the shift of each part at each."""
    parts = {
        name: trace.array(f"shift/{name}").mean(axis=0) for name in ("attention", "feed_forward")
    }
    total = sum(parts.values())
    order = np.argsort(-total, kind="stable")[:count]
    return [(int(i), {name: float(part[i]) for name, part in parts.items()}) for i in order]


@dataclass(frozen=True)
class EffectShares:
    """Where in the prompt the positive effects on the answer come from.

    Attributes
    ----------
    overall : dict of Segment to float
        Share of the whole positive effect; they add up to 1, or are 0 where there is none.
    along : dict of Segment to float array [M]
        The same for each answer token.
    covers_everything : bool
        Whether the instruction is all there is beside special and template tokens: its share then
        says how much the template matters, not where the model looks.
    """

    overall: dict[Segment, float]
    along: dict[Segment, Array]
    covers_everything: bool


def effect_shares(
    trace: Trace,
    side: Side,
    method: str | None = None,
    segments: Sequence[Segment] | None = None,
    report: Report | None = None,
) -> EffectShares:
    """Share of the positive effect on each segment of the prompt, overall and along the answer.

    Parameters
    ----------
    segments : sequence of Segment, optional
        Segment of each prompt token, to mark spans anew; the trace's own by default. Needs the
        values only, no model.

    Raises
    ------
    ValueError
        If there is not one segment for each prompt token.
    """
    tokens = trace.manifest.prompt_tokens
    marked = _marked(trace, segments)
    name = method or trace.manifest.methods[0].name
    positive = np.maximum(trace.saliency(side, name, report).values.astype(np.float64), 0.0)
    unit = next((m.unit for m in trace.manifest.methods if m.name == name), "token")
    # The effect of a group stands at each of its tokens, but counts once.
    for group in groups(tokens, cast(Unit, unit)):
        positive[group] /= len(group)
    sums = {
        segment: positive[[i for i, own in enumerate(marked) if own == segment]].sum(axis=0)
        for segment in SEGMENTS
    }
    total = positive.sum(axis=0)
    whole = float(total.sum())
    return EffectShares(
        overall={s: float(row.sum()) / whole if whole else 0.0 for s, row in sums.items()},
        along={
            s: np.divide(row, total, out=np.zeros_like(row), where=total > 0)
            for s, row in sums.items()
        },
        covers_everything=set(marked) - {"special", "template"} == {"instruction"},
    )


def _marked(trace: Trace, segments: Sequence[Segment] | None) -> list[Segment]:
    tokens = trace.manifest.prompt_tokens
    marked = [token.segment for token in tokens] if segments is None else list(segments)
    if len(marked) != len(tokens):
        raise ValueError(f"give a segment for each of the {len(tokens)} prompt tokens")
    return marked
