from __future__ import annotations

import io

import pytest
from tqdm import tqdm
from twinlens.support import progress


class Terminal(io.StringIO):
    def isatty(self):
        return True


class Drawn(tqdm):
    """A bar that draws into memory."""

    made: list[Drawn]
    screen = Terminal

    def __init__(self, *args, **kwargs):
        super().__init__(*args, file=self.screen(), mininterval=0, **kwargs)
        Drawn.made.append(self)

    @property
    def text(self):
        return self.fp.getvalue()


@pytest.fixture(autouse=True)
def bars():
    Drawn.made = []


def test_work_that_lasts_is_shown(monkeypatch):
    monkeypatch.setattr(progress, "PATIENCE", 0)
    with progress.progress("recording", Drawn) as report:
        report(0, 4, "saliency/base")
        report(3, 4, "heads/change")
        (bar,) = Drawn.made
        assert "heads/change" in bar.text
        assert "75%" in bar.text


def test_short_work_draws_nothing():
    with progress.progress("recording", Drawn) as report:
        report(1, 2, "saliency/base")
    assert Drawn.made[0].text == ""


def test_a_bar_ends_full_however_far_it_came():
    with progress.progress("recording", Drawn) as report:
        report(1, 5, "saliency/base")
    assert Drawn.made[0].n == Drawn.made[0].total


def test_a_bar_is_silent_where_the_stream_is_no_terminal(monkeypatch):
    monkeypatch.setattr(progress, "PATIENCE", 0)
    stream = io.StringIO()

    def bar(**settings):
        return tqdm(file=stream, mininterval=0, **settings)

    with progress.progress("recording", bar) as report:
        report(1, 2, "saliency/base")
        report(2, 2, "saliency/base")
    assert stream.getvalue() == ""


def test_steps_count_by_what_their_kind_was_seen_to_last(monkeypatch):
    """Ten seconds for the first of a thousand steps do not make it ten thousand."""
    clock = iter([0.0, 10.0, *(10.0 + 0.01 * i for i in range(1, 1000))])
    monkeypatch.setattr(progress.time, "perf_counter", lambda: next(clock))
    shares = []
    steps = ["findings", *[f"attention/{number}" for number in range(1000)]]
    remaining = progress.Remaining(steps, lambda done, total, what: shares.append(done / total))
    for step in steps:
        remaining.begin(step)
    assert shares[0] == 0
    assert shares[1] == pytest.approx(10 / (10 + 1000 * 0.005), abs=0.001)
    assert shares[2] == pytest.approx(10.01 / 20, abs=0.001)
    assert shares[-1] > 0.998
    assert shares[2:] == sorted(shares[2:])
