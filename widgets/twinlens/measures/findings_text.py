"""Findings as text, JSON and a table."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import cast

from twinlens.contract.forms import Finding, Null, Run
from twinlens.contract.words import SELECTION_DEFAULTS
from twinlens.traces.frames import DataFrame, frame_of

#: Chance that a sentence may have, shared by all kinds of findings.
SENTENCE_LEVEL = 0.05 / 8
#: Nats from which something is said to cost, and by which the costs of two models differ.
COST = 1.0
#: How many times as far as rounding an effect has to go.
_ROUNDINGS = 2.0


class Findings(list[Finding]):
    """Findings as a list of plain JSON values; as text, a sentence each."""

    def __str__(self) -> str:
        return "\n".join(map(_sentence, self))

    __repr__ = __str__

    def to_json(self) -> list[Finding]:
        """Plain JSON values: kind, title, text, how it was checked, what shows it."""
        return [Finding(**finding) for finding in self]

    def to_frame(self) -> DataFrame:
        """One row per finding: what kind it is, its sentence, and how it was checked."""
        return frame_of(
            [
                {
                    "kind": finding["kind"],
                    "finding": _sentence(Finding(**{**finding, "checked": ""})),
                    "checked": finding["checked"],
                    "panel": finding["panel"],
                }
                for finding in self
            ]
        )


def _sentence(finding: Finding) -> str:
    text = "".join(piece for _, piece in finding["text"])
    checked = f" [{finding['checked']}]" if finding["checked"] else ""
    return f"{finding['title']} {text}{checked}"


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
