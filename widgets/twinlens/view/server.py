"""Answers the page's requests for blocks; knows messages, not widgets.

Requests arrive on the kernel's main thread or on a subshell thread. A block that was sent before
is answered at once; everything else is computed by a few workers, so that a long computation
delays neither the cell that runs nor the blocks that are ready.
"""

from __future__ import annotations

import contextvars
import logging
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from queue import SimpleQueue
from typing import Any, TypeAlias

from twinlens import blocks, charts
from twinlens.blocks import Header
from twinlens.errors import Interrupted, TwinlensError
from twinlens.trace import Trace

#: Sends one custom message with binary buffers to every page that shows the explorer.
Send: TypeAlias = Callable[[dict[str, Any], list[bytes]], None]

WORKERS = 3
CACHE_BYTES = 64 * 2**20
SECONDS_BETWEEN_REPORTS = 0.1

_log = logging.getLogger(__name__)


class BlockServer:
    """Answers ``block`` and ``cancel`` messages for one trace.

    Parameters
    ----------
    trace : Trace
        May be asked from several threads at once.
    send : callable
        Called from any thread as ``send(content, buffers)``.
    """

    def __init__(self, trace: Trace, send: Send) -> None:
        self._trace = trace
        self._send = send
        self._ready: OrderedDict[str, tuple[Header, bytes]] = OrderedDict()
        self._ready_bytes = 0
        self._open: set[int | str] = set()
        self._lock = threading.Lock()
        self._queue: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self._workers = 0

    def handle(self, content: Any) -> None:
        """Answer one message of a page; a message of another kind is ignored."""
        if not isinstance(content, dict):
            return
        request = content.get("id")
        if not isinstance(request, int | str):
            return
        if content.get("kind") == "cancel":
            with self._lock:
                self._open.discard(request)
        elif content.get("kind") == "block":
            self._answer(request, str(content.get("key")))

    def close(self) -> None:
        """Stop the workers and whatever they compute."""
        with self._lock:
            self._open.clear()
            workers, self._workers = self._workers, 0
        for _ in range(workers):
            self._queue.put(None)

    def _answer(self, request: int | str, key: str) -> None:
        with self._lock:
            ready = self._ready.get(key)
            if ready is not None:
                self._ready.move_to_end(key)
            else:
                self._open.add(request)
                if self._workers < WORKERS:
                    self._workers += 1
                    threading.Thread(target=self._work, name="twinlens-blocks", daemon=True).start()
        if ready is not None:
            self._send({"kind": "block", "id": request, "key": key, "header": ready[0]}, [ready[1]])
            return
        # The context says which cell's output a message belongs to.
        context = contextvars.copy_context()
        self._queue.put(lambda: context.run(self._compute, request, key))

    def _work(self) -> None:
        while (task := self._queue.get()) is not None:
            task()

    def _compute(self, request: int | str, key: str) -> None:
        reporter = _Reporter(request, key, self._is_open, self._send)
        try:
            reporter.check()
            ready = self._remembered(key)
            if ready is None:
                value = charts.page_value(self._trace, key, reporter)
                ready = blocks.encode(value, causal=blocks.is_causal(key))
                self._remember(key, ready)
            self._send({"kind": "block", "id": request, "key": key, "header": ready[0]}, [ready[1]])
        except Interrupted:
            _log.debug("request for %s was cancelled", key)
        except TwinlensError as error:
            self._send({"kind": "error", "id": request, "key": key, "message": str(error)}, [])
        except Exception as error:
            _log.exception("block %s could not be computed", key)
            message = f"{key} could not be computed ({type(error).__name__}: {error})"
            self._send({"kind": "error", "id": request, "key": key, "message": message}, [])
        finally:
            with self._lock:
                self._open.discard(request)

    def _is_open(self, request: int | str) -> bool:
        with self._lock:
            return request in self._open

    def _remembered(self, key: str) -> tuple[Header, bytes] | None:
        with self._lock:
            return self._ready.get(key)

    def _remember(self, key: str, block: tuple[Header, bytes]) -> None:
        with self._lock:
            if key in self._ready:
                return
            self._ready[key] = block
            self._ready_bytes += len(block[1])
            while self._ready_bytes > CACHE_BYTES and len(self._ready) > 1:
                _, dropped = self._ready.popitem(last=False)
                self._ready_bytes -= len(dropped[1])


class _Reporter:
    """The `Report` of one request: stops it when cancelled, else tells the page, not too often."""

    def __init__(
        self, request: int | str, key: str, is_open: Callable[[int | str], bool], send: Send
    ) -> None:
        self._request = request
        self._key = key
        self._is_open = is_open
        self._send = send
        self._last = time.monotonic()

    def check(self) -> None:
        if not self._is_open(self._request):
            raise Interrupted(f"{self._key} is no longer wanted")

    def __call__(self, done: int, total: int, what: str) -> None:
        self.check()
        now = time.monotonic()
        if now - self._last < SECONDS_BETWEEN_REPORTS:
            return
        self._last = now
        progress = {"done": done, "total": total, "label": what}
        self._send({"kind": "progress", "id": self._request, "key": self._key, **progress}, [])
