"""Run the gallery's notebooks from top to bottom and collect the pages they write.

``python gallery/build.py [FOLDER]`` writes into ``gallery/build`` unless told otherwise. A saved
notebook shows nothing without its kernel, so the gallery is shown as the pages it exports.
"""

from __future__ import annotations

import sys
from pathlib import Path

import nbformat
from nbclient import NotebookClient

HERE = Path(__file__).parent
SECONDS_PER_CELL = 600


def build(folder: Path) -> list[Path]:
    """Run every numbered notebook in `folder` and return the pages written there."""
    folder.mkdir(parents=True, exist_ok=True)
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
