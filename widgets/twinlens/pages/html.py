"""HTML by hand: the built front end, as text or packed, and what a script may hold."""

from __future__ import annotations

import base64
import hashlib
import html
import json
import zlib
from functools import cache
from importlib.resources import files
from typing import Any

from twinlens.errors import TwinlensError

#: Bits of the window, and 16 for the header of gzip.
_GZIP = 15 + 16
_IN_HTML = str.maketrans("<>&", ",.:")
_LETTERS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz!#$%:()*+-;,=.?@^_`{|}~"
#: `unpacked(text)` promises the script that `packed_script` names.
UNPACKED = f"""\
const unpacked = (text) => {{
  const digits = Object.fromEntries([..."{_LETTERS}"].map((letter, i) => [letter, i]));
  const view = new DataView(new ArrayBuffer(4 * Math.ceil(text.length / 5)));
  for (let at = 0; at < text.length; at += 5) {{
    let value = 0;
    for (let i = at; i < at + 5; i++) value = value * 85 + (digits[text[i]] ?? 84);
    view.setUint32(at / 5 * 4, value);
  }}
  const zip = new Blob([view.buffer.slice(0, text.length / 5 * 4)]);
  return new Response(zip.stream().pipeThrough(new DecompressionStream("gzip"))).text();
}};
"""


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


def packed85(data: bytes) -> str:
    """Base 85 of gzip: a sixteenth shorter than base 64.

    Its letters ``<>&`` are replaced by ``,.:``, so that it may stand in HTML. Quotes and
    backslashes are not among them, so it may stand in a string of a script, too.
    """
    # Less memory is more tables of codes: what stands in a page is of many kinds. To search for as
    # long as zlib can (9) would take four times as long, for a hundredth.
    packer = zlib.compressobj(7, wbits=_GZIP, memLevel=6)
    return _base85(packer.compress(data) + packer.flush())


@cache
def packed_script(name: str) -> str:
    """A built script as `packed85` gives it, of which it was packed for longer."""
    return _base85(zipped_front_end(name))


def _base85(data: bytes) -> str:
    return base64.b85encode(data).decode().translate(_IN_HTML)


@cache
def packed_module(name: str) -> str:
    """A built module of the front end, as one of less than half its length that unpacks it.

    A notebook keeps it in its file, and gets it with every explorer.
    """
    return f"""{UNPACKED}const code = await unpacked("{packed_script(name)}");
const address = URL.createObjectURL(new Blob([code], {{ type: "text/javascript" }}));
const whole = await import(address);
URL.revokeObjectURL(address);
export default whole.default;
"""
