"""Where panels stay linked: each host that is installed is driven once in a browser.

    make hosts                                       # all, in an environment of their own
    python -m tests.benchmarks.hosts nbconvert voila

A recording is shown as a dashboard (``ex``) and as a page in the output (``ex.render_static()``).
Live: a token is clicked, and every panel of the dashboard follows. Reopened: the same in the page
of the output, without a kernel; and what the dashboard itself shows then. Browsers have no network
but this machine.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.util
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import nbformat
from playwright.sync_api import Error, FrameLocator, Locator, Page, Route, sync_playwright
from twinlens.traces import recording

from tests.browser.chromium import FLAGS, find
from tests.browser.poll import until
from tests.support.made_up import MadeUpTrace
from tests.support.places import ROOT

PATIENCE = 120_000
STILL = "img[alt^='What hiding']"
TOKEN = 3
CELLS = (
    "import twinlens as tl\nex = tl.open('made_up.twl')",
    "ex",
    "ex.render_static('dashboard')",
)


@dataclass
class Seen:
    """One row of the table."""

    host: str
    live: str
    reopened: str
    how: str


def follows(scope: Page | FrameLocator | Locator) -> str:
    """Click a token and wait until the shown panels say it is selected."""
    root = scope.locator(".twinlens:has(.tl-dashboard)").first
    root.wait_for(timeout=PATIENCE)
    ready = root.locator(
        ".tl-saliency[data-state='ready'], [data-panel=saliency][data-state=ready]"
    )
    ready.first.wait_for(timeout=PATIENCE)
    root.locator(f"[data-token='{TOKEN}']").first.click()
    moved = root.locator(f"[data-panel][data-state='ready'][data-selection^='{TOKEN}/']")
    moved.first.wait_for(timeout=PATIENCE)
    return f"linked: {moved.count()} panels follow a click"


def framed(page: Page) -> str:
    """The page in the output."""
    page.locator("iframe[srcdoc]").first.scroll_into_view_if_needed(timeout=PATIENCE)
    return follows(page.frame_locator("iframe[srcdoc]").first)


def still(page: Page) -> str:
    """What stands for the dashboard, without an error beside it."""
    page.locator(STILL).first.wait_for(timeout=PATIENCE)
    box = page.locator(STILL).first.bounding_box()
    assert box, "there is no picture"
    assert box["height"] > 50, "the picture is not seen"
    panels = page.locator(".twinlens:visible .tl-dashboard").count()
    errors = page.locator(".jp-OutputArea-output[data-mime-type*=stderr]").count()
    assert not errors, "an error stands beside the picture"
    return "linked panels" if panels else "a still picture"


def inside(route: Route) -> None:
    """Let nothing through to anywhere but this machine."""
    local = ("http://127.0.0.1", "file:", "data:", "blob:")
    route.continue_() if route.request.url.startswith(local) else route.abort()


def pumped(page: Page, check: Callable[[], bool]) -> bool:
    """What a check says, a moment later: requests of the page are let `inside` only meanwhile."""
    page.wait_for_timeout(200)
    return check()


def tried(check: Callable[..., str], *arguments: Any) -> str:
    """What a check says, or in one line why it failed."""
    try:
        return check(*arguments)
    except (Error, AssertionError, TimeoutError) as error:
        return "no: " + str(error).strip().splitlines()[0][:100]


def notebook(folder: Path, cells: tuple[str, ...] = CELLS) -> Path:
    """A notebook beside the recording it opens."""
    recording.write(MadeUpTrace(), folder / "made_up.twl")
    made = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])
    made.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3"}
    path = folder / "shown.ipynb"
    nbformat.write(made, path)
    return path


def run(folder: Path, *command: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", *command],
        cwd=folder,
        env=environment(folder),
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr[-400:]


def environment(folder: Path) -> dict[str, str]:
    places = filter(None, (str(ROOT), os.environ.get("PYTHONPATH")))
    return {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(places),
        "JUPYTER_CONFIG_DIR": str(folder / "config"),
        "JUPYTER_RUNTIME_DIR": str(folder / "runtime"),
        "IPYTHONDIR": str(folder / "ipython"),
    }


@contextlib.contextmanager
def serving(folder: Path, *command: str) -> Iterator[str]:
    """A server of a host; ``PORT`` in the command is a free port."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    with (folder / "log").open("wb") as log:
        server = subprocess.Popen(
            [sys.executable, "-m", *(part.replace("PORT", port) for part in command)],
            cwd=folder,
            env=environment(folder),
            stdout=log,
            stderr=subprocess.STDOUT,
        )
        try:
            url = f"http://127.0.0.1:{port}"
            for _ in range(600):
                with (
                    contextlib.suppress(OSError),
                    socket.create_connection(("127.0.0.1", int(port))),
                ):
                    break
                time.sleep(0.2)
            with contextlib.suppress(OSError):
                urllib.request.urlopen(url, timeout=60).close()
            yield url
        finally:
            server.terminate()
            server.wait(30)


def nbconvert(folder: Path, page: Page) -> Seen:
    path = notebook(folder)
    run(folder, "nbconvert", "--to", "html", "--execute", path.name)
    page.goto((folder / "shown.html").as_uri())
    still = page.locator(STILL).count()
    kept = "; a still picture for `ex`" if still else ""
    return Seen(
        "nbconvert HTML", "-", tried(framed, page) + kept, "`--execute`, page opened offline"
    )


def sphinx(folder: Path, page: Page) -> Seen:
    path = notebook(folder)
    nb = nbformat.read(path, 4)
    nb.cells.insert(0, nbformat.v4.new_markdown_cell("# Shown"))
    nbformat.write(nb, folder / "index.ipynb")
    path.unlink()
    (folder / "conf.py").write_text(
        "project = 'shown'\nextensions = ['myst_nb']\nnb_execution_mode = 'force'\n"
        "nb_execution_timeout = 200\nexclude_patterns = ['out', 'config', 'ipython', 'runtime']\n"
    )
    run(folder, "sphinx", "-q", "-b", "html", ".", "out")
    page.goto((folder / "out" / "index.html").as_uri())
    still = page.locator(STILL).count()
    kept = "; a still picture for `ex`" if still else ""
    return Seen("Sphinx, MyST-NB", "-", tried(framed, page) + kept, "built, page opened offline")


def notebook7(folder: Path, page: Page) -> Seen:
    path = notebook(folder)
    command = (
        *("notebook", "--no-browser", "--allow-root", "--ServerApp.ip=127.0.0.1"),
        *("--ServerApp.port=PORT", "--IdentityProvider.token=", f"--ServerApp.root_dir={folder}"),
        "--ServerApp.disable_check_xsrf=True",
    )
    with serving(folder, *command) as url:
        page.goto(f"{url}/notebooks/shown.ipynb")
        page.wait_for_selector(".jp-CodeCell", timeout=PATIENCE)
        # What is run before the kernel is there is not run at all.
        until(lambda: pumped(page, lambda: _connected(url)), bool, "the kernel")
        page.wait_for_timeout(1000)
        page.get_by_role("menuitem", name="Run", exact=True).click()
        page.get_by_role("menuitem", name="Run All Cells", exact=True).click()
        live = tried(follows, page)
        page.locator("iframe[srcdoc]").first.wait_for(timeout=PATIENCE)
        page.get_by_role("menuitem", name="File", exact=True).click()
        page.get_by_role("menuitem", name="Save Notebook", exact=False).first.click()
        saved = partial(path.read_text, "utf-8")
        until(lambda: pumped(page, lambda: "srcdoc" in saved()), bool, "the saved outputs")
        for session in _json(f"{url}/api/sessions"):
            urllib.request.urlopen(
                urllib.request.Request(f"{url}/api/sessions/{session['id']}", method="DELETE")
            )
        page.goto(f"{url}/notebooks/shown.ipynb")
        page.wait_for_selector(".jp-CodeCell", timeout=PATIENCE)
        reopened = f"page in the output: {tried(framed, page)}; `ex`: {tried(still, page)}"
    return Seen("Notebook 7", live, reopened, "run, saved, kernel ended, opened again")


def voila(folder: Path, page: Page) -> Seen:
    notebook(folder)
    command = (
        *("voila", "shown.ipynb", "--no-browser", "--port=PORT", "--Voila.ip=127.0.0.1"),
        "--VoilaConfiguration.template=lab",
    )
    with serving(folder, *command) as url:
        page.goto(url, timeout=PATIENCE)
        live = tried(follows, page)
        static = tried(framed, page)
    return Seen("Voila", live, f"page in the output: {static}", "served, opened")


def marimo(folder: Path, page: Page) -> Seen:
    recording.write(MadeUpTrace(), folder / "made_up.twl")
    (folder / "shown.py").write_text(
        "import marimo\napp = marimo.App(width='full')\n\n"
        "@app.cell\ndef _():\n    import twinlens as tl\n    ex = tl.open('made_up.twl')\n"
        "    return (ex,)\n\n"
        "@app.cell\ndef _(ex):\n    ex\n    return\n\n"
        "@app.cell\ndef _(ex):\n    ex.render_static('dashboard')\n    return\n\n"
        "if __name__ == '__main__':\n    app.run()\n"
    )
    command = ("marimo", "run", "shown.py", "--headless", "--no-token", "--host=127.0.0.1")
    with serving(folder, *command, "--port=PORT") as url:
        page.goto(url, timeout=PATIENCE)
        live = tried(follows, page)
        static = tried(framed, page)
    return Seen("marimo", live, f"page in the output: {static}", "`marimo run`, opened")


def _connected(url: str) -> bool:
    """Whether a page talks to a kernel."""
    return any(session["kernel"]["connections"] for session in _json(f"{url}/api/sessions"))


def _json(url: str) -> Any:
    import json

    with urllib.request.urlopen(url, timeout=20) as answer:
        return json.loads(answer.read())


HOSTS: dict[str, tuple[str, Callable[[Path, Page], Seen]]] = {
    "nbconvert": ("nbconvert", nbconvert),
    "sphinx": ("myst_nb", sphinx),
    "notebook": ("notebook", notebook7),
    "voila": ("voila", voila),
    "marimo": ("marimo", marimo),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("hosts", nargs="*", choices=[*HOSTS, []], default=[])
    parser.add_argument("--pictures", type=Path, help="folder for a picture of each host")
    options = parser.parse_args()
    executable = find()
    print("| host | live | reopened | how it was checked |\n|---|---|---|---|", flush=True)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=executable, args=FLAGS)
        for name in options.hosts or HOSTS:
            module, drive = HOSTS[name]
            if importlib.util.find_spec(module) is None:
                print(f"| {name} | not installed here | | |", flush=True)
                continue
            context = browser.new_context(viewport={"width": 1280, "height": 1000})
            context.route("**/*", inside)
            page = context.new_page()
            folder = Path(tempfile.mkdtemp(prefix=f"host-{name}-"))
            try:
                seen = drive(folder, page)
                print(f"| {seen.host} | {seen.live} | {seen.reopened} | {seen.how} |", flush=True)
            except Exception as error:
                said = str(error).strip().splitlines()[0][:200]
                print(f"| {name} | failed: {said} | | |", flush=True)
            if options.pictures:
                with contextlib.suppress(Error):
                    page.screenshot(path=options.pictures / f"{name}.png")
            context.close()
            shutil.rmtree(folder, ignore_errors=True)
        browser.close()


if __name__ == "__main__":
    main()
