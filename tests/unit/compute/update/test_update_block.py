"""The block of the panel: what it says is what the update says."""

from __future__ import annotations

from pathlib import Path

import pytest
from twinlens.compute.live.live import trace_pair
from twinlens.compute.pair import load_pair
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
    assert dict(taken["dial"])[1.0] == pytest.approx(on.shift.tuned, abs=1e-5)


def test_no_update_is_said_in_one_sentence(tmp_path: Path) -> None:
    base, _ = tiny.save_pair(tmp_path)
    trace = trace_pair(load_pair(base, base), tiny.PROMPT, answer=" plain")
    with pytest.raises(ArgumentError, match="changed no matrix"):
        trace.block(blocks.update())
