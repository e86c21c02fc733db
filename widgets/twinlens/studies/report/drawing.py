"""Figures as SVG and PNG files, drawn by a browser that is already there.

BokehJS draws in browsers only. Bokeh's own export needs Selenium and a driver beside the browser;
Chromium, Chrome and Edge can write out a page without either.
"""

from __future__ import annotations

import base64
import html
import json
import os
from collections.abc import Mapping
from pathlib import Path

from bokeh.plotting import figure

from twinlens.pages.html import front_end, inline_json, inline_script
from twinlens.pages.values import bokeh_script
from twinlens.studies.report.report_page import figures_json
from twinlens.support.browser import drawn
from twinlens.support.files import replacing

WIDTH = 720


def save(
    figures: Mapping[str, figure], folder: str | os.PathLike[str], *, width: int = WIDTH
) -> list[Path]:
    """Save figures as ``NAME.svg`` and ``NAME.png`` (two pixels per point).

    Parameters
    ----------
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
    BrowserError
        If there is no Chromium, Chrome or Edge, or it could not draw.
    """
    root = Path(folder)
    root.mkdir(parents=True, exist_ok=True)
    written = []
    for name, (svg, png) in _drawn(figures, width).items():
        for suffix, content in ((".svg", svg.encode()), (".png", base64.b64decode(png))):
            with replacing(root / f"{name}{suffix}") as stream:
                stream.write(content)
            written.append(root / f"{name}{suffix}")
    return written


def _drawn(figures: Mapping[str, figure], width: int) -> dict[str, tuple[str, str]]:
    data = inline_json(figures_json(figures))
    places = "".join(f'<div data-figure="{html.escape(name)}"></div>' for name in figures)
    page = (
        f'<!doctype html><meta charset="utf-8"><body style="margin:0;width:{width}px">{places}'
        f'<script type="application/json" id="figures">{data}</script>'
        f"<script>{bokeh_script()}</script>"
        f"<script>{inline_script(front_end('drawing.js'))}</script>"
    )
    # Wider than the figures, as a window is.
    answer = json.loads(drawn(page.encode(errors="replace"), width=width + 80, sharp=2))
    return {name: (svg, png) for name, svg, png in answer}
