"""Measure what each notebook needs: ``python -m gallery.building.memory``.

Every notebook runs in a kernel of its own. Started in a control group with a limit, such as the
2 GB of a Binder machine, a notebook that needs more fails.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from shutil import copytree

import nbformat
from nbclient import NotebookClient

HERE = Path(__file__).parents[1]
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
    CellExecutionError, DeadKernelError
        If a cell fails, or the kernel is ended for its memory.
    """
    notebook = nbformat.read(path, as_version=4)
    cells = notebook.cells
    cells.append(nbformat.v4.new_code_cell(AFTER))
    with tempfile.TemporaryDirectory() as work:
        copytree(HERE / "recordings", Path(work) / "recordings")
        resources = {"metadata": {"path": work}}
        NotebookClient(notebook, timeout=SECONDS, resources=resources).execute()
    return int(cells[-1].outputs[0]["text"]) * 1024


if __name__ == "__main__":
    wanted = sys.argv[1:]
    for path in sorted(HERE.glob("[0-9][0-9]_*.ipynb")):
        if not wanted or path.name[:2] in wanted:
            print(f"| {path.stem} | {peak(path) / 1e9:.2f} GB |", flush=True)
