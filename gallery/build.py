"""Write the gallery: a front page that runs both models, a viewer, and what notebooks export.

``python gallery/build.py [FOLDER]`` writes into ``gallery/build`` unless told otherwise. A saved
notebook shows nothing without its kernel, so the gallery is shown as the pages it exports. Its
front page, ``index.html``, needs no kernel: both models run in it. ``viewer.html`` opens
recordings.
"""

from __future__ import annotations

import sys
from pathlib import Path

import nbformat
import twinlens as tl
from nbclient import NotebookClient

HERE = Path(__file__).parent
SECONDS_PER_CELL = 600


def build(folder: Path) -> list[Path]:
    """Write front page and viewer, run every numbered notebook, and return all pages."""
    folder.mkdir(parents=True, exist_ok=True)
    tl.live_page(folder / "index.html", title="twinlens: type a prompt")
    tl.viewer_page(folder / "viewer.html")
    for notebook in sorted(HERE.glob("[0-9][0-9]_*.ipynb")):
        print(notebook.name, flush=True)
        client = NotebookClient(
            nbformat.read(notebook, as_version=4),
            timeout=SECONDS_PER_CELL,
            resources={"metadata": {"path": str(folder)}},
        )
        client.execute()
    return sorted(folder.glob("*.html"))


if __name__ == "__main__":
    for page in build(Path(sys.argv[1]) if len(sys.argv) > 1 else HERE / "build"):
        print(page)
