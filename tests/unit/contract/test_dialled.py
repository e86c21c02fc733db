"""Keys of blocks with the update times a scale."""

from __future__ import annotations

import pytest
from twinlens.contract.words import TurnedPart, dialled


@pytest.mark.parametrize(
    ("key", "found"),
    [
        ("dial/0.5/attention/base/3/5", (0.5, TurnedPart(), "attention/base/3/5")),
        ("dial/2/update", (2.0, TurnedPart(), "update")),
        ("dial/0@layer:3/null", (0.0, TurnedPart(layer=3), "null")),
        ("dial/0.5@kind:q_proj/null", (0.5, TurnedPart(kind="q_proj"), "null")),
        ("dial/0.5@direction:17/null", (0.5, TurnedPart(direction=17), "null")),
        ("dial/0.5@head:1/null", None),
        ("dial/0.5@/null", None),
        ("attention/base/3/5", None),
        ("dial/x/update", None),
        ("dialect/1/a", None),
    ],
)
def test_a_scale_and_what_stands_behind_it(key, found):
    assert dialled(key) == found
