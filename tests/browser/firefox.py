"""Firefox, driven over Marionette, its own remote control: lists of JSON on a socket."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

#: Seconds that a browser may take to begin, or to answer.
_PATIENCE = 180
_PREFERENCES = """\
user_pref("marionette.port", {port});
user_pref("datareporting.policy.dataSubmissionEnabled", false);
user_pref("toolkit.telemetry.enabled", false);
user_pref("browser.shell.checkDefaultBrowser", false);
user_pref("browser.startup.homepage_override.mstone", "ignore");
user_pref("network.captive-portal-service.enabled", false);
user_pref("network.connectivity-service.enabled", false);
"""


def find() -> str | None:
    """Where Firefox is; None without one."""
    return shutil.which("firefox") or shutil.which("firefox-esr")


class Firefox:
    """One window."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._sent = 0
        self._receive()  # what it is
        self._ask("WebDriver:NewSession", {"pageLoadStrategy": "eager"})
        self._ask("WebDriver:SetTimeouts", {"script": 1000 * _PATIENCE})

    def open(self, address: str) -> None:
        """Go to an address."""
        self._ask("WebDriver:Navigate", {"url": address})

    def evaluate(self, script: str, *arguments: Any) -> Any:
        """What the body of a function returns."""
        asked = {"script": script, "args": list(arguments), "sandbox": None}
        return self._ask("WebDriver:ExecuteScript", asked)["value"]

    def write(self, selector: str, text: str) -> None:
        """Type into an element, in place of what stands there."""
        found = self._ask("WebDriver:FindElement", {"using": "css selector", "value": selector})
        (element,) = found["value"].values()
        self._ask("WebDriver:ElementClear", {"id": element})
        self._ask("WebDriver:ElementSendKeys", {"id": element, "text": text})

    def click(self, selector: str) -> None:
        """Click on an element."""
        found = self._ask("WebDriver:FindElement", {"using": "css selector", "value": selector})
        (element,) = found["value"].values()
        self._ask("WebDriver:ElementClick", {"id": element})

    def _ask(self, command: str, parameters: dict[str, Any]) -> Any:
        self._sent += 1
        message = json.dumps([0, self._sent, command, parameters]).encode()
        self._connection.sendall(b"%d:%s" % (len(message), message))
        _, number, error, result = self._receive()
        assert number == self._sent
        assert error is None, error
        return result

    def _receive(self) -> Any:
        length = b""
        while not length.endswith(b":"):
            length += self._read(1)
        return json.loads(self._read(int(length[:-1])))

    def _read(self, count: int) -> bytes:
        data = b""
        while len(data) < count:
            piece = self._connection.recv(count - len(data))
            assert piece, "Firefox has ended"
            data += piece
        return data


@contextmanager
def firefox() -> Iterator[Firefox]:
    """A browser with a profile of its own, which ends with the context."""
    program = find()
    assert program
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        port = _free_port()
        Path(profile, "user.js").write_text(_PREFERENCES.format(port=port))
        command = [program, "--headless", "--marionette", "--no-remote", "--profile", profile]
        with subprocess.Popen(command, stderr=subprocess.DEVNULL) as process:
            try:
                with _connected(port, process) as connection:
                    yield Firefox(connection)
            finally:
                process.terminate()
                process.wait(30)


def _free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def _connected(port: int, process: subprocess.Popen[bytes]) -> socket.socket:
    deadline = time.monotonic() + _PATIENCE
    while True:
        assert process.poll() is None, "Firefox did not begin"
        try:
            return socket.create_connection(("127.0.0.1", port), timeout=_PATIENCE)
        except ConnectionRefusedError:
            assert time.monotonic() < deadline, "Firefox does not listen"
            time.sleep(0.1)
