"""Measure what each notebook needs: ``python -m gallery.building.memory``.

Every notebook runs in a kernel of its own, whose data may not exceed what a Binder machine has.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from shutil import copytree

import nbformat
from nbclient import NotebookClient

from gallery.build import HERE, NOTEBOOKS

#: Bytes: of the 2 GB of a Binder machine JupyterLab's server takes the rest.
LIMIT = 1_800_000_000
BEFORE = f"import resource\nresource.setrlimit(resource.RLIMIT_DATA, ({LIMIT}, {LIMIT}))"
AFTER = (
    "from pathlib import Path\n"
    "lines = Path('/proc/self/status').read_text().splitlines()\n"
    "print(next(line.split()[1] for line in lines if line.startswith('VmHWM')))"
)
SECONDS = 900


def peak(path: Path) -> int:
    """Largest resident memory of a notebook's kernel, in bytes.

    Raises
    ------
    CellExecutionError
        If a cell fails, as it does beyond the limit.
    """
    notebook = nbformat.read(path, as_version=4)
    cells = notebook.cells
    cells.insert(0, nbformat.v4.new_code_cell(BEFORE))
    cells.append(nbformat.v4.new_code_cell(AFTER))
    with tempfile.TemporaryDirectory() as work:
        copytree(HERE / "recordings", Path(work) / "recordings")
        resources = {"metadata": {"path": work}}
        NotebookClient(notebook, timeout=SECONDS, resources=resources).execute()
    return int(cells[-1].outputs[0]["text"]) * 1024


if __name__ == "__main__":
    wanted = sys.argv[1:]
    for path in NOTEBOOKS:
        if not wanted or path.name[:2] in wanted:
            print(f"| {path.stem} | {peak(path) / 1e9:.2f} GB |", flush=True)
