"""How far an estimate can be trusted: its agreement with exact occlusion, for one prompt and model.

Spearman and Pearson correlations are taken per answer token over the scored prompt tokens and
then averaged, so that a token with large effects does not speak for all.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from twinlens.contract.forms import Faithfulness
from twinlens.measures.differences import pearson, spearman

#: Effects below are as small as the difference between two kinds of rounding, in nats.
NOISE_FLOOR = 0.1
#: An answer token depends on the prompt where some prompt token matters by so much, in nats.
MATTERS = 1.0


def faithfulness(
    estimate: npt.ArrayLike, exact: npt.ArrayLike, scored: Sequence[int] | None = None
) -> Faithfulness:
    """Compare an estimate with the exact effects known so far.

    Parameters
    ----------
    estimate : array [N, M]
        In any unit: a column may be scaled by a positive factor.
    exact : array [N, M]
        Drop of log-probability in nats, NaN where it is not known.
    scored : sequence of int, optional
        Prompt tokens that count, all by default.

    Returns
    -------
    Faithfulness
        Columns count towards a correlation if at least three scored cells are exact and neither
        the estimate nor the effect is the same in all of them.
    """
    rows = slice(None) if scored is None else np.asarray(scored, dtype=np.int64)
    guess = np.asarray(estimate, dtype=np.float64)[rows]
    truth = np.asarray(exact, dtype=np.float64)[rows]
    known = np.isfinite(truth) & np.isfinite(guess)
    ranks, lines, hits = [], [], []
    for column in range(truth.shape[1]):
        known_rows = known[:, column]
        a, b = guess[known_rows, column], truth[known_rows, column]
        if len(a) >= 3 and np.ptp(a) > 0 and np.ptp(b) > 0:
            ranks.append(spearman(a, b))
            lines.append(pearson(a, b))
        if known_rows.all() and len(a) > 1 and b.max() >= MATTERS:
            hits.append(float(np.argmax(a) == np.argmax(b)))
    n = int(known.sum())
    loud = np.abs(truth[known]) >= NOISE_FLOOR
    return Faithfulness(
        spearman=_mean(ranks),
        pearson=_mean(lines),
        top1=_mean(hits),
        above_noise=float(loud.mean()) if n else None,
        columns=len(ranks),
        columns_top1=len(hits),
        n=n,
        cells=int(truth.size),
    )


def _mean(values: list[float]) -> float | None:
    return float(np.mean(values)) if values else None
