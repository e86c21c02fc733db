"""What blocks are said to take before their kind was seen."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from twinlens.contract import blocks
from twinlens.contract.wire import Value
from twinlens.contract.words import EXACT
from twinlens.support.progress import Report
from twinlens.traces.block_times import usual_seconds

from tests.support.made_up import MadeUpTrace, manifest


class Computing(MadeUpTrace):
    """One whose models are so many nats apart."""

    computes = True
    apart = 0.0
    there: tuple[str, ...] = ()

    def known(self, key: str) -> Value | None:
        return self.block(key) if key in self.there else None

    def block(self, key: str, report: Report | None = None) -> Value:
        if key == blocks.disagreement():
            return np.full(self.manifest.answer_length("tuned"), self.apart, np.float32)
        return super().block(key, report)


def times(apart: float, parameters: int = 134_515_008) -> dict[str, float]:
    made = manifest()
    pair = replace(made.pair, base=replace(made.pair.base, parameters=parameters))
    trace = Computing(replace(made, pair=pair))
    trace.apart = apart
    usual = usual_seconds(trace)
    exact = sum(usual(blocks.saliency(side, EXACT)) for side in ("base", "tuned"))
    return {"findings": usual(blocks.findings()), "exact": exact}


def test_what_findings_ask_for_counts_once():
    little, much = times(0.01), times(5.0)
    assert little["exact"] > 0
    assert much["exact"] == 0
    assert much["findings"] > little["findings"] + little["exact"]


def test_what_findings_did_not_ask_for_is_still_to_come():
    trace = Computing(manifest())
    trace.apart, trace.there = 5.0, (blocks.findings(),)
    usual = usual_seconds(trace)
    assert usual(blocks.findings()) == 0
    assert usual(blocks.saliency("base", EXACT)) > 0


def test_larger_models_take_longer():
    wide, narrow = times(5.0, 8_000_000_000), times(5.0)
    assert wide["findings"] == pytest.approx(narrow["findings"] * 8e9 / 134_515_008)


def test_what_is_there_takes_nothing():
    trace = Computing(manifest())
    trace.computes = False
    assert usual_seconds(trace)(blocks.findings()) == 0
