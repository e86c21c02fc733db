"""Where in the prompt the effects on the answer come from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np

from twinlens.contract.wire import Array
from twinlens.contract.words import SEGMENTS, Segment, Side, Unit
from twinlens.support.progress import Report
from twinlens.traces.marks import groups
from twinlens.traces.trace import Trace


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
    marked = marked_segments(trace, segments)
    name = method or trace.manifest.first_method
    positive = np.maximum(trace.saliency(side, name, report).values.astype(np.float64), 0.0)
    unit = next((m.unit for m in trace.manifest.methods if m.name == name), "token")
    # The effect of a group stands at each of its tokens, but counts once.
    for group in groups(tokens, cast(Unit, unit)):
        positive[group] /= len(group)
    sums = {
        segment: positive[
            [i for i, token_segment in enumerate(marked) if token_segment == segment]
        ].sum(axis=0)
        for segment in SEGMENTS
    }
    total = positive.sum(axis=0)
    total_effect = float(total.sum())
    return EffectShares(
        overall={
            s: float(row.sum()) / total_effect if total_effect else 0.0 for s, row in sums.items()
        },
        along={
            s: np.divide(row, total, out=np.zeros_like(row), where=total > 0)
            for s, row in sums.items()
        },
        covers_everything=set(marked) - {"special", "template"} == {"instruction"},
    )


def marked_segments(trace: Trace, segments: Sequence[Segment] | None) -> list[Segment]:
    """Segment of every prompt token: the given ones, or the trace's own."""
    tokens = trace.manifest.prompt_tokens
    marked = [token.segment for token in tokens] if segments is None else list(segments)
    if len(marked) != len(tokens):
        raise ValueError(f"give a segment for each of the {len(tokens)} prompt tokens")
    return marked
