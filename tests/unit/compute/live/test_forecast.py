"""What is said to be left of a recording, beside what it took."""

from __future__ import annotations

import time

import pytest
from twinlens.compute.live.live import trace_pair
from twinlens.compute.pair import demo_pair
from twinlens.support import progress
from twinlens.traces import recording

PROMPT = "Rewrite this sentence in capital letters: The small dog sleeps."


@pytest.mark.slow
def test_after_a_fifth_the_end_is_known_to_a_factor_of_two_and_a_half(tmp_path, monkeypatch):
    trace = trace_pair(demo_pair(), PROMPT, instruction="Rewrite this sentence in capital letters")
    # Other work on the machine makes no step longer, nor what another test left to other threads.
    monkeypatch.setattr(progress.time, "perf_counter", time.thread_time)
    told = []
    start = time.thread_time()
    recording.write(
        trace,
        tmp_path / "a.twl",
        lambda done, total, what: told.append((time.thread_time() - start, done / total, what)),
    )
    took = time.thread_time() - start
    forecasts = [spent / share for spent, share, _ in told if 0.2 * took < spent < 0.9 * took]
    assert len(forecasts) > 100
    assert took / 2.5 < min(forecasts) <= max(forecasts) < 2.5 * took
    # Long steps are reported from inside, too.
    assert len({what for _, _, what in told}.difference(trace.keys())) > 1
