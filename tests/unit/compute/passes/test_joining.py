"""Texts that join a pass, beside the same ones alone."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from twinlens.compute.models import architectures
from twinlens.compute.passes.joining import can_join, joining
from twinlens.compute.passes.onward import onward

from tests.support import tiny
from tests.support.saliency import IDS


@pytest.mark.parametrize("family", tiny.ALL)
def test_each_goes_on_as_if_it_were_alone(family: str) -> None:
    model = tiny.model(family)
    assert can_join(model)
    ids = torch.tensor([IDS])
    layers = len(architectures.layers(model))
    ran: list[int] = []
    handles = [
        module.register_forward_hook(lambda _, __, output: ran.append(len(output)))
        for module in (architectures.attention_out(model, layer) for layer in range(layers))
    ]
    begins = {
        1: torch.randn(2, len(IDS), model.config.hidden_size),
        2: torch.randn(1, len(IDS), model.config.hidden_size),
        layers: torch.randn(2, len(IDS), model.config.hidden_size),
    }
    alone: list[Tensor] = []
    with torch.no_grad():
        with joining(model, begins, 0):
            together = model(ids).logits
        assert ran == [2] + [3] * (layers - 2), "none runs for what has not begun"
        for handle in handles:
            handle.remove()
        for layer, streams in begins.items():
            for stream in streams:
                with onward(model, layer, stream, 0):
                    alone.append(model(ids).logits)
    torch.testing.assert_close(together, torch.cat(alone), atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("family", ["opt", "gpt_oss", "mixtral"])
def test_families_that_put_all_texts_end_to_end_are_told(family: str) -> None:
    assert not can_join(tiny.model(family))
