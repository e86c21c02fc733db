"""A browser that is already there, for what only browsers draw.

Chromium, Chrome and Edge write out a page, or a picture of it, without a driver beside them.
"""

from __future__ import annotations

import base64
import os
import re
import shutil
import subprocess
import tempfile
from pathlib import Path

from twinlens.errors import BrowserError

#: Environment variable with the path of a browser.
BROWSER = "TWINLENS_BROWSER"
_NAMES = (
    "chromium",
    "chromium-browser",
    "google-chrome",
    "google-chrome-stable",
    "chrome",
    "microsoft-edge",
    "msedge",
    "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome",
)
_SECONDS = 300


def browser() -> str:
    """Path of a browser that can draw.

    Raises
    ------
    BrowserError
        If there is none.
    """
    path = next(filter(None, map(shutil.which, (os.environ.get(BROWSER, ""), *_NAMES))), None)
    if path is None:
        raise BrowserError(
            "saving this from Python needs Chromium, Chrome or Edge: install one or name it in "
            f"{BROWSER}; the buttons of the page save it without"
        )
    return path


def drawn(page: bytes, *, width: int, sharp: int = 1) -> bytes:
    """What a page has put as base64 into its element ``drawn``, once all its work is done.

    Parameters
    ----------
    page : bytes
        HTML.
    width : int
        Of the window, in CSS pixels.
    sharp : int
        Pixels of pictures for one of them.

    Raises
    ------
    BrowserError
        If there is no browser, or it could not draw.
    """
    program = browser()
    with tempfile.TemporaryDirectory() as folder:
        # Time runs while there is work; the page is written out when all is done.
        sized = [f"--window-size={width},900", "--virtual-time-budget=600000", "--dump-dom"]
        done = _run(program, Path(folder), "page.html", page, sized, sharp)
    said = re.search(rb'id="drawn">([^<]*)<', done.stdout)
    if said is None or not said[1]:
        raise _failed(program, done)
    return base64.b64decode(said[1])


def picture(svg: str, *, width: float, height: float, sharp: int) -> bytes:
    """An SVG as PNG.

    Parameters
    ----------
    width, height : float
        Its size in CSS pixels.
    sharp : int
        Pixels of the picture for one of them.

    Raises
    ------
    BrowserError
        If there is no browser, or it could not draw.
    """
    program = browser()
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / "figure.png"
        sized = [f"--window-size={round(width)},{round(height)}", f"--screenshot={target}"]
        done = _run(program, Path(folder), "figure.svg", svg.encode(), sized, sharp)
        if not target.exists():
            raise _failed(program, done)
        return target.read_bytes()


def _run(
    program: str, folder: Path, name: str, content: bytes, arguments: list[str], sharp: int
) -> subprocess.CompletedProcess[bytes]:
    """Have a browser open a file of that content."""
    source = folder / name
    source.write_bytes(content)
    command = [
        program,
        "--headless",
        "--disable-gpu",
        "--hide-scrollbars",
        "--force-prefers-reduced-motion",
        f"--force-device-scale-factor={sharp}",
        f"--user-data-dir={folder}/profile",
    ]
    if hasattr(os, "geteuid") and os.geteuid() == 0:
        command.append("--no-sandbox")  # Chromium refuses to start for root with it
    try:
        return subprocess.run(
            [*command, *arguments, source.as_uri()],
            capture_output=True,
            timeout=_SECONDS,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise BrowserError(f"{Path(program).name} could not draw ({error})") from error


def _failed(program: str, done: subprocess.CompletedProcess[bytes]) -> BrowserError:
    last = done.stderr.decode(errors="replace").strip().splitlines()[-1:]
    return BrowserError(
        f"{Path(program).name} could not draw ({' '.join(last) or 'no output'}): use the buttons "
        "of the page"
    )
