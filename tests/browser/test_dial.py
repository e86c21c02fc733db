"""The dial of the update in JupyterLab: every panel follows it, and comes back."""

from __future__ import annotations

import re

import numpy as np
from playwright.sync_api import expect
from twinlens.compute.live.live import trace_pair
from twinlens.compute.pair import demo_pair

from tests.browser.lab import Notebook
from tests.browser.panels import Panels, Selection

PROMPT = "Make this sentence negative: The cat swims."
OPTIONS = "template=True, response='shared', max_new_tokens=6"
SHOWN = ("saliency", "heads", "overview")


def test_every_panel_follows_the_dial_and_comes_back(page, lab, watch):
    cells = [
        f"import twinlens as tl\nex = tl.explore(tl.demo_pair(), {PROMPT!r}, {OPTIONS})",
        "ex.view = {'dashboard': {'layout': 'grid'}}\nex",
    ]
    opened = Notebook(page, lab, lab.write("dial.ipynb", cells))
    opened.open()
    opened.run_all()
    live = trace_pair(demo_pair(), PROMPT, template=True, response="shared", max_new_tokens=6)
    root = page.locator(".tl-dashboard")

    def check(trace):
        Panels(root, trace).check(Selection(), *SHOWN)

    check(live)
    root.get_by_role("button", name="take it apart").click()
    dial = root.locator("input.tl-dial")
    expect(dial).to_have_value("4", timeout=120_000)
    Panels(root, live).check(Selection(), "update")
    dial.fill("2")
    expect(root.locator(".tl-turned")).to_have_count(6, timeout=60_000)
    half = live.at(0.5)
    assert np.abs(half.array("logprob/tuned") - live.array("logprob/tuned")).max() > 0.1
    check(half)
    line = root.locator(".tl-models .tl-line").nth(1)
    expect(line).to_contain_text("base + 0.5 × update")
    expect(line.locator("q")).to_have_text(half.own_answer("tuned").strip())
    root.get_by_role("button", name="back to × 1").click()
    expect(root.locator(".tl-turned")).to_have_count(0)
    check(live)
    layer = half.manifest.pair.layers - 1
    names = root.locator(".tl-direction-name")
    names.filter(has_text=re.compile(rf"^{layer} ")).first.click()
    what = root.get_by_role("combobox", name="what the dial turns")
    caption = root.locator(".tl-update figcaption").nth(1)
    for part in ("layer", "kind", "direction"):
        value = what.locator(f"option[value^='{part}:']").get_attribute("value")
        what.select_option(value)
        turned = value.partition(":")[2]
        said = {"layer": f"in layer {turned}", "kind": f"in every {turned}"}
        expect(caption).to_contain_text(said.get(part, "along"), timeout=60_000)
        dial.fill("0")
        without = live.at(0, **{part: turned if part == "kind" else int(turned)})
        expect(line).to_contain_text(f"update × 0 {said.get(part, 'along')}", timeout=60_000)
        expect(line.locator("q")).to_have_text(without.own_answer("tuned").strip())
        if part == "layer":
            expect(root.locator(".tl-turned")).to_have_count(6, timeout=60_000)
            Panels(root, without).check(Selection(layer=layer), "overview")
    assert watch.errors == []
