from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from twinlens.contract import wire
from twinlens.view import server as server_module
from twinlens.view.server import BlockServer

from tests.support.made_up import MadeUpTrace


class Page:
    """Collects what the server sends, and waits for it."""

    def __init__(self) -> None:
        self.messages: list[tuple[dict[str, Any], list[bytes]]] = []
        self._changed = threading.Condition()

    def send(self, content: dict[str, Any], buffers: list[bytes]) -> None:
        with self._changed:
            self.messages.append((content, buffers))
            self._changed.notify_all()

    def wait(self, matches: Callable[[dict[str, Any]], bool]) -> tuple[dict[str, Any], list[bytes]]:
        def found() -> tuple[dict[str, Any], list[bytes]] | None:
            return next((message for message in self.messages if matches(message[0])), None)

        with self._changed:
            assert self._changed.wait_for(found, timeout=60), self.messages
            message = found()
            assert message is not None
            return message

    def answer(self, number: int) -> tuple[dict[str, Any], list[bytes]]:
        return self.wait(lambda content: content["id"] == number and content["kind"] != "progress")


class SlowTrace(MadeUpTrace):
    """Saliency goes on, reporting, until it is released or interrupted."""

    def __init__(self) -> None:
        super().__init__()
        self.release = threading.Event()
        self.started = threading.Event()
        self.interrupted = threading.Event()

    def block(self, key, report=None):
        if key.startswith("saliency/"):
            step = 0
            while not self.release.wait(0.01):
                self.started.set()
                step += 1
                try:
                    if report:
                        report(step, 1000, "occluding")
                except BaseException:
                    self.interrupted.set()
                    raise
        return super().block(key, report)


@pytest.fixture
def page() -> Page:
    return Page()


@pytest.fixture
def serve(page):
    servers = []

    def make(trace) -> BlockServer:
        servers.append(BlockServer(trace, page.send))
        return servers[-1]

    yield make
    for one in servers:
        one.close()


def ask(number: int, key: str) -> dict[str, Any]:
    return {"kind": "block", "id": number, "key": key}


def test_a_block_arrives_as_it_is_in_the_trace(trace, page, serve):
    serve(trace).handle(ask(1, "attention/tuned/2/3"))
    content, buffers = page.answer(1)
    assert content["kind"] == "block"
    assert content["key"] == "attention/tuned/2/3"
    assert content["header"]["packing"] == "causal"
    np.testing.assert_array_equal(
        wire.decode(content["header"], buffers[0]), trace.block("attention/tuned/2/3")
    )


def test_json_blocks_arrive(trace, page, serve):
    serve(trace).handle(ask(1, "components/1"))
    content, buffers = page.answer(1)
    assert wire.decode(content["header"], buffers[0]) == trace.block("components/1")


def test_charts_and_bokeh_are_served_beside_the_trace(trace, page, serve):
    server = serve(trace)
    server.handle(ask(1, "asset/bokehjs"))
    server.handle(ask(2, "chart/handover/dark"))
    content, buffers = page.answer(1)
    assert content["header"]["dtype"] == "text"
    assert len(buffers[0]) > 500_000
    chart = json.loads(page.answer(2)[1][0])
    assert chart.keys() == {"doc", "version"}


@pytest.mark.parametrize("key", ["attention/base/99", "no such thing", "chart/handover/pink", ""])
def test_an_unknown_key_is_answered_with_an_error(key, trace, page, serve):
    serve(trace).handle(ask(7, key))
    content, _ = page.answer(7)
    assert content["kind"] == "error"
    assert content["key"] == key
    assert content["message"]


def test_an_unexpected_failure_is_answered_too(trace, page, serve, caplog):
    def fail(key, report=None):
        raise ZeroDivisionError("oops")

    trace.block = fail
    serve(trace).handle(ask(1, "disagreement"))
    content, _ = page.answer(1)
    assert content["kind"] == "error"
    assert "disagreement" in content["message"]
    assert "oops" in content["message"]
    assert "could not be computed" in caplog.text


@pytest.mark.parametrize(
    "content", [None, "block", [], {}, {"kind": "block"}, {"kind": "other", "id": 1}, {"id": []}]
)
def test_other_messages_are_ignored(content, trace, page, serve):
    serve(trace).handle(content)
    assert page.messages == []
    assert trace.asked == []


def test_a_block_is_computed_once(trace, page, serve):
    server = serve(trace)
    server.handle(ask(1, "disagreement"))
    page.answer(1)
    server.handle(ask(2, "disagreement"))
    # The second answer is there without waiting for a worker.
    assert [content["id"] for content, _ in page.messages] == [1, 2]
    assert trace.asked == ["disagreement"]


def test_a_long_computation_blocks_neither_ready_nor_quick_blocks(page, serve):
    trace = SlowTrace()
    server = serve(trace)
    server.handle(ask(1, "heads/change"))
    page.answer(1)
    server.handle(ask(2, "saliency/base/occlusion"))
    assert trace.started.wait(60)
    server.handle(ask(3, "heads/change"))
    server.handle(ask(4, "disagreement"))
    assert page.answer(3)[0]["kind"] == "block"
    assert page.answer(4)[0]["kind"] == "block"
    assert not any(c["id"] == 2 and c["kind"] == "block" for c, _ in page.messages)
    trace.release.set()
    assert page.answer(2)[0]["kind"] == "block"


def test_many_long_computations_leave_room_for_a_quick_one(page, serve):
    trace = SlowTrace()
    server = serve(trace)
    for number, key in enumerate(["base/occlusion", "tuned/occlusion", "base/a", "tuned/a"]):
        server.handle(ask(number, f"saliency/{key}"))
    server.handle(ask(9, "heads/change"))
    assert page.answer(9)[0]["kind"] == "block"
    trace.release.set()
    assert {page.answer(number)[0]["id"] for number in range(4)} == {0, 1, 2, 3}


def test_cancelling_stops_the_computation_silently(page, serve):
    trace = SlowTrace()
    server = serve(trace)
    server.handle(ask(1, "saliency/base/occlusion"))
    assert trace.started.wait(60)
    server.handle({"kind": "cancel", "id": 1})
    assert trace.interrupted.wait(60)
    server.handle(ask(2, "disagreement"))
    page.answer(2)
    assert not any(c["id"] == 1 and c["kind"] != "progress" for c, _ in page.messages)


def test_cancelled_before_its_turn_it_is_never_computed(page, serve, monkeypatch):
    monkeypatch.setattr(server_module, "WORKERS", 1)
    trace = SlowTrace()
    server = serve(trace)
    server.handle(ask(1, "saliency/base/occlusion"))
    assert trace.started.wait(60)
    server.handle(ask(2, "disagreement"))
    server.handle({"kind": "cancel", "id": 2})
    trace.release.set()
    page.answer(1)
    server.handle(ask(3, "heads/change"))
    page.answer(3)
    assert "disagreement" not in trace.asked


def test_closing_stops_everything(page, serve):
    trace = SlowTrace()
    server = serve(trace)
    server.handle(ask(1, "saliency/base/occlusion"))
    assert trace.started.wait(60)
    server.close()
    assert trace.interrupted.wait(60)


def test_progress_is_reported_but_not_for_every_step(page, serve, monkeypatch):
    monkeypatch.setattr(server_module, "SECONDS_BETWEEN_REPORTS", 0.05)
    trace = SlowTrace()
    begin = time.monotonic()
    serve(trace).handle(ask(1, "saliency/base/occlusion"))
    content, _ = page.wait(lambda c: c["kind"] == "progress" and c["done"] > 10)
    trace.release.set()
    page.answer(1)
    lasted = time.monotonic() - begin
    assert (content["total"], content["label"]) == (1000, "occluding")
    progress = [c for c, _ in page.messages if c["kind"] == "progress"]
    assert len(progress) <= lasted / 0.05 + 1


def test_a_request_that_waits_is_told_so(page, serve, monkeypatch):
    monkeypatch.setattr(server_module, "WORKERS", 1)
    monkeypatch.setattr(server_module, "SECONDS_OF_SILENCE", 0.05)
    trace = SlowTrace()
    server = serve(trace)
    server.handle(ask(1, "saliency/base/occlusion"))
    assert trace.started.wait(60)
    server.handle(ask(2, "disagreement"))
    content, _ = page.wait(lambda c: c["id"] == 2 and c["kind"] == "progress")
    assert content["label"] == "waiting for its turn"
    trace.release.set()
    assert page.answer(2)[0]["kind"] == "block"


def test_requests_from_another_thread_are_answered(trace, page, serve):
    server = serve(trace)
    thread = threading.Thread(target=server.handle, args=(ask(1, "disagreement"),))
    thread.start()
    thread.join()
    assert page.answer(1)[0]["kind"] == "block"


def test_the_cache_forgets_the_oldest(trace, page, serve, monkeypatch):
    monkeypatch.setattr(server_module, "CACHE_BYTES", 3000)
    server = serve(trace)
    keys = [f"attention/base/0/{head}" for head in range(8)]
    for number, key in enumerate([*keys, keys[0]]):
        server.handle(ask(number, key))
        page.answer(number)
    assert trace.asked == [*keys, keys[0]]


def test_what_grows_is_asked_anew(trace, page, serve):
    server = serve(trace)
    keys = ["saliency/base/occlusion/so_far", "faithfulness/base/gradient_x_input"]
    for number, key in enumerate([*keys, *keys]):
        server.handle(ask(number, key))
        page.answer(number)
    assert [trace.asked.count(key) for key in keys] == [2, 2]
