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
    remaining = progress.Remaining(lambda done, total, what: shares.append(done / total))
    remaining.plan(steps)
    for step in steps:
        remaining.begin(step)
    assert shares[0] == 0
    assert shares[1] == pytest.approx(10 / (10 + 1000 * 0.005), abs=0.001)
    assert shares[2] == pytest.approx(10.01 / 20, abs=0.001)
    assert shares[-1] > 0.998
    assert shares[2:] == sorted(shares[2:])


def test_kinds_not_seen_yet_take_what_they_take_elsewhere_at_the_speed_of_those_seen(monkeypatch):
    clock = iter([0.0, 5.0, 10.0, 10.0, 12.0, 12.0])
    monkeypatch.setattr(progress.time, "perf_counter", lambda: next(clock))
    usual = {
        "findings": 20.0,
        "saliency/base/exact": 4.0,
        "saliency/tuned/exact": 4.0,
        "notes": 2.0,
    }
    told = []
    remaining = progress.Remaining(lambda *report: told.append(report), lambda key: usual[key])
    remaining.plan(list(usual))
    remaining.begin("findings")
    remaining.inside(1, 3, "the update")
    remaining.begin("saliency/base/exact")  # half the usual time: all is expected to take half
    remaining.inside(0, 7, "some of it")
    remaining.begin("saliency/tuned/exact")
    remaining.begin("notes")  # was there: says nothing of the speed
    shares = [0, 5 / 30, 10 / 15, 10 / 15, 12 / 15, 12 / 13]
    assert [done / 1000 for done, _, _ in told] == pytest.approx(shares, abs=0.05)
    names = ["findings", "the update", *list(usual)[1:2], "some of it", *list(usual)[2:]]
    assert [(total, what) for _, total, what in told] == [(1000, name) for name in names]


def test_what_is_left_of_a_count_follows_from_its_own_time(monkeypatch):
    now = [100.0]
    monkeypatch.setattr(progress.time, "time", lambda: now[0])

    class Timed(Drawn):
        def __init__(self, *args, **kwargs):
            super().__init__(*args, **kwargs)
            self._time = lambda: now[0]
            self.start_t = self.last_print_t = now[0]

    def at(seconds):
        now[0] = 100.0 + seconds

    with progress.progress("tracing", Timed) as report:
        (bar,) = Drawn.made
        report(0, 10, "base reads")
        at(60)
        report(9, 10, "base reads")
        at(61)
        report(0, 100, "tuned reads")
        at(71)
        report(10, 100, "tuned reads")
        assert "tuned reads:  10%" in bar.text
        assert "00:10, 01:30 left" in bar.text
