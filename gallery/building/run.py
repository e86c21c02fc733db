"""Run a notebook in this process, and keep what its cells show.

No kernel: the explorers are then at hand, so that a page can be made of their numbers, and many
notebooks share what takes long to import and to load.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import nbformat
from IPython.core.displayhook import CapturingDisplayHook
from IPython.core.interactiveshell import InteractiveShell
from IPython.utils.capture import capture_output
from ipywidgets import DOMWidget
from traitlets.config import Config

#: Where an output says which widget it shows.
WIDGET = "application/vnd.jupyter.widget-view+json"


@dataclass
class Cell:
    """A cell and what it showed.

    Attributes
    ----------
    kind : "markdown" or "code"
    source : str
    outputs : list of dict
        By media type; of a widget its ``model_id``. What was printed is ``text/plain``.
    files : list of Path
        Files that it wrote, below the folder of the notebook.
    """

    kind: str
    source: str
    outputs: list[dict[str, Any]] = field(default_factory=list)
    files: list[Path] = field(default_factory=list)


@dataclass
class Ran:
    """A notebook that was run.

    Attributes
    ----------
    path : Path
        The notebook.
    picture : str
        The panel that stands for it in the index, as its metadata say; "" for its first one.
    cells : list of Cell
    widgets : dict of str to widget
        What outputs show, by ``model_id``.
    """

    path: Path
    picture: str
    cells: list[Cell]
    widgets: dict[str, DOMWidget]

    @property
    def title(self) -> str:
        """Its first heading."""
        return self.cells[0].source.splitlines()[0].lstrip("# ")

    @property
    def summary(self) -> str:
        """The paragraph below it."""
        return self.cells[0].source.split("\n\n")[1].replace("\n", " ")


def run(path: Path, folder: Path) -> Ran:
    """Run a notebook in a folder; what it writes lies there.

    Raises
    ------
    Exception
        Whatever a cell raises.
    """
    notebook = nbformat.read(path, as_version=4)
    widgets: dict[str, DOMWidget] = {}
    cells: list[Cell] = []
    with _shell(widgets) as shell, _inside(folder):
        for one in notebook.cells:
            cell = Cell(one.cell_type, one.source)
            cells.append(cell)
            if cell.kind == "code":
                before = set(_files(folder))
                value = CapturingDisplayHook(shell=shell, outputs=[])
                shell.display_trap.hook = value
                with capture_output() as shown:
                    result = shell.run_cell(cell.source)
                result.raise_error()
                if shown.stdout:
                    cell.outputs.append({"text/plain": shown.stdout})
                cell.outputs += [output.data for output in shown.outputs]
                cell.outputs += [output["data"] for output in value.outputs]
                cell.files = sorted(set(_files(folder)) - before)
    return Ran(path, notebook.metadata.get("twinlens", {}).get("picture", ""), cells, widgets)


@contextmanager
def _shell(widgets: dict[str, DOMWidget]) -> Iterator[InteractiveShell]:
    """A shell without history, that notes which widgets are shown."""

    def note(widget: DOMWidget, **_: Any) -> tuple[dict[str, Any], dict[str, Any]]:
        widgets[widget.model_id] = widget
        return {WIDGET: {"model_id": widget.model_id}, "text/plain": repr(widget)}, {}

    shell = InteractiveShell.instance(config=Config(HistoryManager={"enabled": False}))
    formatter = shell.display_formatter
    assert formatter is not None
    formatter.mimebundle_formatter.for_type(DOMWidget, note)
    try:
        yield shell
    finally:
        InteractiveShell.clear_instance()


@contextmanager
def _inside(folder: Path) -> Iterator[None]:
    """Be in a folder, whose modules can be imported, as in a kernel."""
    before = Path.cwd()
    os.chdir(folder)
    sys.path.insert(0, str(folder))
    try:
        yield
    finally:
        sys.path.remove(str(folder))
        os.chdir(before)


def _files(folder: Path) -> Iterator[Path]:
    """Pages and recordings, which a reader may want."""
    for ending in ("*.html", "*.twl"):
        yield from (path.relative_to(folder) for path in folder.glob(ending))
