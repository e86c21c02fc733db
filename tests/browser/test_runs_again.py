"""The cell that everybody runs again and again: nothing of the former runs stays in the kernel."""

from __future__ import annotations

from playwright.sync_api import Page, expect

from tests.browser.lab import Lab, Notebook

_PAIR = "import twinlens as tl\npair = tl.demo_pair()"
_CELL = "ex = tl.explore(pair, 'The small dog sleeps.', response='shared', max_new_tokens=3)\nex"
_HELD = """def held():
    import gc
    from twinlens.compute.live.live import LiveTrace
    from twinlens.compute.passes.capture import Capture
    gc.collect()
    kinds = [type(one) for one in gc.get_objects()]
    return kinds.count(LiveTrace), kinds.count(Capture)
print(*held())"""


def test_a_cell_that_runs_again_lets_go_of_its_former_run(page: Page, lab: Lab) -> None:
    notebook = Notebook(page, lab, lab.write("again.ipynb", [_PAIR, _CELL]))
    notebook.open()
    notebook.run_all()
    found = []
    for _ in range(2):
        notebook.run_cell(1)
        saliency = page.locator(".tl-dashboard [data-panel=saliency]")
        expect(saliency).to_have_attribute("data-state", "ready")
        found.append(notebook.run(_HELD))
    assert found == ["1 2"] * 2, "one trace, with what a pass through each model left"
