"""One offline page from a trace: every panel, linked, without network or kernel.

The page carries the front end's own bundle, so it shows what the notebook shows. Its
Content-Security-Policy allows nothing from outside, and only the scripts written here.
"""

from __future__ import annotations

import base64
import gzip
import hashlib
import html
import json
import os
import struct
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any, Literal, TypeAlias

from twinlens import charts
from twinlens.contract import blocks, wire
from twinlens.contract.manifest import Manifest, with_methods
from twinlens.contract.words import SELECTION_DEFAULTS, PanelKind
from twinlens.errors import TwinlensError
from twinlens.support.files import replacing
from twinlens.support.progress import Report
from twinlens.traces.marks import Mark
from twinlens.traces.trace import Trace

Theme: TypeAlias = Literal["auto", "light", "dark"]

DEFAULT_BUDGET_MB = 6.0


@dataclass(frozen=True)
class ExportReport:
    """What an export contains.

    Attributes
    ----------
    path : Path
        The page.
    size : int
        Its size in bytes.
    included, missing : tuple of str
        Block keys that are in it, and those left out to keep the budget.
    """

    path: Path
    size: int
    included: tuple[str, ...]
    missing: tuple[str, ...]

    def __str__(self) -> str:
        left_out = f", {len(self.missing)} blocks left out" if self.missing else ""
        return f"{self.path} ({self.size / 1e6:.1f} MB{left_out})"


def to_html(
    trace: Trace,
    path: str | os.PathLike[str],
    *,
    selection: Mapping[str, int | str] | None = None,
    method: str | None = None,
    marks: Sequence[Mark] | None = None,
    title: str | None = None,
    theme: Theme = "auto",
    kind: PanelKind = "dashboard",
    budget_mb: float = DEFAULT_BUDGET_MB,
    report: Report | None = None,
) -> ExportReport:
    """Write a trace as one HTML file that works offline.

    Parameters
    ----------
    trace : Trace
        Blocks are taken in the order of `Trace.keys` until the budget is spent.
    path : path
        Written only when complete: an error leaves an older file as it was.
    selection : mapping, optional
        ``token``, ``layer``, ``head`` and ``unit`` selected when the page opens.
    method : str, optional
        Saliency method shown first, the trace's first by default.
    marks : sequence of Mark, optional
        Spans marked anew, as the explorer has them; the trace's own by default.
    title : str, optional
        Title of the page, by default the names of the two models.
    theme : {"auto", "light", "dark"}
    kind : {"dashboard", "saliency", "heads", "concepts", "overview"}
        All panels, or one; only the dashboard and the overview carry charts.
    budget_mb : float
        Largest size of the page in megabytes (10^6 bytes).
    report : callable, optional
        Called with (done, total, what) for each block; may raise `Interrupted`.

    Returns
    -------
    ExportReport

    Raises
    ------
    TwinlensError
        If the front end is not built, or not even the empty page fits the budget.
    """
    manifest = trace.manifest
    charted = kind in ("dashboard", "overview")
    bokeh = charts.bokeh_script() if charted else ""
    script = front_end("page.js").replace("</script", "<\\/script").replace("<!--", "<\\!--")
    shell = {
        "title": title or f"{manifest.pair.base.name} · {manifest.pair.tuned.name}",
        "style": front_end("twinlens.css").replace("</style", "<\\/style"),
        "script": script,
        "policy": _policy(*filter(None, (script, bokeh))),
    }
    page: dict[str, Any] = {
        "manifest": manifest.to_json(),
        "selection": {**SELECTION_DEFAULTS, **(selection or {})},
        "method": method or _first_method(manifest),
        "marks": trace.marks if marks is None else list(marks),
        "theme": theme,
        "title": shell["title"],
        "kind": kind,
        "missing": [],
    }
    empty = len(_render(shell, page, ""))
    budget = int(budget_mb * 1e6) - empty
    keys = [charts.BOKEH_KEY, *charts.CHART_KEYS] if charted else []
    keys += trace.keys()
    if charted:
        keys += charts.panel_chart_keys(keys)
    encoded, missing = _take(trace, keys, budget, report)
    if charted and charts.BOKEH_KEY not in encoded:
        raise TwinlensError(
            f"a page needs at least {(empty + _cost(bokeh.encode())) / 1e6:.1f} MB, more than the "
            f"budget of {budget_mb:g} MB: raise budget_mb"
        )
    page["missing"] = missing
    page["manifest"] = with_methods(manifest, encoded).to_json()
    data = _render(shell, page, _pack(encoded))
    target = Path(path)
    with replacing(target) as stream:
        stream.write(data)
    return ExportReport(target, len(data), tuple(encoded), tuple(missing))


def front_end(name: str) -> str:
    """Text of one built file of the front end.

    Raises
    ------
    TwinlensError
        If it is not built.
    """
    file = files("twinlens") / "static" / name
    try:
        return file.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise TwinlensError(
            f"the front end is not built ({name} is missing): run `make js` in the checkout"
        ) from error


def _first_method(manifest: Manifest) -> str:
    return manifest.methods[0].name if manifest.methods else ""


def _take(
    trace: Trace, keys: list[str], budget: int, report: Report | None
) -> tuple[dict[str, tuple[wire.Header, bytes]], list[str]]:
    """Encode blocks in order until the budget is spent; also name those left out."""
    encoded: dict[str, tuple[wire.Header, bytes]] = {}
    for done, key in enumerate(keys):
        if report:
            report(done, len(keys), key)
        value = charts.page_value(trace, key)
        header, buffer = wire.encode(
            value, causal=blocks.is_causal(key), compact=not blocks.is_exact(key)
        )
        # A key that is left out is named in the page, so every key costs its own length.
        budget -= _cost(buffer) + len(key) + 8
        if budget < 0:
            return encoded, keys[done:]
        encoded[key] = header, buffer
    return encoded, []


def _cost(buffer: bytes) -> int:
    """Bytes a block takes in the page: compressed, as base64, with its line in the index."""
    return (len(zlib.compress(buffer, 6)) + 120) * 4 // 3


def _pack(encoded: Mapping[str, tuple[wire.Header, bytes]]) -> str:
    """Base64 of gzip of: length of the index (uint32, little-endian), index, all the bytes."""
    index, offset = {}, 0
    for key, (header, buffer) in encoded.items():
        index[key] = {**header, "offset": offset, "length": len(buffer)}
        offset += len(buffer)
    head = json.dumps(index, ensure_ascii=False, separators=(",", ":")).encode()
    body = b"".join(buffer for _, buffer in encoded.values())
    packed = gzip.compress(struct.pack("<I", len(head)) + head + body, 9, mtime=0)
    return base64.b64encode(packed).decode()


def _policy(*scripts: str) -> str:
    hashes = (base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() for text in scripts)
    allowed = " ".join(f"'sha256-{digest}'" for digest in hashes)
    return (
        f"default-src 'none'; script-src {allowed}; style-src 'unsafe-inline'; "
        "img-src data: blob:; base-uri 'none'; form-action 'none'"
    )


def _render(shell: Mapping[str, str], page: Mapping[str, Any], packed: str) -> bytes:
    # ASCII, so that half characters of a prompt survive.
    data = json.dumps(page, separators=(",", ":")).replace("<", "\\u003c")
    text = f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{html.escape(shell["policy"])}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="generator" content="twinlens">
<title>{html.escape(shell["title"])}</title>
<style>{shell["style"]}</style>
</head>
<body>
<script type="application/json" id="twinlens-page">{data}</script>
<script type="text/plain" id="twinlens-blocks">{packed}</script>
<script>{shell["script"]}</script>
</body>
</html>
"""
    return text.encode(errors="replace")
