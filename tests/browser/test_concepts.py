"""The concepts panel beyond its first view: layouts, tabs, search, rotation, names by hand."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any, cast

import numpy as np
import pytest
from playwright.sync_api import Locator, expect
from twinlens.contract.wire import Value
from twinlens.contract.words import SIDES
from twinlens.pages.page import to_html
from twinlens.support.progress import Report
from twinlens.traces.trace import Trace

from tests.browser.lab import Notebook
from tests.browser.panels import Compact, Panels, Selection
from tests.browser.poll import until
from tests.browser.test_lab import MAKE, dashboard
from tests.support.made_up import MadeUpTrace, manifest

_WORDS = """panel => [...panel.querySelectorAll(".tl-zone")].map(zone => ({
  claimed: Number(/(\\d+) words?$/.exec(zone.querySelector(".tl-zone-title").textContent)[1]),
  box: zone.querySelector(".tl-field").getBoundingClientRect().toJSON(),
  words: [...zone.querySelectorAll("[data-word]")].map(word => ({
    word: word.dataset.word,
    size: parseFloat(getComputedStyle(word).fontSize),
    cut: word.textContent.endsWith("…"),
    box: word.getBoundingClientRect().toJSON(),
  })),
}))"""


@pytest.fixture
def named() -> MadeUpTrace:
    return MadeUpTrace(manifest(components=12), labelled=True)


def show(page, trace: Trace, tmp_path, **options) -> Panels:
    view = {"dashboard": {"layout": "grid"}}
    to_html(trace, tmp_path / "page.html", **{"view": view, **options})
    page.goto((tmp_path / "page.html").as_uri())
    return Panels(page.locator("body"), Compact(trace))


def ready(panels: Panels) -> Locator:
    panel = panels.panel("concepts")
    expect(panel).to_have_attribute("data-state", "ready")
    return panel


def tab(panels: Panels, name: str) -> Locator:
    panel = ready(panels)
    panel.locator(f"[data-tab={name}]").click()
    return ready(panels)


def numbers(found: Locator) -> list[float]:
    return [float(value) for value in found.evaluate_all("all => all.map(e => e.dataset.value)")]


@pytest.mark.parametrize("width", [1280, 400])
def test_every_claimed_word_is_drawn_legibly(width, named, offline, watch, tmp_path):
    offline.set_viewport_size({"width": width, "height": 900})
    panels = show(offline, named, tmp_path, kind="concepts")
    for shape in ("zones", "clouds"):
        for ends in ("together", "apart"):
            panel = ready(panels)
            panel.get_by_label("How the words are laid out").select_option(shape)
            panel.get_by_label("Ends of the direction").select_option(ends)
            zones = ready(panels).evaluate(_WORDS)
            assert len(zones) == (3 if shape == "zones" else 2) * (2 if ends == "apart" else 1)
            assert sum(zone["claimed"] for zone in zones) > 20
            for zone in zones:
                assert len(zone["words"]) == zone["claimed"]
                _check_zone(zone)
    assert watch.errors == []


def _check_zone(zone: dict[str, Any]) -> None:
    """Every word inside its zone, whole, large enough, and on top of no other."""
    outer, words = zone["box"], zone["words"]
    for word in words:
        box = word["box"]
        assert word["size"] >= 11, word
        assert not word["cut"], word
        assert outer["left"] - 1 <= box["left"] < box["right"] <= outer["right"] + 1, word
        assert outer["top"] - 1 <= box["top"] < box["bottom"] <= outer["bottom"] + 1, word
    for i, one in enumerate(words):
        for other in words[i + 1 :]:
            a, b = one["box"], other["box"]
            wide = min(a["right"], b["right"]) - max(a["left"], b["left"])
            high = min(a["bottom"], b["bottom"]) - max(a["top"], b["top"])
            assert wide < 1 or high < 1, (one["word"], other["word"])


def test_tabs_lead_to_units_of_both_models(named, offline, watch, tmp_path):
    """Keyboard along the tabs, a sorted table, a word found, a layer from the chart's list."""
    panels = show(offline, named, tmp_path)
    panels.check(Selection())
    shown = int(named.array("components/change").argmax())
    components = cast(list[dict[str, Any]], named.block(f"components/{shown}"))

    ready(panels).locator("[data-tab=units]").focus()
    offline.keyboard.press("ArrowRight")
    panel = ready(panels)
    expect(panel.get_by_role("tab", selected=True)).to_have_text("Components")
    panel.locator("[data-sort=angle]").click()
    expect(panel.locator("th[aria-sort=descending]")).to_have_text("angle")
    units = panel.locator("tbody [data-unit]").evaluate_all("all => all.map(e => e.dataset.unit)")
    angles = np.array([component["angle"] for component in components])
    assert units == [f"component:{k}" for k in np.argsort(-angles, kind="stable")]
    names = panel.locator("tbody .tl-cell-name").all_inner_texts()
    assert names.count("names of animals") == sum(
        component["name"] == "names of animals" for component in components
    )
    panel.locator("tbody tr").nth(4).locator("td").last.click()
    ready(panels)
    at = Selection(layer=shown, unit=units[4])
    panels.check(at, "saliency", "overview")

    tab(panels, "find").get_by_role("searchbox").fill("dog")
    offline.keyboard.press("Enter")
    places = cast(dict[str, Any], named.block("concepts/find/dog"))
    for side in SIDES:
        found = panels.panel("concepts").locator(f"[data-found={side}]")
        expect(found).to_have_count(len(places[side]))
        assert numbers(found) == pytest.approx([row[2] for row in places[side]], rel=1e-3)
    layer, component, *_ = places["base"][-1]
    panels.panel("concepts").locator("[data-found=base]").last.click()
    at = Selection(layer=layer, unit=f"component:{component}")
    panels.check(at, "saliency", "overview")
    expect(ready(panels).locator("[data-word=dog]")).to_have_count(1)

    panel = tab(panels, "rotation")
    rows = cast(list[dict[str, Any]], named.block("rotation"))
    gauges = numbers(panel.locator("[data-layer] .tl-gauge i"))
    wanted = [value for row in rows for value in (row["angle"], row["null"])]
    assert gauges == pytest.approx(wanted, rel=1e-3)
    expect(panel.locator(".tl-chart canvas").first).to_be_visible()
    panel.locator("[data-layer='0']").click()
    panels.check(Selection(layer=0), "saliency", "heads", "overview")
    assert watch.errors == []


def test_a_component_is_followed_through_both_models(named, offline, tmp_path):
    panels = show(offline, named, tmp_path, selection={"layer": 2, "unit": "component:3"})
    panels.check(Selection(layer=2, unit="component:3"), "saliency")
    lanes = panels.page.locator("[data-token] > .tl-tracks").evaluate_all(
        "all => all.map(e => [...e.children[1].querySelectorAll('.tl-bar')]"
        ".map(bar => Number(bar.dataset.value)))"
    )
    kept = Compact(named)
    base = kept.array("activations/base/2/components")[:, 3]
    along = kept.array("activations/tuned/2/base_components")[:, 3]
    np.testing.assert_allclose(lanes, np.stack([base, along], axis=1), rtol=1e-6)
    notes = panels.page.locator(".tl-notes").first.inner_text()
    assert "along base’s direction of concept 3" in notes


class _Feedforward(Trace):
    """The feed-forward part of a trace: what the concepts panel alone needs."""

    def __init__(self, trace: Trace) -> None:
        self.manifest = trace.manifest
        self._trace = trace

    def keys(self) -> Iterable[str]:
        kinds = ("components", "activations", "neurons", "neuron/", "rotation")
        return filter(lambda key: key.startswith(kinds), self._trace.keys())

    def block(self, key: str, report: Report | None = None) -> Value:
        return self._trace.block(key, report)


@pytest.fixture(scope="module")
def embedded() -> Trace:
    """The embedded pair on one sentence."""
    from twinlens.compute.live.live import trace_pair
    from twinlens.compute.pair import demo_pair

    prompt = "Rewrite this sentence in capital letters: The small dog sleeps."
    return _Feedforward(trace_pair(demo_pair(), prompt, max_new_tokens=12, response="tuned"))


def test_neurons_of_the_embedded_pair(embedded, offline, watch, tmp_path):
    """Estimates as computed, nothing measured unasked, and what became of the chosen one."""
    panels = show(offline, embedded, tmp_path, kind="concepts")
    panel = tab(panels, "neurons")
    panel.get_by_label("Order of the neurons").select_option("effect")
    panel = ready(panels)
    panel.get_by_label("Layers of the neurons").select_option("all")
    panel = ready(panels)
    effects = {side: Compact(embedded).array(f"neurons/effect/{side}/answer") for side in SIDES}
    rows = panel.locator(".tl-neuron")
    places = rows.evaluate_all("all => all.map(e => [e.dataset.layer, e.dataset.unit])")
    assert len(places) == 12
    for row, (layer, unit) in enumerate(places):
        wanted = [float(effects[s][int(layer), int(unit.split(":")[1])]) for s in SIDES]
        bars = rows.nth(row).locator("[data-look=hatched]")
        np.testing.assert_allclose(numbers(bars), wanted, rtol=1e-6, atol=1e-7)
        assert rows.nth(row).locator("[data-look=solid]").count() == 2
    rows.first.click()
    layer, unit = int(places[0][0]), places[0][1]
    expect(panels.panel("concepts")).to_have_attribute("data-selection", f"-1/{layer}/-1/{unit}")
    panel = ready(panels)
    change = cast(
        dict[str, Any], embedded.block(f"neuron/change/{layer}/{unit.split(':')[1]}/answer")
    )
    bars = numbers(panel.locator(".tl-card .tl-fact").nth(1).locator(".tl-needle"))
    np.testing.assert_allclose(bars, [change[side] for side in SIDES], rtol=2e-3)
    moved = numbers(panel.locator(".tl-card .tl-gauge i"))
    np.testing.assert_allclose(moved, [change["moved"]], rtol=1e-3)
    assert watch.errors == []


def test_names_by_hand_and_measuring_reach_the_kernel(page, lab):
    opened = Notebook(
        page, lab, lab.write("names.ipynb", [f"{MAKE}ex = tl.Explorer(MadeUpTrace())", "ex"])
    )
    opened.open()
    opened.run_all()
    trace = MadeUpTrace()
    panels = dashboard(page, trace)
    panels.check(Selection())
    opened.run("ex.select(layer=1, unit='component:2')")
    at = Selection(layer=1, unit="component:2")
    panels.check(at, "saliency", "heads", "concepts")
    panel = ready(panels)
    panel.get_by_role("button", name="name it").click()
    panel.get_by_role("textbox", name="name of the concept").fill("animal names")
    panel.get_by_label("writing").check()
    panel.get_by_label("semantics").check()
    panel.get_by_role("button", name="done").click()
    label = {"name": "animal names", "labels": ["writing", "semantics"]}
    until(
        lambda: json.loads(opened.run("import json; print(json.dumps(ex.labels))")),
        lambda labels: labels == {"1/2": label},
        "the label in Python",
    )
    opened.run("ex.labels = {**ex.labels, '1/0': {'name': 'verbs', 'labels': []}}")
    expect(panel.locator("[data-unit='component:0'] .tl-unit-given")).to_have_text("verbs")
    kept = "ex.save('kept.twl'); print(tl.open('kept.twl').trace.block('components/1')[2]['name'])"
    assert opened.run(kept) == "animal names"

    panel = tab(panels, "neurons")
    panel.get_by_role("button", name="measure exactly").click()
    rows = panel.locator(".tl-neuron")
    first = rows.first
    expect(first.locator(".tl-meter").nth(2).locator(".tl-needle")).to_have_count(2)
    neuron = str(first.get_attribute("data-unit")).split(":")[1]
    exact = [float(trace.array(f"neuron/ablation/{s}/1/{neuron}/answer")[0]) for s in SIDES]
    assert numbers(first.locator(".tl-meter").nth(2).locator(".tl-needle")) == exact
    assert first.locator("[data-look=hatched]").count() == 2
