"""Build the gallery's site: ``python -m gallery.build [FOLDER]``, by default into ``site``.

``index.html`` leads to ``live.html``, in which both models run, to a page for every notebook, to
``viewer.html``, which opens recordings, and to the recordings. Nothing in it needs a kernel or a
network.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Any
from unittest.mock import patch

import twinlens as tl
from twinlens import demo_pair

from gallery.building.index import Entry, links, write_index
from gallery.building.page import write_page
from gallery.building.pictures import Pictures, camera, pictures
from gallery.building.run import Ran, run

HERE = Path(__file__).parent
NOTEBOOKS = sorted(HERE.glob("[0-9][0-9]_*.ipynb"))
LIVE = Entry(
    "live.html",
    "Type a prompt: both models run in the page",
    "Nothing is installed and nothing is sent: pick a prompt or type one, mark its instruction, "
    "and both models answer, with what changed between them.",
    {},
)


def build(site: Path) -> Path:
    """Build everything, and return the index."""
    site.mkdir(parents=True, exist_ok=True)
    tl.viewer_page(site / "viewer.html")
    tl.live_page(site / "live.html", title="twinlens: type a prompt")
    ran = [one for one, _ in build_notebooks(site, NOTEBOOKS)]
    recordings = _recordings(site)
    entries = [entry(one) for one in ran]
    with camera() as browser:
        if browser:
            entries = [
                _with(item, pictures(browser, site / item.address, one.picture))
                for item, one in zip(entries, ran, strict=True)
            ]
    write_index(site / "index.html", LIVE, entries, recordings)
    return site / "index.html"


def build_notebooks(site: Path, notebooks: Iterable[Path]) -> list[tuple[Ran, Path]]:
    """Run notebooks and write their pages into ``gallery`` below the site."""
    folder = site / "gallery"
    folder.mkdir(parents=True, exist_ok=True)
    with patch.object(tl, "demo_pair", _demo_pair, create=True):
        ran = [_run(path, folder) for path in notebooks]
    entries = [entry(one) for one in ran]
    pages = []
    for place, (one, shown) in enumerate(zip(ran, entries, strict=True)):
        former = entries[place - 1] if place else None
        following = entries[place + 1] if place + 1 < len(entries) else None
        write_page(one, site / shown.address, links("../", former, following))
        pages.append((one, site / shown.address))
    return pages


@cache
def _demo_pair(*arguments: Any) -> tl.Pair:
    """The embedded pair, loaded once for all notebooks."""
    return demo_pair(*arguments)


def entry(ran: Ran) -> Entry:
    """A notebook's page in the index."""
    return Entry(f"gallery/{ran.path.stem}.html", ran.title, ran.summary, {})


def _run(path: Path, folder: Path) -> Ran:
    """Run a notebook as in its own folder, and keep the pages and recordings that it wrote."""
    print(path.name, flush=True)
    with tempfile.TemporaryDirectory() as work:
        shutil.copytree(HERE / "recordings", Path(work) / "recordings")
        ran = run(path, Path(work))
        for file in [file for cell in ran.cells for file in cell.files]:
            target = folder / path.stem / file
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(Path(work) / file, target)
    return ran


def _recordings(site: Path) -> list[Path]:
    """All recordings, to be taken away."""
    folder = site / "recordings"
    folder.mkdir(exist_ok=True)
    found = [*(HERE / "recordings").glob("*.twl"), *(site / "gallery").glob("*/*.twl")]
    return sorted(Path(shutil.copy(file, folder)) for file in found)


def _with(item: Entry, taken: Pictures) -> Entry:
    return Entry(item.address, item.title, item.summary, taken)


if __name__ == "__main__":
    print(build(Path(sys.argv[1]) if len(sys.argv) > 1 else HERE.parent / "site"))
