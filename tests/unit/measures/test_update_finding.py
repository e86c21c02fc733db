"""What is said of an update taken apart: above its null only."""

from __future__ import annotations

from typing import Any

import pytest
from twinlens.contract import blocks
from twinlens.measures.findings import update_finding
from twinlens.measures.plain_text import findings_of

from tests.support.made_up import MadeUpTrace
from tests.unit.measures.test_findings import Planted, copying, null, step, str_of


def taken(**changes: Any) -> dict[str, Any]:
    """An update of 6,144 directions of which 80 keep 90 % of 33 nats."""
    found = {
        **MadeUpTrace().block(blocks.update()),  # type: ignore[dict-item]
        "shift": 33.2,
        "count": 6144,
        "needed": 80,
        "kept": 0.901,
        "size": 0.31,
        "drawn": [0.20, 0.22, 0.21, 0.24, 0.19],
        "random": [-0.3, 0.2, 0.1, -0.1, 0.4],
    }
    return copying(4) | {blocks.update(): found | changes}


def test_few_directions_are_named_with_sets_beside_them() -> None:
    (found,) = update_finding(Planted(taken()))
    said = str_of([found])
    assert said.startswith(
        "80 of 6,144 directions keep it. 1.3 % of the update’s directions, alone, keep 90 % of "
        "33.2 nats; as many by size keep 31 %, random ones 21 %, at most 24 %. [measured as a set; "
        "p below 0.0001: five random sets, and random updates of equal size, which shift it by "
        "−0.3, +0.2, +0.1, −0.1 and +0.4 nats]"
    )
    assert found["panel"] == "update"
    # It joins the others, where nothing has to be computed for it.
    trace = Planted(taken())
    assert said not in str(findings_of(trace))
    trace.computes = False
    assert str(findings_of(trace)).endswith(said)


@pytest.mark.parametrize(
    "changes",
    [
        {"random": [30.0, -20.0, 10.0, -35.0, 5.0]},  # random updates shift it as far
        {"drawn": [0.2, 0.9, 0.5, 0.88, 0.1]},  # random sets keep as much
        {"size": 0.95},
        {"kept": 0.8},
        {"needed": 4000},
        {"needed": 0},
        {"shift": 0.9},
    ],
)
def test_below_a_null_nothing_is_said(changes: dict[str, Any]) -> None:
    assert update_finding(Planted(taken(**changes))) == []


def test_nothing_is_said_of_a_pair_that_is_not_told_from_noise() -> None:
    assert update_finding(Planted(taken() | {blocks.null(): null(1.0)})) == []
    same = taken() | {blocks.answer_steps(): [step(0.0)] * 5}
    assert update_finding(Planted(same)) == []
