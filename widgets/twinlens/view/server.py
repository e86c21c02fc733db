"""Answers the page's requests for blocks; knows messages, not widgets.

Requests arrive on the kernel's main thread or on a subshell thread. A block that was sent before
is answered at once; everything else is computed by workers, so that a long computation delays
neither the cell that runs, nor the blocks that are ready, nor those that are quick. A request that
waits for its turn is told so every few seconds: the page can tell a busy kernel from a dead one.
Where no thread can be started, as in Pyodide, blocks are computed where they are asked for.
"""

from __future__ import annotations

import contextvars
import logging
import threading
import time
from collections.abc import Callable
from dataclasses import asdict
from queue import SimpleQueue
from typing import Any, TypeAlias

from twinlens.contract import lookup, wire
from twinlens.contract.wire import Header
from twinlens.contract.words import dialled
from twinlens.errors import Interrupted, TwinlensError
from twinlens.pages.values import page_value
from twinlens.support.lru import Cache
from twinlens.traces.trace import Trace

#: Sends one custom message with binary buffers to every page that shows the explorer.
Send: TypeAlias = Callable[[dict[str, Any], list[bytes]], None]

EncodedBlock: TypeAlias = tuple[Header, bytes]

#: More than a page asks for at once that takes long, so that there is always one for the rest.
WORKERS = 24
CACHE_BYTES = 64 * 2**20
SECONDS_BETWEEN_REPORTS = 0.1
SECONDS_OF_SILENCE = 5.0

_log = logging.getLogger(__name__)


class BlockServer:
    """Answers ``block`` and ``cancel`` messages for one trace.

    Parameters
    ----------
    trace : Trace
        May be asked from several threads at once.
    send : callable
        Called from any thread as ``send(content, buffers)``.
    computed : callable, optional
        Told each key that was answered by a computation.
    """

    def __init__(
        self, trace: Trace, send: Send, computed: Callable[[str], None] | None = None
    ) -> None:
        self._trace = trace
        self._send = send
        self._computed = computed
        self._encoded: Cache[EncodedBlock] = Cache(CACHE_BYTES, lambda block: len(block[1]))
        self._open: dict[int | str, _Request] = {}
        # Reentrant: the collector may close a server wherever a thread allocates.
        self._lock = threading.RLock()
        self._closed = threading.Event()
        self._queue: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self._workers = 0
        self._unfinished = 0

    def handle(self, content: Any) -> None:
        """Answer one message of a page; a message of another kind is ignored."""
        if not isinstance(content, dict):
            return
        number, kind = content.get("id"), content.get("kind")
        if not isinstance(number, int | str):
            return
        if kind == "cancel":
            with self._lock:
                self._open.pop(number, None)
        elif kind == "block":
            self._answer(_Request(number, str(content.get("key")), self))

    def close(self) -> None:
        """Stop the workers and whatever they compute."""
        self._closed.set()
        with self._lock:
            self._open.clear()
            workers, self._workers = self._workers, 0
        for _ in range(workers):
            self._queue.put(None)

    def is_open(self, request: _Request) -> bool:
        """Whether its answer is still wanted."""
        with self._lock:
            return self._open.get(request.number) is request

    def send(self, request: _Request, content: dict[str, Any], *buffers: bytes) -> None:
        """Send a message about a request."""
        self._send({"id": request.number, "key": request.key, **content}, list(buffers))

    def _answer(self, request: _Request) -> None:
        block = self._encoded.get(request.key)
        if block is not None:
            self.send(request, {"kind": "block", "header": block[0]}, block[1])
            return
        with self._lock:
            self._open[request.number] = request
            waits = self._start_threads()
        if not waits:
            self._compute(request)
            return
        # The context says which cell's output a message belongs to.
        context = contextvars.copy_context()
        self._queue.put(lambda: context.run(self._compute, request))

    def _asked(self, key: str) -> tuple[Trace, str]:
        """The trace that a key is about, at its place of the dial, and its key there."""
        at_dial = dialled(key)
        if at_dial is None:
            return self._trace, key
        scale, part, plain = at_dial
        return self._trace.at(scale, **asdict(part)), plain

    def _start_threads(self) -> bool:
        """Start those that one more task needs; False where none can be."""
        try:
            if self._workers == 0:
                _start(self._reassure, "twinlens-waiting")
            if self._workers < min(self._unfinished + 1, WORKERS):
                _start(self._work, "twinlens-blocks")
                self._workers += 1
        except RuntimeError:
            if self._workers == 0:
                return False
        self._unfinished += 1
        return True

    def _work(self) -> None:
        while (task := self._queue.get()) is not None:
            task()
            with self._lock:
                self._unfinished -= 1

    def _reassure(self) -> None:
        while not self._closed.wait(SECONDS_OF_SILENCE):
            with self._lock:
                waiting = list(self._open.values())
            for request in waiting:
                request.reassure()

    def _compute(self, request: _Request) -> None:
        key = request.key
        try:
            request.check()
            block = self._encoded.get(key)
            if block is None:
                trace, plain = self._asked(key)
                value = page_value(trace, plain, request.report)
                block = wire.encode(value, causal=lookup.is_causal(plain))
                if not lookup.grows(plain):
                    self._encoded.put(key, block)
            self.send(request, {"kind": "block", "header": block[0]}, block[1])
            if self._computed:
                self._computed(key)
        except Interrupted:
            _log.debug("the request for %s was cancelled", key)
        except TwinlensError as error:
            self.send(request, {"kind": "error", "message": str(error)})
        except Exception as error:
            _log.exception("block %s could not be computed", key)
            message = f"{key} could not be computed ({type(error).__name__}: {error})"
            self.send(request, {"kind": "error", "message": message})
        finally:
            with self._lock:
                if self._open.get(request.number) is request:
                    del self._open[request.number]


def _start(target: Callable[[], None], name: str) -> None:
    threading.Thread(target=target, name=name, daemon=True).start()


class _Request:
    """One request of a page for one block; tells the page how far it is, not too often."""

    def __init__(self, number: int | str, key: str, server: BlockServer) -> None:
        self.number = number
        self.key = key
        self._server = server
        self._sent_at = time.monotonic()
        self._progress = {"done": 0, "total": 1, "label": "waiting for its turn"}

    def check(self) -> None:
        """Raise `Interrupted` if the page gave it up."""
        if not self._server.is_open(self):
            raise Interrupted(f"{self.key} is no longer wanted")

    def report(self, done: int, total: int, what: str) -> None:
        """A `Report`."""
        self.check()
        self._progress = {"done": done, "total": total, "label": what}
        if time.monotonic() - self._sent_at >= SECONDS_BETWEEN_REPORTS:
            self._tell()

    def reassure(self) -> None:
        """Repeat the last progress if the page heard nothing for a while."""
        if time.monotonic() - self._sent_at >= SECONDS_OF_SILENCE / 2:
            self._tell()

    def _tell(self) -> None:
        self._sent_at = time.monotonic()
        self._server.send(self, {"kind": "progress", **self._progress})
