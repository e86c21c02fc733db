"""The front end as text: gzip in base 85, and the script that takes it apart again."""

from __future__ import annotations

import base64
import zlib
from functools import cache

from twinlens.pages.front_end import front_end

#: Bits of the window, and 16 for the header of gzip.
_GZIP = 15 + 16
_IN_HTML = str.maketrans("<>&", ",.:")
#: `unpacked(text)` promises what `packed85` was given, as text.
UNPACKED = """\
const unpacked = (text) => {
  const letters = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ" +
    "abcdefghijklmnopqrstuvwxyz!#$%:()*+-;,=.?@^_`{|}~";
  const digits = Object.fromEntries([...letters].map((letter, i) => [letter, i]));
  const groups = Math.ceil(text.length / 5);
  const view = new DataView(new ArrayBuffer(4 * groups));
  for (let group = 0; group < groups; group++) {
    let value = 0;
    for (let i = 5 * group; i < 5 * group + 5; i++) value = value * 85 + (digits[text[i]] ?? 84);
    view.setUint32(4 * group, value);
  }
  const bytes = new Blob([new Uint8Array(view.buffer, 0, text.length - groups)]);
  return new Response(bytes.stream().pipeThrough(new DecompressionStream("gzip"))).text();
};
"""


def packed85(data: bytes) -> str:
    """Base 85 of gzip: a sixteenth shorter than base 64.

    Its letters ``<>&`` are replaced by ``,.:``, so that it may stand in HTML. Quotes and
    backslashes are not among them, so it may stand in a string of a script, too.
    """
    packer = zlib.compressobj(9, wbits=_GZIP, memLevel=9)
    data = packer.compress(data) + packer.flush()
    return base64.b85encode(data).decode().translate(_IN_HTML)


@cache
def packed_module(name: str) -> str:
    """A built module of the front end, as one of less than half its length that unpacks it.

    A notebook keeps it in its file, and gets it with every explorer.
    """
    return f"""{UNPACKED}const code = await unpacked("{packed85(front_end(name).encode())}");
const address = URL.createObjectURL(new Blob([code], {{ type: "text/javascript" }}));
const whole = await import(address);
URL.revokeObjectURL(address);
export default whole.default;
"""
