"""A JupyterLab server of our own, and a notebook in it driven through the browser."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import nbformat
from playwright.sync_api import Page, expect

ROOT = Path(__file__).parents[2]
SETTINGS = {
    "@jupyterlab/apputils-extension/notification.jupyterlab-settings": {
        "fetchNews": "false",
        "checkForUpdates": False,
    },
}
KERNEL_SECONDS = 180_000


class Lab:
    """A server on the loopback interface with its own configuration and no token."""

    def __init__(self, folder: Path) -> None:
        self.root = folder / "notebooks"
        self.root.mkdir(parents=True)
        settings = folder / "settings"
        for name, value in SETTINGS.items():
            (settings / name).parent.mkdir(parents=True, exist_ok=True)
            (settings / name).write_text(json.dumps(value))
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self._log = (folder / "lab.log").open("wb")
        self._server = subprocess.Popen(
            [
                *(sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root"),
                "--ServerApp.ip=127.0.0.1",
                f"--ServerApp.port={self.port}",
                "--ServerApp.port_retries=0",
                "--IdentityProvider.token=",
                f"--ServerApp.root_dir={self.root}",
                "--LabApp.expose_app_in_browser=True",
                "--LabApp.extension_manager=readonly",
                "--LabApp.news_url=",
            ],
            env={
                **os.environ,
                "PYTHONPATH": str(ROOT),
                "JUPYTER_CONFIG_DIR": str(folder / "config"),
                "JUPYTER_DATA_DIR": str(folder / "data"),
                "JUPYTER_RUNTIME_DIR": str(folder / "runtime"),
                "JUPYTERLAB_SETTINGS_DIR": str(settings),
                "JUPYTERLAB_WORKSPACES_DIR": str(folder / "workspaces"),
                "IPYTHONDIR": str(folder / "ipython"),
            },
            stdout=self._log,
            stderr=subprocess.STDOUT,
        )
        self._wait()

    def stop(self) -> None:
        """Stop the server and its kernels."""
        self.stop_kernels()
        self._server.terminate()
        self._server.wait(20)
        self._log.close()

    def stop_kernels(self) -> None:
        """Kernels of earlier tests would take the cores of the next one."""
        for session in self._ask("GET", "api/sessions"):
            self._ask("DELETE", f"api/sessions/{session['id']}")

    def write(self, name: str, cells: Sequence[str]) -> str:
        """Write a notebook of code cells and return its name."""
        notebook = nbformat.v4.new_notebook(
            cells=[nbformat.v4.new_code_cell(cell) for cell in cells],
            metadata={
                "kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}
            },
        )
        nbformat.write(notebook, self.root / name)
        return name

    def _wait(self) -> None:
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            try:
                self._ask("GET", "api/status")
            except OSError:
                time.sleep(0.2)
            else:
                return
        raise TimeoutError("JupyterLab did not start")

    def _ask(self, method: str, path: str) -> Any:
        request = urllib.request.Request(f"{self.url}/{path}", method=method)
        with urllib.request.urlopen(request, timeout=10) as response:
            text = response.read()
        return json.loads(text) if text else None


class Notebook:
    """One notebook, open in a page."""

    def __init__(self, page: Page, lab: Lab, name: str) -> None:
        self.page = page
        self._address = f"{lab.url}/lab/tree/{name}?reset"

    def open(self) -> None:
        """Load the page and wait until the notebook has a kernel that is idle."""
        self.page.goto(self._address)
        self.page.wait_for_selector(".jp-NotebookPanel .jp-CodeCell", timeout=60_000)
        self.page.wait_for_selector(
            ".jp-NotebookPanel-toolbar .jp-Notebook-ExecutionIndicator[data-status='idle']",
            timeout=KERNEL_SECONDS,
        )

    def run_all(self) -> None:
        """Run every cell and wait for the last; an error in one fails."""
        self._command("notebook:run-all-cells")
        errors = self.page.locator(".jp-RenderedText[data-mime-type*='stderr'] >> text=Traceback")
        assert errors.count() == 0, errors.all_inner_texts()
        failed = self.page.locator("[data-mime-type='application/vnd.jupyter.error']")
        assert failed.count() == 0, failed.all_inner_texts()

    def restart(self) -> None:
        """Restart the kernel."""
        self.page.evaluate("void jupyterapp.commands.execute('notebook:restart-kernel')")
        self.page.click(".jp-Dialog button.jp-mod-accept")
        expect(self.page.locator(".jp-Dialog")).to_have_count(0)
        self.page.wait_for_selector(
            ".jp-NotebookPanel-toolbar .jp-Notebook-ExecutionIndicator[data-status='idle']",
            timeout=KERNEL_SECONDS,
        )

    def save(self) -> None:
        """Save the notebook."""
        self._command("docmanager:save")

    def _command(self, name: str) -> None:
        self.page.evaluate("name => jupyterapp.commands.execute(name)", name)
