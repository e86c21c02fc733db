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
from playwright.sync_api import Error, Page, expect

from tests.support.places import LIGHT, ROOT

SETTINGS = {
    "@jupyterlab/apputils-extension/notification.jupyterlab-settings": {
        "fetchNews": "false",
        "checkForUpdates": False,
    },
    # No question which kernel a notebook wants.
    "@jupyterlab/notebook-extension/tracker.jupyterlab-settings": {"autoStartDefault": True},
}
START_SECONDS = 300
#: Cells that load and trace models, on cores that other tests keep busy.
KERNEL_MS = 600_000

_KERNEL = (
    "const kernel = jupyterapp.shell.currentWidget?.sessionContext?.session?.kernel;"
    "const status = kernel?.connectionStatus === 'connected' && kernel.status;"
)
_IDLE = f"() => {{ {_KERNEL} return status === 'idle'; }}"
_COMMAND = """async ([name, patience]) => {
  const late = new Error(`${name} took too long`);
  const timeout = new Promise((_, reject) => setTimeout(() => reject(late), patience));
  await Promise.race([jupyterapp.commands.execute(name), timeout]);
}"""
_NOTEBOOK = "const notebook = jupyterapp.shell.currentWidget.content;"
_LAST = f"() => {{ {_NOTEBOOK} notebook.activeCellIndex = notebook.widgets.length - 1; }}"
_GO_TO = f"number => {{ {_NOTEBOOK} notebook.activeCellIndex = number; }}"
_OPEN = """async path => {
  const notebook = await jupyterapp.commands.execute("docmanager:open", {path});
  await notebook.context.ready;
  jupyterapp.shell.activateById(notebook.id);
}"""
# Without the question whether to save.
_CLOSE = """() => {
  for (const widget of [...jupyterapp.shell.widgets("main")]) widget.dispose();
  return document.querySelector(".jp-Dialog") === null;
}"""
_WRITE = f"code => {{ {_NOTEBOOK} notebook.activeCell.model.sharedModel.setSource(code); }}"
_ERRORS = f"""() => {{
  {_NOTEBOOK}
  const cells = notebook.widgets.filter(cell => cell.model.type === "code");
  const outputs = cells.flatMap(cell => cell.model.outputs.toJSON());
  return outputs.filter(one => one.output_type === "error").map(one => one.evalue);
}}"""
_OUTPUTS = f"() => {{ {_NOTEBOOK} return notebook.activeCell.model.outputs.toJSON(); }}"


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
                "--ServerApp.disable_check_xsrf=True",
                f"--ServerApp.root_dir={self.root}",
                "--LabApp.expose_app_in_browser=True",
                "--LabApp.extension_manager=readonly",
                "--LabApp.news_url=",
                # Where tests were killed, it ends by itself.
                "--ServerApp.shutdown_no_activity_timeout=3600",
                "--MappingKernelManager.cull_idle_timeout=3600",
            ],
            env={
                **os.environ,
                "PYTHONPATH": os.pathsep.join(
                    filter(None, (str(LIGHT), str(ROOT), os.environ.get("PYTHONPATH")))
                ),
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
        try:
            self._server.wait(20)
        except subprocess.TimeoutExpired:
            self._server.kill()
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
        deadline = time.monotonic() + START_SECONDS
        while self._server.poll() is None and time.monotonic() < deadline:
            try:
                self._ask("GET", "api/status")
            except OSError:
                time.sleep(0.2)
            else:
                return
        self._server.kill()
        raise TimeoutError(f"JupyterLab did not start: see {self._log.name}")

    def _ask(self, method: str, path: str) -> Any:
        request = urllib.request.Request(f"{self.url}/{path}", method=method)
        with urllib.request.urlopen(request, timeout=60) as response:
            text = response.read()
        return json.loads(text) if text else None


def close_notebooks(page: Page) -> bool:
    """Close what is open in JupyterLab; say whether the page is as good as new."""
    try:
        return bool(page.evaluate(_CLOSE))
    except Error:  # it has crashed, or never loaded
        return False


class Notebook:
    """One notebook, open in a page."""

    def __init__(self, page: Page, lab: Lab, name: str) -> None:
        self.page = page
        self.lab = lab
        self.name = name
        self._address = f"{lab.url}/lab/tree/{name}?reset"

    def open(self) -> None:
        """Open the notebook, in JupyterLab if the page has it, and wait for an idle kernel."""
        if not self.page.evaluate("'jupyterapp' in window"):
            return self.reload()
        self.page.evaluate(_OPEN, self.name)
        return self.wait_idle()

    def reload(self) -> None:
        """Load the page anew, with nothing but the notebook, and wait for an idle kernel."""
        self.page.goto(self._address)
        self.page.wait_for_selector(".jp-NotebookPanel .jp-CodeCell", timeout=KERNEL_MS)
        self.wait_idle()

    def wait_idle(self) -> None:
        """Wait until the kernel is there and has nothing to do."""
        self.page.wait_for_function(_IDLE, timeout=KERNEL_MS)

    def run_all(self) -> None:
        """Run every cell and wait for the last; an error in one fails."""
        self._command("notebook:run-all-cells")
        failed = self.page.evaluate(_ERRORS)
        assert not failed, failed

    def run_cell(self, number: int) -> None:
        """Run a cell again, counted from 0."""
        self.page.evaluate(_GO_TO, number)
        self._command("notebook:run-cell")
        failed = self.page.evaluate(_ERRORS)
        assert not failed, failed

    def start(self, code: str) -> None:
        """Begin to run code in a new cell at the end."""
        self.page.evaluate(_LAST)
        self._command("notebook:insert-cell-below")
        self.page.evaluate(_WRITE, code)
        self.page.evaluate("void jupyterapp.commands.execute('notebook:run-cell')")

    def run(self, code: str, *, fails: bool = False) -> str:
        """Run code in a cell that is then removed; return what it prints, or its error."""
        self.page.evaluate(_LAST)
        self._command("notebook:insert-cell-below")
        self.page.evaluate(_WRITE, code)
        self._command("notebook:run-cell")
        outputs = self.page.evaluate(_OUTPUTS)
        self._command("notebook:delete-cell")
        errors = [one for one in outputs if one["output_type"] == "error"]
        assert bool(errors) == fails, outputs
        if errors:
            return str(errors[0]["evalue"])
        return "".join(str(one.get("text", "")) for one in outputs).strip()

    def is_running(self) -> bool:
        """Whether a cell runs."""
        return self.page.locator(".jp-InputPrompt", has_text="[*]").count() > 0

    def interrupt(self) -> None:
        """Interrupt what runs and wait until the kernel is idle."""
        self._command("notebook:interrupt-kernel")
        self.wait_idle()

    def restart(self) -> None:
        """Restart the kernel."""
        self.page.evaluate("void jupyterapp.commands.execute('notebook:restart-kernel')")
        self.page.click(".jp-Dialog button.jp-mod-accept")
        expect(self.page.locator(".jp-Dialog")).to_have_count(0)
        self.wait_idle()

    def save(self) -> None:
        """Save the notebook."""
        self._command("docmanager:save")

    def _command(self, name: str) -> None:
        self.page.evaluate(_COMMAND, [name, KERNEL_MS])
