"""The block of the panel: what it says is what the update says."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import torch
from twinlens.compute.live.live import trace_pair
from twinlens.compute.pair import demo_pair, load_pair
from twinlens.contract import blocks
from twinlens.errors import ArgumentError

from tests.support import tiny


def test_the_block_says_what_the_update_does(tmp_path: Path) -> None:
    pair = load_pair(*tiny.save_pair(tmp_path, hidden_size=16, num_hidden_layers=2))
    trace = trace_pair(pair, tiny.PROMPT, answer=" plain words")
    assert blocks.update() not in set(trace.keys())
    taken = trace.block(blocks.update())
    assert blocks.update() in set(trace.keys())
    on = pair.taken_apart().on(tiny.PROMPT, answer=" plain words")
    assert taken["shift"] == pytest.approx(on.shift.nats)
    assert taken["total"] == pytest.approx(taken["shift"], rel=0.01, abs=2e-3)
    first = taken["directions"][0]
    assert first["effect"] == pytest.approx(float(on.effects().directions[first["index"]]))
    assert first["measured"] == pytest.approx(first["effect"], rel=0.1)
    assert sum(nats for _, nats in on.tokens(first["index"])) == pytest.approx(first["effect"])
    for curve in taken["curves"]:
        assert curve["kept"][0] == pytest.approx(taken["rest"])
        assert curve["kept"][-1] == pytest.approx(1, abs=1e-3)
    assert dict(taken["dial"])[0.0] == pytest.approx(on.shift.base, abs=1e-5)
    assert len(taken["dial_answers"]) == len(taken["dial"])
    assert dict(taken["dial"])[1.0] == pytest.approx(on.shift.tuned, abs=1e-5)


def test_no_update_is_said_in_one_sentence(tmp_path: Path) -> None:
    base, _ = tiny.save_pair(tmp_path)
    trace = trace_pair(load_pair(base, base), tiny.PROMPT, answer=" plain")
    with pytest.raises(ArgumentError, match="changed no matrix"):
        trace.block(blocks.update())


@pytest.mark.parametrize("kind", ["rounded", "noise", "trained"])
@pytest.mark.slow
def test_of_real_nulls_nothing_is_said(kind: str) -> None:
    """The embedded base beside itself rounded, and with noise as large as the update was."""
    demo = demo_pair()
    with demo.model("base") as base, demo.model("tuned") as tuned:
        first, second = copy.deepcopy(base), copy.deepcopy(tuned)
    made = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for ours, theirs in zip(first.parameters(), second.parameters(), strict=True):
            if kind == "rounded":
                theirs.copy_(ours.bfloat16())
            elif kind == "noise":
                drawn = torch.randn(ours.shape, generator=made)
                theirs.copy_(ours + drawn * ((theirs - ours).norm() / drawn.norm()))
    pair = load_pair(first, second, tokenizer=demo.tokenizers["tuned"])
    prompt = "Make this sentence negative: The cat swims."
    trace = trace_pair(pair, prompt, template="tuned", response="tuned", max_new_tokens=8)
    assert bool(trace.block(blocks.update_finding())) == (kind == "trained")
