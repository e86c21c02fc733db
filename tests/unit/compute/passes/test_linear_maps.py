"""Products of tokens with weights, however few the tokens are."""

from __future__ import annotations

import pytest
import torch
from twinlens.compute.passes.linear_maps import add_mapped, mapped


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
@pytest.mark.parametrize("tokens", [1, 2, 3, 7])
def test_equal_products_in_float64(tokens: int, dtype: torch.dtype) -> None:
    torch.manual_seed(tokens)
    states, weight = torch.randn(tokens, 24).to(dtype), torch.randn(10, 24).to(dtype)
    expected = states.double() @ weight.double().t()
    tolerance = torch.finfo(dtype).eps * 64
    # Room for them may be part of something wider.
    room = torch.full((tokens + 1, 16), 7.0, dtype=dtype)
    result = mapped(states, weight, room[:tokens, :10])
    assert result.data_ptr() == room.data_ptr()
    torch.testing.assert_close(result.double(), expected, atol=tolerance, rtol=tolerance)
    assert (room[tokens:] == 7).all()
    assert (room[:, 10:] == 7).all()
    total = torch.ones(tokens, 10, dtype=dtype)
    add_mapped(total, states, weight)
    torch.testing.assert_close(total.double(), expected + 1, atol=tolerance, rtol=tolerance)
