"""The lock that goes round."""

from __future__ import annotations

import threading
import time

import pytest
from twinlens.support.turns import Turns


def test_one_thread_at_a_time_may_enter_and_may_enter_again():
    turns, inside, most = Turns(), [0], [0]

    def work() -> None:
        for _ in range(200):
            with turns, turns:
                inside[0] += 1
                most[0] = max(most[0], inside[0])
                time.sleep(0)
                inside[0] -= 1

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert not any(thread.is_alive() for thread in threads)
    assert most == [1]


def in_order(turns: Turns, *wanted: tuple[str, bool]) -> list[str]:
    """Who comes after whom, where each asks while the lock is held; pieces of long work or not."""
    order: list[str] = []

    def work(name: str, piece: bool) -> None:
        with turns.piece() if piece else turns:
            order.append(name)

    threads = []
    with turns:
        for number, (name, piece) in enumerate(wanted, 1):
            threads.append(threading.Thread(target=work, args=(name, piece)))
            threads[-1].start()
            while len(turns._waiting) < number:
                time.sleep(0.001)
    for thread in threads:
        thread.join(5)
    return order


def test_who_asks_first_comes_first_and_pieces_of_long_work_last():
    wanted = ("a piece", True), ("first", False), ("another piece", True), ("second", False)
    assert in_order(Turns(), *wanted) == ["first", "second", "a piece", "another piece"]


def test_long_work_lets_others_in_between_its_pieces():
    turns, order, begun = Turns(), list[str](), threading.Event()

    def long_work() -> None:
        for number in range(50):
            with turns.piece():
                begun.set()
                time.sleep(0.01)
                order.append(f"piece {number}")

    def short_work() -> None:
        for name in ("short", "another"):
            with turns:
                order.append(name)

    worker, other = threading.Thread(target=long_work), threading.Thread(target=short_work)
    worker.start()
    begun.wait(5)
    other.start()
    other.join(5)
    worker.join(5)
    # It may start late; with a common lock it comes last.
    assert order.index("another") <= order.index("short") + 2 < 40


def test_a_wait_that_is_interrupted_leaves_nothing_behind(monkeypatch: pytest.MonkeyPatch):
    turns, entered = Turns(), threading.Event()

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(turns._free, "wait_for", interrupted)
    with pytest.raises(KeyboardInterrupt):
        turns.__enter__()
    monkeypatch.undo()

    def enter() -> None:
        with turns:
            entered.set()

    threading.Thread(target=enter, daemon=True).start()
    assert entered.wait(5)


def test_it_is_let_go_of_when_the_work_fails():
    turns = Turns()
    for _ in range(2):
        try:
            with turns, turns:
                raise ValueError
        except ValueError:
            pass
    entered = threading.Event()

    def enter() -> None:
        with turns:
            entered.set()

    threading.Thread(target=enter, daemon=True).start()
    assert entered.wait(5)
