"""Lines of text files, whatever wrote them: byte order marks, UTF-16, and what is no text."""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterator
from pathlib import Path

from twinlens.errors import TwinlensError

_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),  # in front of UTF-16: it begins with that mark
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)

# Bytes that are no UTF-8 are kept as these; NUL is in no text, but in UTF-16 without its mark.
_NO_TEXT = re.compile("[\0\udc80-\udcff]")


def text_lines(path: Path, refusal: type[TwinlensError]) -> Iterator[str]:
    """Lines of a text file with their ends, one after the other.

    It is read as UTF-8, or as what its byte order mark says.

    Raises
    ------
    TwinlensError
        Of the class `refusal`, if the file cannot be opened, or where a line is no such text: the
        message names file and line.
    """
    number = 0
    try:
        with path.open("rb") as file:
            start = file.read(4)
        encoding = next((name for mark, name in _MARKS if start.startswith(mark)), "utf-8")
        wide = encoding in ("utf-16", "utf-32")
        with path.open(
            encoding=encoding, errors="replace" if wide else "surrogateescape", newline=""
        ) as lines:
            for number, line in enumerate(lines, 1):
                if _NO_TEXT.search(line) or (wide and "\ufffd" in line):
                    raise refusal(
                        f"line {number} of {path.name} is no {encoding[:6].upper()} text: save "
                        "the file as UTF-8"
                    )
                yield line
    except (OSError, UnicodeError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise refusal(f"{path.name} cannot be read ({reason}): check the path") from error
