"""What a long text needs is known before a model runs."""

from __future__ import annotations

from collections import namedtuple
from typing import Any

import pytest
from twinlens.compute.live.live import trace_pair
from twinlens.compute.pair import Pair
from twinlens.compute.passes import footprint
from twinlens.compute.passes.capture import capture
from twinlens.errors import MemoryNeededError

from tests.support import tiny


def test_it_is_what_a_pass_leaves(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(footprint, "_SCORES", 0)
    length = 40
    with pair.model("base") as model:
        kept = capture(model, [5] * length, 30, side="base")
    tensors = (kept.heads, kept.attention_out, kept.feed_forward_out, kept.residual, kept.neurons)
    held = sum(tensor.nbytes for tensor in tensors) + kept.attention.packed.nbytes
    assert footprint.footprint(pair, length) == pytest.approx(2 * held, rel=0.1)


def test_text_that_does_not_fit_is_refused_before_a_model_runs(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    memory = namedtuple("memory", "available")(20_000)
    monkeypatch.setattr(footprint.psutil, "virtual_memory", lambda: memory)
    monkeypatch.setattr(pair, "model", None)
    with pytest.raises(MemoryNeededError, match="tokens with both models takes about"):
        trace_pair(pair, tiny.PROMPT, max_new_tokens=4)


def test_much_of_it_is_said(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(footprint, "_WORTH_SAYING", 1000)
    said: list[Any] = []
    footprint.check_footprint(pair, 50, lambda *state: said.append(state))
    assert said == [(0, 2, "reading 50 tokens, about 0.0 GB of memory")]
