"""Figures as SVG and PNG files, drawn by a browser that is already there.

BokehJS draws in browsers only. Bokeh's own export needs Selenium and a driver beside the browser;
Chromium, Chrome and Edge can write out a page without either.
"""

from __future__ import annotations

import base64
import html
import json
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from twinlens.errors import StudyError
from twinlens.pages.front_end import front_end
from twinlens.pages.html import inline_json, inline_script
from twinlens.pages.values import bokeh_script
from twinlens.studies.report.page import figures_json
from twinlens.support.files import replacing

if TYPE_CHECKING:
    from bokeh.plotting import figure

#: Environment variable with the path of a browser.
BROWSER = "TWINLENS_BROWSER"
WIDTH = 720
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


def save(
    figures: Mapping[str, figure], folder: str | os.PathLike[str], *, width: int = WIDTH
) -> list[Path]:
    """Save figures as ``NAME.svg`` and ``NAME.png`` (two pixels per point).

    Parameters
    ----------
    figures : mapping of str to figure
    folder : path
        Made if it is not there.
    width : int
        In CSS pixels.

    Returns
    -------
    list of Path
        The files written.

    Raises
    ------
    StudyError
        If there is no Chromium, Chrome or Edge, or it could not draw.
    """
    root = Path(folder)
    root.mkdir(parents=True, exist_ok=True)
    written = []
    for name, (svg, png) in _drawn(figures, browser(), width).items():
        for suffix, content in ((".svg", svg.encode()), (".png", base64.b64decode(png))):
            with replacing(root / f"{name}{suffix}") as stream:
                stream.write(content)
            written.append(root / f"{name}{suffix}")
    return written


def browser() -> str:
    """Path of a browser that can draw.

    Raises
    ------
    StudyError
        If there is none.
    """
    found = next(filter(None, map(shutil.which, (os.environ.get(BROWSER, ""), *_NAMES))), None)
    if found is None:
        raise StudyError(
            "saving figures from Python needs Chromium, Chrome or Edge: install one or name it in "
            f"{BROWSER}; the buttons under each figure of the report save it without"
        )
    return found


def _drawn(figures: Mapping[str, figure], program: str, width: int) -> dict[str, tuple[str, str]]:
    data = inline_json(figures_json(figures))
    places = "".join(f'<div data-figure="{html.escape(name)}"></div>' for name in figures)
    page = (
        f'<!doctype html><meta charset="utf-8"><body style="margin:0;width:{width}px">{places}'
        f'<script type="application/json" id="figures">{data}</script>'
        f"<script>{bokeh_script()}</script>"
        f"<script>{inline_script(front_end('drawing.js'))}</script>"
    )
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "figures.html"
        path.write_text(page, encoding="utf-8")
        arguments = [
            program,
            "--headless",
            "--disable-gpu",
            "--hide-scrollbars",
            "--force-device-scale-factor=2",
            f"--user-data-dir={folder}/profile",
            # Time runs while there is work; the page is written out when all is done.
            "--virtual-time-budget=60000",
            "--dump-dom",
            path.as_uri(),
        ]
        if hasattr(os, "geteuid") and os.geteuid() == 0:
            arguments.insert(1, "--no-sandbox")  # Chromium refuses to start for root with it
        try:
            done = subprocess.run(arguments, capture_output=True, timeout=_SECONDS, check=False)
        except (OSError, subprocess.TimeoutExpired) as error:
            raise StudyError(
                f"{Path(program).name} could not draw the figures ({error})"
            ) from error
    said = re.search(rb'id="drawn">([^<]*)<', done.stdout)
    if said is None or not said[1]:
        last = done.stderr.decode(errors="replace").strip().splitlines()[-1:]
        raise StudyError(
            f"{Path(program).name} could not draw the figures ({' '.join(last) or 'no output'}): "
            "use the buttons under each figure of the report"
        )
    return {name: (svg, png) for name, svg, png in json.loads(base64.b64decode(said[1]))}
