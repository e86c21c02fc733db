"""HTML by hand: the built front end, and what may stand in a script, a style or a policy."""

from __future__ import annotations

import base64
import hashlib
import html
import json
from importlib.resources import files
from typing import Any

from twinlens.errors import TwinlensError


def inline_script(text: str) -> str:
    """A script as it may stand in a script element."""
    return text.replace("</script", "<\\/script").replace("<!--", "<\\!--")


def inline_style(text: str) -> str:
    """A style sheet as it may stand in a style element."""
    return text.replace("</style", "<\\/style")


def inline_json(value: Any) -> str:
    """JSON as it may stand in a script element; ASCII, so that half characters survive."""
    return json.dumps(value, separators=(",", ":")).replace("<", "\\u003c")


def policy(*scripts: str, wasm: bool = False) -> str:
    """Content-Security-Policy that allows these scripts and nothing from outside.

    Parameters
    ----------
    wasm : bool
        Whether WebAssembly that they hold may be compiled, too.
    """
    hashes = (base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() for text in scripts)
    allowed = " ".join(f"'sha256-{digest}'" for digest in hashes)
    if wasm:
        allowed += " 'wasm-unsafe-eval'"
    return (
        f"default-src 'none'; script-src {allowed}; style-src 'unsafe-inline'; "
        "img-src data: blob:; base-uri 'none'; form-action 'none'"
    )


def document(title: str, style: str, rules: str, body: str) -> str:
    """A complete page.

    Parameters
    ----------
    title : str
        Any text.
    style : str
        A style sheet.
    rules : str
        Its Content-Security-Policy.
    body : str
        HTML, lines with their ends.
    """
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{html.escape(rules)}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="generator" content="twinlens">
<title>{html.escape(title)}</title>
<style>{inline_style(style)}</style>
</head>
<body>
{body}</body>
</html>
"""


def front_end(name: str) -> str:
    """Text of one built file of the front end.

    Raises
    ------
    TwinlensError
        If it is not built.
    """
    return _built(name).decode()


def zipped_front_end(name: str) -> bytes:
    """Gzip of a script that travels inside other files: ``page.js`` and ``explorer.js``.

    It was packed when the front end was built, for longer than a page could wait.

    Raises
    ------
    TwinlensError
        If it is not built.
    """
    return _built(f"{name}.gz")


def _built(name: str) -> bytes:
    file = files("twinlens") / "static" / name
    try:
        return file.read_bytes()
    except FileNotFoundError as error:
        raise TwinlensError(
            f"the front end is not built ({name} is missing): run `make js` in the checkout"
        ) from error
