"""Explorers live while a name or a cell's output has them, and no longer."""

from __future__ import annotations

import gc
import threading
import weakref
from typing import Any

import pytest
from ipywidgets.widgets import widget as registry
from traitlets.config import Config
from twinlens.view import lifetime
from twinlens.view.explorer import Explorer

from tests.support.made_up import MadeUpTrace

CELL = "ex = Explorer(MadeUpTrace())\nmade.append(weakref.ref(ex.trace))\n"


@pytest.fixture
def notebook(monkeypatch):
    """Run a cell of a notebook, as a kernel does whose page tells the cells' names."""
    from IPython.core.interactiveshell import InteractiveShell

    shell = InteractiveShell(config=Config({"HistoryManager": {"enabled": False}}))
    monkeypatch.setattr(lifetime, "running_shell", lambda: shell)
    monkeypatch.setattr(lifetime, "_displayed", {})
    made = []
    names: dict[str, Any] = {"displayed": lambda: [w for _, w in lifetime._displayed[None]]}
    names |= {"Explorer": Explorer, "MadeUpTrace": MadeUpTrace, "made": made, "weakref": weakref}
    shell.push({**names, "display": lambda widget: widget._repr_mimebundle_()})

    def run(code, cell):
        shell.get_parent = lambda: {"metadata": {"cellId": cell} if cell else {}}
        result = shell.run_cell(code, store_history=True, cell_id=cell)
        assert result.success
        del result
        shell.last_execution_result = None

    def alive():
        gc.collect()
        return [trace() is not None for trace in made]

    run.shell, run.alive = shell, alive
    yield run
    shell.reset()


@pytest.fixture(autouse=True)
def _no_former_widgets():
    before = set(registry._instances)
    yield
    gc.collect()
    assert set(registry._instances) <= before


def test_a_name_that_means_another_explorer_frees_the_former_one(notebook):
    for _ in range(3):
        notebook(CELL, "a")
    assert notebook.alive() == [False, False, True]
    notebook("ex = None", "b")
    assert notebook.alive() == [False] * 3


def test_an_explorer_that_answered_a_page_is_freed_with_its_threads():
    explorer = Explorer(MadeUpTrace())
    trace = weakref.ref(explorer.trace)
    content = {"kind": "block", "id": 1, "key": "disagreement"}
    message = {"content": {"data": {"method": "custom", "content": content}}, "buffers": []}
    explorer.comm.handle_msg(message)
    workers = [thread for thread in threading.enumerate() if thread.name.startswith("twinlens")]
    assert len(workers) == 2
    handle = explorer.comm.handle_msg
    del explorer
    gc.collect()
    for worker in workers:
        worker.join(timeout=5)
    assert trace() is None
    handle(message)  # what a page says to it that is still there leads to nothing


def test_a_panel_keeps_its_explorer():
    explorer = Explorer(MadeUpTrace())
    trace, panel = weakref.ref(explorer.trace), explorer.heads()
    del explorer
    gc.collect()
    assert trace() is not None
    panel.explorer.layer = 2
    del panel
    gc.collect()
    assert trace() is None


@pytest.mark.parametrize("shows", ["ex", "ex.heads()"])
def test_a_result_without_a_name_lives_until_its_cell_runs_again(notebook, shows):
    notebook(CELL + shows, "a")
    notebook("del ex", "b")
    for _ in range(3):
        notebook("1", "b")
    assert notebook.alive() == [True]
    notebook(CELL + shows, "a")
    assert notebook.alive() == [False, True]
    notebook("ex.layer = 1", "b")


def test_what_a_function_displays_lives_until_the_cell_runs_again(notebook):
    notebook(
        f"def show():\n    {CELL.strip().replace(chr(10), chr(10) + '    ')}\n    display(ex)", "a"
    )
    notebook("show()", "b")
    assert notebook.alive() == [True]
    notebook("show()", "c")
    notebook("show()", "b")
    assert notebook.alive() == [False, True, True]


def test_an_output_of_another_cell_is_left_alone(notebook):
    notebook(CELL + "ex", "a")
    notebook("ex", "b")
    number = notebook.shell.displayhook.prompt_count
    notebook("del ex", "a")
    assert notebook.alive() == [True]
    assert isinstance(notebook.shell.user_ns["Out"][number], Explorer)


def test_where_cells_have_no_names_what_is_displayed_stays_until_closed(notebook):
    notebook(CELL + "display(ex)", None)
    notebook(CELL + "display(ex)", None)
    assert notebook.alive() == [True, True]
    notebook("for shown in displayed():\n    shown.close()\nex = shown = None", None)
    assert notebook.alive() == [False, False]
