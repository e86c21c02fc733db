"""What all findings are stated by: their form, and what a number has to exceed."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import cast

from twinlens.contract.forms import Finding, Null, Run
from twinlens.contract.words import SELECTION_DEFAULTS

#: Chance that a sentence may have, shared by all kinds of findings.
SENTENCE_LEVEL = 0.05 / 8
#: Nats from which something is said to cost, and by which the costs of two models differ.
COST = 1.0
#: How many times as far as rounding an effect has to go.
_ROUNDINGS = 2.0


def noise_floor(null: Null) -> float:
    """Nats that have to be exceeded: several times what rounding tuned to bfloat16 moves."""
    return max(COST, _ROUNDINGS * sum(math.sqrt(2 * max(kl, 0)) for kl in null["rounding"]))


def finding(
    kind: str, title: str, text: Sequence[Run], checked: str, panel: str, **selection: int
) -> Finding:
    """A finding as plain JSON; what it selects is named."""
    return Finding(
        kind=kind,
        title=title,
        text=[cast(Run, list(run)) for run in text],  # as they come back from JSON
        checked=checked,
        panel=panel,
        selection={**SELECTION_DEFAULTS, **selection},
    )
