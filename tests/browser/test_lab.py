"""JupyterLab as users have it: dashboard and separate panels, linked on the page."""

from __future__ import annotations

import pytest
from playwright.sync_api import expect

from tests.browser.axe import serious
from tests.browser.lab import Notebook
from tests.browser.panels import KINDS, Panels, Selection, walk
from tests.browser.poll import until
from tests.support.made_up import MadeUpTrace

MAKE = "from tests.support.made_up import MadeUpTrace\nimport twinlens as tl\n"
OPEN = f"{MAKE}ex = tl.Explorer(MadeUpTrace())"
SEPARATE = [
    "ex.findings_panel()",
    "ex.saliency()",
    "ex.carried()",
    "ex.update()",
    "ex.heads()",
    "ex.concepts()",
    "ex.overview()",
]


def dashboard(page, trace) -> Panels:
    return Panels(page.locator(".tl-dashboard"), trace)


def first_screen(page, trace, number=0) -> Panels:
    """What a dashboard shows before its other panels are asked for."""
    root = page.locator(".tl-dashboard").nth(number)
    return Panels(root, trace, unfold=False, kinds=("findings", "saliency"))


def separate(page, trace, **options) -> Panels:
    """Panels in cells of their own: those outside the dashboard."""

    class Apart(Panels):
        def panel(self, kind):
            return self.root.locator(
                f"[data-panel={kind}]:not(.tl-dashboard [data-panel={kind}])"
            ).first

    return Apart(page.locator("body"), trace, **options)


@pytest.fixture
def notebook(page, lab, request):
    def make(*cells):
        opened = Notebook(page, lab, lab.write(f"{request.node.name}.ipynb", cells))
        opened.open()
        opened.run_all()
        return opened

    return make


def test_every_click_reaches_every_panel_of_the_dashboard(notebook, page, trace, watch):
    notebook(OPEN, "ex")
    walk(dashboard(page, trace), head=(2, 5))
    assert serious(page, ".twinlens") == []
    assert watch.outside() == []


def test_panels_in_separate_cells_are_linked(notebook, page, trace, watch):
    notebook(OPEN, *SEPARATE)
    walk(separate(page, trace), head=(1, 3))
    # They have their explorer's styles, though it is not shown itself.
    expect(page.locator(".twinlens [role=tablist]").first).to_have_css("display", "flex")
    assert watch.outside() == []


def test_clicks_link_while_the_kernel_is_busy(notebook, page, trace):
    opened = notebook(OPEN, "ex", "ex.saliency()", "ex.heads()")
    both = [dashboard(page, trace), separate(page, trace)]
    both[0].check(Selection())
    both[1].check(Selection(), "saliency", "heads")
    # The kernel gives a comm its own thread only after its first messages.
    both[0].click_token(16)
    both[0].check(Selection(token=16))
    opened.start("import time\nwhile True: time.sleep(0.1)")
    both[0].click_token(17)
    both[0].check(Selection(token=17))
    both[1].check(Selection(token=17), "saliency", "heads")
    # An attention map that nobody asked for before comes while the cell still runs.
    both[1].click_head(3, 6)
    both[1].check(Selection(token=17, layer=3, head=6), "saliency", "heads")
    assert opened.is_running()
    opened.interrupt()


def test_the_selection_goes_both_ways(notebook, page, trace):
    opened = notebook(OPEN, "ex")
    panels = dashboard(page, trace)
    panels.check(Selection())
    opened.run("ex.select(token=18, layer=2, head=1, unit='neuron:3')")
    panels.check(Selection(18, 2, 1, "neuron:3"))
    panels.click_head(0, 4)
    panels.check(Selection(18, 0, 4))
    assert opened.run("print(ex.token, ex.layer, ex.head, repr(ex.unit))") == "18 0 4 ''"
    assert "0 to 20" in opened.run("ex.token = 99", fails=True)
    panels.check(Selection(18, 0, 4))


def test_a_restarted_kernel_and_a_reloaded_page_work_again(notebook, page, trace):
    opened = notebook(OPEN, "ex", "ex.heads()")
    first_screen(page, trace).check(Selection())
    opened.restart()
    opened.run_all()
    first_screen(page, trace).check(Selection())
    first_screen(page, trace).click_token(17)
    dashboard(page, trace).check(Selection(token=17))
    separate(page, trace).check(Selection(token=17), "heads")
    opened.save()
    opened.reload()
    opened.run_all()
    first_screen(page, trace).check(Selection())
    dashboard(page, trace).click_head(1, 2)
    separate(page, trace).check(Selection(layer=1, head=2), "heads")


def test_reloading_the_page_keeps_the_panels_of_a_living_kernel(notebook, page, trace):
    opened = notebook(OPEN, "ex")
    first_screen(page, trace).click_token(17)
    first_screen(page, trace).check(Selection(token=17))
    opened.save()
    opened.reload()
    dashboard(page, trace).check(Selection(token=17))


def test_opened_without_its_kernel_a_notebook_shows_a_still_picture(notebook, page, trace, lab):
    opened = notebook(OPEN, "ex", "ex.heads()")
    first_screen(page, trace).check(Selection())
    picture = page.locator("img[alt^='What hiding each prompt token costs']")
    expect(picture.first).to_be_attached()
    expect(picture.first).to_be_hidden()
    opened.save()
    lab.stop_kernels()
    opened.reload()
    expect(picture.first).to_be_visible()
    expect(picture).to_have_count(1)
    expect(page.get_by_text("The heads panel. Run the cells")).to_be_visible()
    assert picture.first.evaluate("image => image.naturalWidth") > 100


def test_two_explorers_do_not_follow_each_other(notebook, page, trace):
    notebook(OPEN, "ex", "other = tl.Explorer(MadeUpTrace())\nother")
    first, second = (first_screen(page, trace, number) for number in (0, 1))
    second.check(Selection())
    first.click_token(17)
    first.check(Selection(token=17))
    second.check(Selection())


def test_one_explorer_shown_twice_is_one(notebook, page, trace):
    notebook(OPEN, "ex", "ex")
    first, second = (first_screen(page, trace, number) for number in (0, 1))
    second.check(Selection())
    first.click_token(17)
    second.check(Selection(token=17))


def test_two_pages_on_one_kernel_each_get_their_own_blocks(notebook, page, trace):
    opened = notebook(OPEN, "ex")
    dashboard(page, trace).check(Selection())
    opened.save()
    other = page.context.new_page()
    Notebook(other, opened.lab, opened.name).open()
    dashboard(other, trace).check(Selection())
    dashboard(page, trace).click_head(3, 2)
    dashboard(other, trace).check(Selection(layer=3, head=2))
    dashboard(page, trace).check(Selection(layer=3, head=2))
    dashboard(other, trace).click_token(17)
    dashboard(page, trace).check(Selection(17, 3, 2))


def test_a_block_that_fails_is_said_and_the_others_stand(notebook, page, trace):
    notebook(
        MAKE
        + "class Broken(MadeUpTrace):\n"
        + "    def block(self, key, report=None):\n"
        + "        if key.startswith('shift/'): raise ValueError('no shift today')\n"
        + "        return super().block(key, report)\n"
        + "ex = tl.Explorer(Broken())",
        "ex",
    )
    panels = dashboard(page, trace)
    panels.check(Selection(), *[kind for kind in KINDS if kind != "overview"])
    message = panels.panel("overview").get_by_role("alert")
    message.wait_for()
    assert "no shift today" in message.inner_text()


def test_a_long_computation_shows_progress_and_can_be_stopped(notebook, page, trace):
    notebook(
        MAKE
        + "import time\n"
        + "class Slow(MadeUpTrace):\n"
        + "    def block(self, key, report=None):\n"
        + "        if 'occlusion' in key:\n"
        + "            for step in range(10**9):\n"
        + "                time.sleep(0.1)\n"
        + "                if report: report(step, 10**9, 'occluding')\n"
        + "        return super().block(key, report)\n"
        + "ex = tl.Explorer(Slow())",
        "ex",
        "ex.method = 'occlusion'",
    )
    panels = dashboard(page, trace)
    saliency = panels.panel("saliency")
    status = saliency.get_by_role("status").filter(has_text="occluding")
    status.wait_for()
    first = status.inner_text()
    until(status.inner_text, lambda text: text != first, "progress that moves")
    panels.check(Selection(), "heads")
    panels.click_head(1, 1)
    panels.check(Selection(layer=1, head=1), "heads", "concepts", "overview")
    saliency.get_by_role("button", name="Stop").click()
    until(lambda: saliency.get_attribute("data-state"), lambda s: s == "error", "the panel")


def test_the_made_up_trace_is_the_same_in_both_processes(notebook):
    opened = notebook(OPEN)
    seen = opened.run("print(float(ex.trace.head_change().sum()))")
    assert float(seen) == float(MadeUpTrace().head_change().sum())
