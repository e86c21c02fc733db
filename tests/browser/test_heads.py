"""The heads panel: measures, list, maps of long prompts, effects, word pairs, scatter."""

from __future__ import annotations

import json
from typing import Any, cast

import numpy as np
import pytest
from playwright.sync_api import Locator, Page, expect
from twinlens.contract.words import SIDES
from twinlens.pages.page import to_html
from twinlens.traces.trace import Trace

from tests.browser.lab import Notebook
from tests.browser.panels import Compact
from tests.browser.poll import until
from tests.support.made_up import WORDS, MadeUpTrace, manifest

#: The third answer token of the made-up trace, and where it is read.
TOKEN, COLUMN = 18, 2


class Measured(MadeUpTrace):
    """With exact effects of heads set to zero among its recorded blocks."""

    def keys(self):
        yield from super().keys()
        for side in SIDES:
            yield from (f"heads/ablation/{side}/zero/{at}" for at in ("answer", COLUMN))


class Heads:
    """The heads panel of a page."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.panel = page.locator("[data-panel=heads]").first
        self.settle()

    def settle(self) -> None:
        def state() -> str | None:
            return self.panel.get_attribute("data-state")

        until(state, lambda now: now == "ready", "the heads panel")

    def again(self, act: Any) -> None:
        """Do something that runs the panel again, and wait for it."""
        self.panel.evaluate("panel => { panel.dataset.state = 'waiting'; }")
        act()
        self.settle()

    def tab(self, name: str) -> None:
        self.again(self.panel.locator(f"[data-tab={name}]").click)

    def measure(self, name: str) -> None:
        picker = self.panel.get_by_label("Colour of the heads")
        self.again(lambda: picker.select_option(name))

    def select(self, **selection: int) -> None:
        """Select as a click does: through the grid, or a token elsewhere in the page."""
        if "token" in selection:
            token = self.page.locator(f"[data-token='{selection['token']}']").first
            self.again(token.click)
        if "head" in selection:
            canvas = self.panel.locator(".tl-grids canvas[data-side=tuned]")
            box = canvas.bounding_box()
            grid = self.panel.locator(".tl-grids")
            assert box is not None
            x = box["width"] / int(grid.get_attribute("data-heads") or 0)
            y = box["height"] / int(grid.get_attribute("data-layers") or 0)
            at = {"x": (selection["head"] + 0.5) * x, "y": (selection["layer"] + 0.5) * y}
            self.again(lambda: canvas.click(position=cast(Any, at)))

    def grid(self) -> dict[str, np.ndarray[Any, Any]]:
        """What the three pictures of the grid show."""
        text = self.panel.evaluate(
            """panel => JSON.stringify(Object.fromEntries(Object.entries(
                panel.querySelector('.tl-grids canvas').twinlens.values
            ).map(([name, list]) => [name, Array.from(list)])))"""
        )
        return {name: np.array(list, np.float64) for name, list in json.loads(text).items()}

    def rows(self, inside: str) -> list[str]:
        rows = self.panel.locator(f"{inside} [data-row]")
        return cast(list[str], rows.evaluate_all("rows => rows.map(row => row.dataset.row)"))


def open_page(offline: Page, trace: Trace, tmp_path: Any, **options: Any) -> Heads:
    view = {"dashboard": {"layout": "grid"}}
    to_html(trace, tmp_path / "page.html", **{"view": view, **options})
    offline.goto((tmp_path / "page.html").as_uri())
    return Heads(offline)


def names(order: Any, heads: int) -> list[str]:
    return [f"{at // heads}/{at % heads}" for at in np.asarray(order)]


def test_every_measure_shows_what_the_trace_holds(offline, watch, tmp_path):
    shown = Compact(Measured())
    heads = open_page(offline, Measured(), tmp_path)
    heads.select(token=TOKEN)

    def check(expected: dict[str, Any]) -> None:
        found = heads.grid()
        for name, values in expected.items():
            np.testing.assert_allclose(found[name], np.ravel(values), atol=1e-5, err_msg=name)

    for name in ("previous", "sink", "entropy"):
        heads.measure(name)
        row = {side: shown.array(f"heads/{name}/{side}")[TOKEN - 1] for side in SIDES}
        check({**row, "third": row["tuned"] - row["base"]})
    for name, key in (("effect", "heads/effect/{}/{}"), ("exact", "heads/ablation/{}/zero/{}")):
        heads.measure(name)
        row = {side: shown.array(key.format(side, COLUMN)) for side in SIDES}
        check({**row, "third": row["tuned"] - row["base"]})
    for name, column in (("query_key", 0), ("value_output", 2)):
        heads.measure(name)
        check({"third": Measured().array("heads/circuits")[..., column]})
    heads.measure("pairs")
    gained, kept, lost = np.moveaxis(Measured().array("word_pairs/counts"), -1, 0)
    check({"base": kept + lost, "tuned": kept + gained, "third": gained})

    average = heads.panel.get_by_label("Where the heads are read")
    heads.again(lambda: average.select_option("average"))
    heads.measure("effect")
    check({side: shown.array(f"heads/effect/{side}/answer") for side in SIDES})
    assert watch.errors == []


def test_the_list_is_sorted_and_walks_with_the_keys(offline, watch, tmp_path):
    heads = open_page(offline, Measured(), tmp_path)
    heads.measure("change")
    heads.again(heads.panel.get_by_role("button", name="list").click)
    change = Compact(Measured()).array("heads/change").astype(np.float64).mean(axis=0).ravel()
    order = names(np.argsort(-change, kind="stable"), 8)
    assert heads.rows(".tl-head-list") == order[: len(heads.rows(".tl-head-list"))]
    heads.panel.locator(".tl-head-list [role=listbox]").focus()
    for _ in range(3):
        heads.again(lambda: offline.keyboard.press("ArrowDown"))
    layer, head = order[2].split("/")
    assert heads.panel.locator("h3").inner_text() == f"Layer {layer}, head {head}"
    chosen = heads.panel.locator(".tl-head-list [aria-selected=true]")
    assert chosen.get_attribute("data-row") == order[2]
    assert f"layer {layer}, head {head}: change" in (chosen.get_attribute("aria-label") or "")
    base_sorter = heads.panel.locator("[data-sort=base]")
    expect(base_sorter).to_be_disabled()  # a change has no side
    heads.measure("instruction")
    base_sorter.click()
    base = Compact(Measured()).array("heads/instruction/base").astype(np.float64)
    n = Measured().manifest.prompt_length
    order = names(np.argsort(-base[n - 1 : -1].mean(axis=0).ravel(), kind="stable"), 8)
    heads.panel.locator(".tl-head-list [role=listbox]").evaluate("list => { list.scrollTop = 0; }")
    until(lambda: heads.rows(".tl-head-list")[:5], lambda rows: rows == order[:5], "sorted rows")
    assert watch.errors == []


def check_effects(heads: Heads, shown: Trace, at: object, side: str, measured: bool = True) -> None:
    """Compare the bars of the Effects tab with a trace: estimates hatched, exact ones solid."""
    keys = {"hatched": f"heads/effect/{side}/{at}", "solid": f"heads/ablation/{side}/zero/{at}"}
    for look, key in keys.items():
        if look == "solid" and not measured:
            continue
        values = shown.array(key)
        bars = heads.panel.locator(f".tl-effects .tl-needle[data-side={side}][data-look={look}]")
        found = bars.evaluate_all(
            "bars => bars.map(bar => [bar.closest('[data-row]').dataset.row, bar.dataset.value])"
        )
        assert len(found) > 3
        for name, value in found:
            layer, head = map(int, name.split("/"))
            assert float(value) == pytest.approx(values[layer, head], abs=1e-5)


def test_effects_show_estimates_beside_exact_ones(offline, watch, tmp_path):
    heads = open_page(offline, Measured(), tmp_path)
    heads.select(token=TOKEN)
    heads.tab("effects")
    shown = Compact(Measured())
    estimates = np.stack([shown.array(f"heads/effect/{side}/{COLUMN}").ravel() for side in SIDES])
    exact = np.stack([shown.array(f"heads/ablation/{s}/zero/{COLUMN}").ravel() for s in SIDES])
    measured = np.nan_to_num(np.abs(exact)).max(axis=0)
    # Those that were measured stand first, by what was measured.
    order = names(np.argsort(-measured, kind="stable")[: np.isfinite(exact).any(axis=0).sum()], 8)
    rows = heads.rows(".tl-effects")
    assert rows[: len(order)] == order[: len(rows)]
    heads.again(heads.panel.get_by_role("button", name="rank by estimated effect").click)
    order = names(np.argsort(-np.abs(estimates).max(axis=0), kind="stable"), 8)
    rows = heads.rows(".tl-effects")
    assert rows == order[: len(rows)]
    for side in SIDES:
        check_effects(heads, shown, COLUMN, side)
    assert "20 measured" in heads.panel.locator(".tl-effects > p").inner_text()
    # A page computes nothing, so it offers nothing to compute.
    assert heads.panel.get_by_role("button", name="the top twenty").count() == 0
    heads.again(heads.panel.locator(f"[data-row='{rows[1]}']").click)
    layer, head = rows[1].split("/")
    assert heads.panel.locator("h3").inner_text() == f"Layer {layer}, head {head}"
    assert watch.errors == []


def test_word_pairs_are_filtered_and_searched(offline, watch, tmp_path):
    trace = Measured()
    heads = open_page(offline, trace, tmp_path)
    heads.tab("pairs")
    pairs = {
        (layer, head): cast(dict[str, Any], trace.block(f"word_pairs/{layer}/{head}"))["rows"]
        for layer in range(4)
        for head in range(8)
    }
    best = int(np.argmax(trace.array("heads/change").astype(float).mean(axis=0)))
    rows = pairs[divmod(best, 8)]
    table = heads.panel.locator("tbody tr")
    texts = [line.split("\t")[:2] for line in table.all_inner_texts()]
    assert texts == [row[:2] for row in rows[: len(texts)]]
    heads.again(heads.panel.locator(".tl-chip[data-fate=kept]").click)
    heads.again(heads.panel.locator(".tl-chip[data-fate=lost]").click)
    gained = [row[:2] for row in rows if row[2] == 0]
    texts = [line.split("\t")[:2] for line in table.all_inner_texts()]
    assert texts == gained

    heads.again(lambda: heads.panel.get_by_role("searchbox").fill("dog"))
    until(lambda: heads.rows(".tl-found"), bool, "heads that hold the word")
    change = {}
    for at, rows in pairs.items():
        mine = [row for row in rows if "dog" in row[:2]]
        if mine:
            change[f"{at[0]}/{at[1]}"] = sum((row[3] > 0) - (row[2] > 0) for row in mine)
    found = heads.panel.locator(".tl-found [data-row]")
    values = dict(
        found.evaluate_all(
            "rows => rows.map(row => [row.dataset.row,"
            " Number(row.querySelector('[data-value]').dataset.value)])"
        )
    )
    assert values == {name: change[name] for name in values}
    assert len(values) == min(len(change), len(values))
    assert list(values.values()) == sorted(values.values(), reverse=True)
    name = next(iter(values))
    heads.again(found.first.click)
    assert heads.panel.get_attribute("data-selection") == f"-1/{name}/"
    assert watch.errors == []


def test_the_scatter_and_the_grid_select_each_other(offline, watch, tmp_path):
    heads = open_page(offline, Measured(), tmp_path)
    heads.tab("scatter")
    chart = heads.panel.locator(".tl-head-scatter")

    def chosen() -> list[int] | None:
        text = chart.evaluate("el => JSON.stringify(el.twinlens?.chosen ?? null)")
        return cast(list[int] | None, json.loads(text))

    until(chosen, lambda now: now == [], "the scatter")
    heads.select(layer=2, head=5)
    until(chosen, lambda now: now == [21], "the point of the selected head")
    # Where Bokeh drew head 1.3 in the first figure.
    place = chart.evaluate(
        """el => {
          const roots = [...twinlensBokeh.index.roots];
          const views = roots.flatMap(view => [view, ...view.child_views ?? []]);
          const view = views.find(view => view.model.name === 'pattern_figure');
          const { weights, pattern } = el.twinlens.values;
          const box = view.el.getBoundingClientRect();
          const at = view.frame.bbox;
          return [
            box.left + view.frame.x_scale.compute(weights[11]),
            box.top + view.frame.y_scale.compute(pattern[11]),
          ];
        }"""
    )
    heads.again(lambda: offline.mouse.click(*place))
    until(
        lambda: heads.panel.get_attribute("data-selection"),
        lambda now: now == "-1/1/3/",
        "the head of the clicked point",
    )
    assert watch.errors == []


class Wide(MadeUpTrace):
    """48 layers of 32 heads and 512 tokens, with the maps of two heads."""

    def __init__(self) -> None:
        prompt = [
            (f" {WORDS[i % len(WORDS)]}", "instruction" if i < 9 else "context") for i in range(480)
        ]
        tuned = tuple(f" {word.upper()}" for word in WORDS[:32])
        super().__init__(
            manifest(48, 32, prompt=prompt, answers={"base": tuned[:4], "tuned": tuned})
        )

    def keys(self):
        yield "heads/change"
        for side in SIDES:
            yield f"heads/instruction/{side}"
            yield from (f"attention/{side}/{head}" for head in ("3/5", "40/31"))
            yield from (f"heads/effect/{side}/{at}" for at in ("answer", 20))


def maps_note(heads: Heads) -> str:
    return heads.panel.locator(".tl-zoom-note").inner_text()


def test_48_layers_and_512_tokens_stay_usable(offline, watch, tmp_path):
    at = {"token": 500, "layer": 3, "head": 5}
    heads = open_page(offline, Wide(), tmp_path, kind="heads", budget_mb=20, selection=at)
    assert [len(values) for values in heads.grid().values()] == [48 * 32] * 3
    heads.select(layer=40, head=31)
    heads.select(layer=3, head=5)
    labels = heads.panel.locator(".tl-row-labels bdi:visible")
    assert labels.count() == 0
    box = heads.panel.locator("[data-map=base]").bounding_box()
    assert box is not None
    x, y, side = box["x"], box["y"], box["width"]
    offline.mouse.move(x + 0.5 * side, y + 0.95 * side)
    offline.mouse.down()
    offline.mouse.move(x + 0.53 * side, y + 0.98 * side, steps=3)
    offline.mouse.up()
    # Cells 256 to 271 across; 486 to 501 down.
    until(lambda: maps_note(heads), lambda note: note.startswith("rows 48"), "the zoomed part")
    first, last = maps_note(heads).split(",")[0].removeprefix("rows ").split("–")
    tokens = [WORDS[i % len(WORDS)] for i in range(480)] + [w.upper() for w in WORDS[:32]]
    assert labels.all_inner_texts() == tokens[int(first) : int(last) + 1]
    # The row that reads for the selected token is marked, and the selection has not moved.
    assert heads.panel.locator(".tl-reading:visible").count() == 3
    assert heads.panel.get_attribute("data-selection") == "500/3/5/"
    heads.panel.locator(".tl-maps").focus()
    offline.keyboard.press("0")
    assert "drag" in maps_note(heads)
    for _ in range(7):
        offline.keyboard.press("+")
    assert labels.count() > 8
    assert tokens[499] in labels.all_inner_texts()
    heads.tab("effects")
    assert heads.panel.evaluate("panel => panel.querySelectorAll('*').length") < 2000
    assert len(heads.rows(".tl-effects")) < 60
    order = heads.panel.locator(".tl-effects [role=listbox]")
    order.focus()
    heads.again(lambda: offline.keyboard.press("End"))
    last_row = heads.panel.locator(".tl-effects [aria-selected=true]")
    assert last_row.get_attribute("aria-posinset") == "1536"
    assert last_row.is_visible()
    assert watch.errors == []


@pytest.fixture(scope="module")
def embedded():
    """A live trace of the embedded pair, with exact effects on the whole answer."""
    from twinlens.compute.live.live import trace_pair
    from twinlens.compute.pair import demo_pair

    live = trace_pair(
        demo_pair(),
        "Rewrite this sentence in capital letters: The dog sleeps.",
        instruction="Rewrite this sentence in capital letters",
        response="shared",
        max_new_tokens=6,
    )
    for side in SIDES:
        live.block(f"heads/ablation/{side}/zero/answer")
    return live


def test_the_embedded_pair_carries_effects_and_word_pairs(embedded, offline, watch, tmp_path):
    heads = open_page(offline, embedded, tmp_path, kind="heads")
    heads.tab("effects")
    for side in SIDES:
        check_effects(heads, Compact(embedded), "answer", side)
    heads.measure("exact")
    found = heads.grid()
    exact = embedded.array("heads/ablation/tuned/zero/answer")
    np.testing.assert_allclose(found["tuned"], exact.ravel(), atol=1e-5)
    assert np.isnan(found["tuned"]).sum() == exact.size - 20
    heads.tab("pairs")
    rows = heads.panel.locator("tbody tr")
    assert rows.count() > 5
    assert watch.errors == []


SLOW = """
import time
import numpy as np
import twinlens as tl
from tests.support.made_up import MadeUpTrace
class Slow(MadeUpTrace):
    computes = True
    done = 0
    def block(self, key, report=None):
        parts = key.split("/")
        value = super().block(key, report)
        if parts[:2] != ["heads", "ablation"] or len(parts) == 7:
            return value
        if parts[-1] == "so_far":
            whole = super().block(key.removesuffix("/so_far")).ravel()
            known = np.flatnonzero(np.isfinite(whole))[:self.done]
            value = np.full(whole.shape, np.nan, np.float32)
            value[known] = whole[known]
            return value.reshape(4, 8)
        while self.done < 10:
            time.sleep(0.1)
            self.done += 1
            report(self.done, 20, "measuring heads")
        while True:
            time.sleep(0.2)
            report(self.done, 20, "measuring heads")
ex = tl.Explorer(Slow())
"""


def test_exact_effects_stream_in_and_can_be_stopped(page, lab, watch):
    opened = Notebook(page, lab, lab.write("effects.ipynb", [SLOW, "ex.heads()"]))
    opened.open()
    opened.run_all()
    heads = Heads(page)
    heads.tab("effects")
    solid: Locator = heads.panel.locator(".tl-effects [data-look=solid]")
    assert solid.count() == 0
    assert "unchecked" in heads.panel.locator(".tl-effects > p").inner_text()
    heads.panel.get_by_role("button", name="this head").click()
    until(solid.count, lambda n: n == 2, "the effect of one head in both models")
    heads.panel.get_by_role("button", name="the top twenty").click()
    job = heads.panel.get_by_role("status").filter(has_text="measuring heads")
    job.wait_for()
    until(solid.count, lambda n: n > 5, "exact effects that came so far")
    # The panel still answers while heads are measured.
    row = heads.panel.locator(".tl-effects [data-row]").nth(4)
    name = row.get_attribute("data-row")
    heads.again(row.click)
    assert heads.panel.get_attribute("data-selection") == f"-1/{name}/"
    job.get_by_role("button", name="Stop").click()
    heads.panel.get_by_text("Stopped.").wait_for()
    assert solid.count() > 5
    one = heads.panel.get_by_role("button", name="this head")
    until(one.is_enabled, bool, "the button that measures again")
    assert watch.outside() == []
