"""The lock that goes round."""

from __future__ import annotations

import threading
import time

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


def test_who_waits_comes_before_who_takes_it_again_at_once():
    turns, order = Turns(), list[str]()
    begun = threading.Event()

    def long_work() -> None:
        for piece in range(50):
            with turns:
                begun.set()
                time.sleep(0.01)
                order.append(f"piece {piece}")

    def short_work() -> None:
        with turns:
            order.append("short")

    worker = threading.Thread(target=long_work)
    worker.start()
    begun.wait(5)
    other = threading.Thread(target=short_work)
    other.start()
    other.join(5)
    worker.join(5)
    assert order.index("short") <= 5  # it may start late; without turns it comes last


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
