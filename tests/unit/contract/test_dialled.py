"""Keys of blocks with the update times a scale."""

from __future__ import annotations

import pytest
from twinlens.contract.dialled import dialled


@pytest.mark.parametrize(
    ("key", "found"),
    [
        ("dial/0.5/attention/base/3/5", (0.5, "attention/base/3/5")),
        ("dial/2/update", (2.0, "update")),
        ("attention/base/3/5", None),
        ("dial/x/update", None),
        ("dialect/1/a", None),
    ],
)
def test_a_scale_and_what_stands_behind_it(key, found):
    assert dialled(key) == found
