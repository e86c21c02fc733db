"""Whether a pair differs by more than chance: by where its update points, or by where it is.

The two tails are written out: a recording is read without SciPy, whose import takes longer than
opening one.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from twinlens.contract.forms import AnswerStep, ChangedBlock, Null

#: Chance that a pair may be told from one that learned nothing by accident.
LEVEL = 1e-4
#: Nats per token below which models predict the same: several times the rounding of their sums.
_FLOOR = 1e-3
#: Predictions have to differ by this many times what rounding tuned to bfloat16 does.
_ROUNDINGS = 2.0
#: How many times as far as chance an update that points somewhere moves predictions.
_TIMES = 2.0
#: Largest share of all weights that an update of some places changes.
_FEW = 0.5


def same(steps: Sequence[AnswerStep]) -> bool:
    """Whether both models predict the same but for the rounding of sums."""
    return sum(step["kl"] for step in steps) <= _FLOOR * len(steps)


def distinguishable(steps: Sequence[AnswerStep], null: Null) -> bool:
    """Whether tuned's predictions differ from base's by more than what learns nothing does.

    They have to differ by more than rounding, and the update has to point somewhere (`p_value`) or
    to leave most of the weights as they are (`changed_places`): noise and rounding do neither.
    """
    kl = sum(step["kl"] for step in steps)
    if same(steps) or kl <= _ROUNDINGS * sum(null["rounding"]):
        return False
    if changed_places(null):
        return True
    return times_as_far(null) > _TIMES and p_value(null["update"], null["scrambled"]) < LEVEL


def p_value(update: Sequence[float], scrambled: Sequence[Sequence[float]]) -> float:
    """Chance of an update without direction to move predictions as far as this one does.

    Under noise the update is one more draw of its signs. By Student's t on the logarithms of the
    distances, since few draws cannot show a small chance as a rank.

    Parameters
    ----------
    update, scrambled : sequences of float
        As in `Null`.
    """
    drawn = np.array([_log_distance(kl) for kl in scrambled])
    if np.ptp(drawn) == 0:
        return 1.0
    spread = float(drawn.std(ddof=1)) * np.sqrt(1 + 1 / len(drawn))
    return student_tail((_log_distance(update) - drawn.mean()) / spread, len(drawn) - 1)


def beyond(value: float, drawn: Sequence[float]) -> float:
    """Chance that a value is as far from some draws, either way, if it is one more of them.

    By Student's t; 1 where there are fewer than three draws.
    """
    if len(drawn) < 3:
        return 1.0
    spread = float(np.std(drawn, ddof=1)) * math.sqrt(1 + 1 / len(drawn))
    apart = abs(value - float(np.mean(drawn)))
    if spread == 0:
        return float(apart == 0)
    return 2 * student_tail(apart / spread, len(drawn) - 1)


def student_tail(t: float, df: int) -> float:
    """Chance of Student's t above `t` (Abramowitz and Stegun, 26.7.3 and 26.7.4).

    Chances below 1e-14 are rounding.

    Parameters
    ----------
    df : int
        Degrees of freedom, at least 1.
    """
    angle = math.atan2(t, math.sqrt(df))
    sine, cosine = math.sin(angle), math.cos(angle)
    odd = df % 2
    term = cosine if odd else 1.0
    series = term if df > 1 else 0.0
    for k in range(2 + odd, df - 1, 2):
        term *= cosine**2 * (k - 1) / k
        series += term
    inside = (angle + sine * series) * 2 / math.pi if odd else sine * series
    return (1 - inside) / 2


def binomial_tail(hits: int, asked: int, chance: float) -> float:
    """Chance of at least so many hits.

    Parameters
    ----------
    chance : float
        Of each, from 0 to 1.
    """
    if not 0 < chance < 1:
        return float(hits <= (asked if chance else 0))
    # By logarithms: a long answer has more ways of a hit than a float can count.
    return math.fsum(
        math.exp(
            math.lgamma(asked + 1)
            - math.lgamma(k + 1)
            - math.lgamma(asked - k + 1)
            + k * math.log(chance)
            + (asked - k) * math.log1p(-chance)
        )
        for k in range(hits, asked + 1)
    )


def times_as_far(null: Null) -> float:
    """How many times as far as with other signs the update moves predictions."""
    drawn = float(np.mean([_log_distance(kl) for kl in null["scrambled"]]))
    return math.exp(_log_distance(null["update"]) - drawn)


def _log_distance(kl: Sequence[float]) -> float:
    """How far predictions moved: KL of a small move is half its squared length."""
    return math.log(max(float(np.sqrt(np.maximum(kl, 0)).sum()), 1e-12))


def changed_places(null: Null) -> list[ChangedBlock]:
    """Blocks that were changed, farthest first, where they hold the smaller part of all weights."""
    places = [block for block in null["changed"] if block["length"] > 0]
    if sum(block["weights"] for block in places) > _FEW:
        return []
    return sorted(places, key=lambda block: -block["length"])
