"""How much each part should carry: gates integrated along the path from tuned's parts to base's.

All gates open together from 0 to 1; the derivative of KL(exchanged || base) by each gate,
integrated along the way, adds up to KL(tuned || base) over all parts. One gradient at tuned would
not do: where the answer is certain it vanishes.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from twinlens.compute.exchange.passes import Exchange, divergence
from twinlens.support.progress import Report

#: Points on the path, those of Gauss and Legendre.
STEPS = 8


def points_on_the_way() -> list[tuple[float, float]]:
    """Places between 0 and 1, and their weights in an integral."""
    nodes, weights = np.polynomial.legendre.leggauss(STEPS)
    return list(zip(((nodes + 1) / 2).tolist(), (weights / 2).tolist(), strict=True))


@torch.inference_mode(False)
def integrated_gates(
    exchange: Exchange, columns: Sequence[int | None] = (None,), report: Report | None = None
) -> Tensor:
    """Share of KL(tuned || base) that each part takes away on the path, nats.

    Parameters
    ----------
    columns : sequence of int or None
        Answer tokens, a backward pass each at every step; None for the sum over the answer.
    report : callable, optional
        Told the steps done; may raise `Interrupted`.

    Returns
    -------
    float64 tensor [columns, P]
    """
    total = torch.zeros(len(columns), exchange.layout.count, dtype=torch.float64)
    for step, (point, weight) in enumerate(points_on_the_way()):
        gates = torch.full(
            (1, exchange.layout.count), point, dtype=torch.float32, requires_grad=True
        )
        with torch.enable_grad():
            apart = divergence(exchange.logprobs(gates), exchange.donor_logprobs)[0]
            targets = [apart.sum() if column is None else apart[column] for column in columns]
        for place, target in enumerate(targets):
            (slope,) = torch.autograd.grad(target, gates, retain_graph=True)
            total[place] -= slope[0].double() * weight
        if report:
            report(step + 1, STEPS, "which parts carry the difference: estimate")
    return total
