"""Arguments of public functions are what their annotations say, or are refused by name."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from twinlens.contract.words import Side
from twinlens.errors import ArgumentError, PromptError
from twinlens.support.calls import called_rightly

ran: list[Any] = []


@called_rightly
def shown(
    text: str,
    count: int = 1,
    *,
    share: float | None = None,
    flag: bool | str | None = None,
    side: Side = "base",
    many: Sequence[int] = (),
) -> int:
    ran.append(text)
    if not text.strip():
        raise PromptError("the text is empty")
    return len(text) * count + len(many) + (1 if flag else 0)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"text": np.array(["a", "b"])}, "text is a text, not array(['a', 'b']"),
        ({"count": np.array([1, 2])}, "count is a whole number, not array([1, 2])"),
        ({"share": pd.Series([1.0])}, "share is a number, not 0 1.0 dtype: float64"),
        ({"flag": np.array([True, False])}, "flag is True or False, or a text, not array("),
        ({"flag": torch.zeros(2)}, "flag is True or False, or a text, not tensor([0., 0.])"),
        ({"side": np.zeros((2, 2))}, 'side is "base" or "tuned", not array([[0., 0'),
    ],
)
def test_an_array_in_place_of_one_value_is_refused_before_it_begins(
    arguments: dict[str, Any], says: str
) -> None:
    ran.clear()
    with pytest.raises(ArgumentError) as refused:
        shown(**{"text": "ab", **arguments})
    assert says in str(refused.value)
    assert "\n" not in str(refused.value)
    assert not ran


def test_what_fails_on_a_wrong_kind_says_so() -> None:
    with pytest.raises(ArgumentError, match="text is a text, not 3"):
        shown(3)  # type: ignore[arg-type]
    with pytest.raises(ArgumentError, match="count is a whole number, not 'b'"):
        shown("a", "b")  # type: ignore[arg-type]


def test_what_a_message_quotes_stays_in_bounds() -> None:
    said = str(ArgumentError(f"there is no side {'a' * 5000}\n{np.zeros((2, 2))}: use one of two"))
    assert said.startswith("there is no side aaa")
    assert said.endswith("[[0. 0.]  [0. 0.]]: use one of two")
    assert len(said) < 300


def test_what_is_right_is_left_alone() -> None:
    assert shown("ab", np.int64(2), share=np.float32(1), flag=np.bool_(True)) == 5
    assert shown("ab", np.array(2), many=np.array([1, 2])) == 6
    assert type(shown("ab", np.int64(2))) is int
    with pytest.raises(PromptError, match="the text is empty"):
        shown(" ")
    with pytest.raises(TypeError):  # none of these: an error of the function's own
        shown("a", many=None)  # type: ignore[arg-type]
