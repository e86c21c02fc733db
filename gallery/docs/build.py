"""Write the documentation: pages with linked panels, raw Markdown beside each, and ``llms.txt``.

``python gallery/docs/build.py [FOLDER]`` writes into ``site/docs`` unless told otherwise.
"""

from __future__ import annotations

import os
import re
import shutil
import sys
import tempfile
from pathlib import Path

from panels import FOLDER, write_parts
from sphinx.cmd.build import build_main

HERE = Path(__file__).parent
SITE = HERE.parents[1] / "site" / "docs"


def build(folder: Path) -> None:
    """Write the whole documentation into a folder."""
    with tempfile.TemporaryDirectory() as work:
        sphinx("html", folder, Path(work) / "html", "-W", "--keep-going")
        write_raw(folder, Path(work))
    write_parts(folder / FOLDER)
    write_llms(folder)


def sphinx(builder: str, target: Path, trees: Path, *options: str) -> None:
    """Run Sphinx."""
    code = build_main(["-q", *options, "-b", builder, "-d", str(trees), str(HERE), str(target)])
    if code:
        raise SystemExit(code)


def write_raw(folder: Path, work: Path) -> None:
    """Put Markdown beside every page: its source, or what was made from docstrings."""
    os.environ["TWINLENS_DOCS_MARKDOWN"] = "yes"
    # It warns of what it has no Markdown for, the asterisk in front of keyword arguments.
    sphinx("markdown", work / "markdown", work / "trees", "-Q")
    for source in sorted(HERE.rglob("*.md")):
        name = source.relative_to(HERE)
        made = work / "markdown" / name if name.parts[0] == "reference" else source
        shutil.copyfile(made, folder / name)


def write_llms(folder: Path) -> None:
    """List all pages with their first sentence, as https://llmstxt.org has it."""
    lines = ["# twinlens", "", f"> {first_sentence(HERE / 'index.md')}", "", "## Docs", ""]
    for page in pages():
        name = page.relative_to(HERE).as_posix()
        lines.append(f"- [{title(page)}]({name}): {first_sentence(page)}")
    (folder / "llms.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")


def pages() -> list[Path]:
    """All pages, in the order of the tables of contents."""
    index = (HERE / "index.md").read_text("utf-8")
    listed = "".join(re.findall(r"```\{toctree\}(.*?)```", index, re.DOTALL)).splitlines()
    return [HERE / f"{name}.md" for name in listed if name and name[0] != ":"]


def title(page: Path) -> str:
    """The first heading of a page."""
    return parts_of(page)[0]


def first_sentence(page: Path) -> str:
    """The first sentence below the first heading."""
    paragraph = " ".join(parts_of(page)[1].split())
    return re.split(r"(?<=[.!?]) ", paragraph)[0]


def parts_of(page: Path) -> tuple[str, str]:
    """The first heading of a page, and the paragraph behind it."""
    heading, _, text = page.read_text("utf-8").removeprefix("# ").partition("\n\n")
    return heading, text.partition("\n\n")[0]


if __name__ == "__main__":
    build(Path(sys.argv[1]) if len(sys.argv) > 1 else SITE)
