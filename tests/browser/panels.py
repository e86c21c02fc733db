"""What panels show, read from the page, and what they should show, computed from a trace.

The second half repeats no code of the front end: it states in NumPy what design and captions
promise for a selection.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, cast

import numpy as np
import pytest
from playwright.sync_api import Locator, Page, expect
from twinlens.contract import blocks, lookup, wire
from twinlens.contract.wire import Value
from twinlens.contract.words import PUBLISHED, SIDES, Side, parse_unit, reading_position
from twinlens.errors import UnknownBlockError
from twinlens.measures.summary import trace_score
from twinlens.support.progress import Report
from twinlens.traces.trace import Trace

from tests.browser.poll import until

#: Share of the largest value of a picture; the page computes in float32 where NumPy has float64.
TOLERANCE = 1e-5
#: Components among which the most turned one is shown while nothing is selected.
LEADING = 10
KINDS = ("findings", "saliency", "carried", "update", "heads", "concepts", "overview")

_READ = """panel => {
  const number = el => el?.dataset.value === undefined ? null : Number(el.dataset.value);
  const token = el => ({
    token: Number(el.dataset.token),
    of: el.dataset.side ?? null,
    base: number(el.querySelector(":scope > .tl-up > .tl-bar")),
    tuned: number(el.querySelector(":scope > .tl-down > .tl-bar")),
    difference: number(el.querySelector(":scope > .tl-difference")),
    tracks: [...el.querySelectorAll(":scope > .tl-tracks > .tl-lane")].map(lane => [
      number(lane.querySelector(".tl-up > .tl-bar")),
      number(lane.querySelector(".tl-down > .tl-bar")),
    ]),
  });
  const plain = values => Array.from(values, v => Number.isFinite(v) ? v : null);
  const values = el => Object.fromEntries(
    Object.entries(el?.twinlens?.values ?? {}).map(([k, v]) => [k, plain(v)]));
  const chart = panel.querySelector(".tl-chart")?.twinlens?.values;
  return JSON.stringify({
    tokens: [...panel.closest(".twinlens").querySelectorAll("[data-token]")].map(token),
    scores: Object.fromEntries([...panel.querySelectorAll("[data-score]")].map(
      el => [el.dataset.score, number(el)])),
    matrix: values(panel.querySelector(".tl-matrix")),
    columns: [...(panel.querySelector(".tl-matrix")?.twinlens?.columns ?? [])],
    titles: [...panel.querySelectorAll(".tl-finding-title")].map(el => el.textContent),
    update: [...panel.querySelectorAll(".tl-direction-value[data-value]")].map(number),
    carried: [...panel.querySelectorAll(".tl-carried-value[data-value]")].map(number),
    grid: values(panel.querySelector(".tl-grids canvas")),
    maps: Object.assign({}, ...[...panel.querySelectorAll("canvas[data-map]")].map(values)),
    words: [...panel.querySelectorAll("[data-word]")].map(
      el => [el.dataset.word, el.dataset.zone, number(el)]),
    units: [...panel.querySelectorAll("[data-unit]")].map(el => [
      el.dataset.unit,
      ...["base", "tuned"].map(side => number(el.querySelector(`.tl-needle[data-side=${side}]`))),
    ]),
    shown: panel.querySelector("[data-unit][data-shown=true]")?.dataset.unit ?? null,
    effects: panel.querySelector("[data-effects]")?.dataset.effects ?? "",
    chart: chart && { ...chart, lens: Object.fromEntries(
      Object.entries(chart.lens).map(([k, v]) => [k, plain(v)])) },
  });
}"""
#: State and selection of a panel, as soon as they are as wanted; after half a second in any case.
_STATE = """(panel, wanted) => new Promise(resolve => {
  const now = () => [panel.dataset.state ?? null, panel.dataset.selection ?? null];
  const as_wanted = () => now().every((one, i) => one === wanted[i]);
  const answer = () => { watcher.disconnect(); resolve(now()); };
  const watcher = new MutationObserver(() => { if (as_wanted()) answer(); });
  watcher.observe(panel, {attributes: true, attributeFilter: ["data-state", "data-selection"]});
  setTimeout(answer, as_wanted() ? 0 : 500);
})"""


@dataclass(frozen=True)
class Selection:
    """The explorer's selection."""

    token: int = -1
    layer: int = -1
    head: int = -1
    unit: str = ""

    def __str__(self) -> str:
        return f"{self.token}/{self.layer}/{self.head}/{self.unit}"


class Compact(Trace):
    """A trace as an offline page holds it: most numbers in 8 bits."""

    def __init__(self, trace: Trace) -> None:
        self.manifest = trace.manifest
        self._trace = trace

    def keys(self) -> Iterable[str]:
        return self._trace.keys()

    def block(self, key: str, report: Report | None = None) -> Value:
        value = self._trace.block(key, report)
        compact = not lookup.is_exact(key)
        return wire.decode(*wire.encode(value, causal=lookup.is_causal(key), compact=compact))


class Panels:
    """The panels of one explorer somewhere in a page: clicked, and checked against a trace.

    Parameters
    ----------
    root : locator
        An element around the panels.
    trace : Trace
        What they should show.
    tolerance : float
        Allowed error as a share of the largest value of a picture.
    unfold : bool
        Have a dashboard show all panels before they are checked.
    kinds : sequence of str
        Panels that are checked unless others are named.
    patience : float
        Seconds a panel may take.
    """

    def __init__(
        self,
        root: Locator,
        trace: Trace,
        tolerance: float = TOLERANCE,
        unfold: bool = True,
        kinds: Sequence[str] = KINDS,
        patience: float = 180,
    ) -> None:
        self.unfold = unfold
        self.kinds = kinds
        self.patience = patience
        self.root = root
        self.trace = trace
        self.tolerance = tolerance

    @property
    def page(self) -> Page:
        return self.root.page

    def panel(self, kind: str) -> Locator:
        return self.root.locator(f"[data-panel={kind}]").first

    def check(self, selection: Selection, *kinds: str) -> None:
        """Wait until every panel has painted a selection, and compare all its numbers."""
        if self.unfold:
            self.show_all()
        for kind in kinds or self.kinds:
            panel = self.panel(kind)
            if kind == "update" and self._offers_no_update():  # a page that does not hold it
                assert self.trace.known(blocks.update()) is None
                continue
            wanted = ["ready", str(selection)]
            state = functools.partial(panel.evaluate, _STATE, wanted)
            until(state, wanted.__eq__, f"the {kind} panel, to be {wanted}", self.patience)
            if kind == "saliency":  # an estimate stands in until effects are measured
                status = panel.locator("[data-status]")
                until(
                    lambda status=status: status.count() and status.get_attribute("data-status"),
                    lambda now: now != "running",
                    "exact effects",
                    self.patience,
                )
                until(state, wanted.__eq__, f"the {kind} panel, to be {wanted}", self.patience)
            if kind == "concepts":  # effects at a token come one after the other
                effects = panel.locator("[data-effects]")
                until(
                    lambda effects=effects: effects.get_attribute("data-effects"),
                    lambda now: now not in ("awaited", "estimated"),
                    "the effects of units",
                    self.patience,
                )
            if kind == "update":
                self._take_apart(panel)
            getattr(self, f"_check_{kind}")(self._read(panel), selection)

    def _take_apart(self, panel: Locator) -> None:
        """What takes long waits to be asked for."""
        ask = panel.locator("button", has_text="take it apart")
        if ask.is_visible():
            ask.click()
            until(panel.locator(".tl-direction").count, bool, "directions", self.patience)

    def _read(self, panel: Locator) -> dict[str, Any]:
        """What a panel shows; as text, since Playwright takes long to hand over many numbers."""
        return cast(dict[str, Any], json.loads(panel.evaluate(_READ)))

    def show_all(self) -> None:
        """Have a dashboard show every panel, instead of one or two."""
        self.root.locator("[data-panel]").first.wait_for(state="attached")
        views = self._root("findings").locator("select[aria-label='How many panels are shown']")
        if views.count() and views.input_value() != "grid":
            views.select_option("grid")

    def _offers_no_update(self) -> bool:
        tab = self.root.locator(".tl-desk-bar [data-tab=update]")
        return tab.count() > 0 and bool(tab.first.evaluate("tab => tab.hidden"))

    def _root(self, kind: str) -> Locator:
        """What is mounted around a panel: itself, or a whole dashboard."""
        return self.panel(kind).locator("xpath=ancestor::*[contains(@class, 'twinlens')][1]")

    def click_token(self, token: int, side: Side | None = None) -> None:
        mark = f"[data-token='{token}']" + (f"[data-side={side}]" if side else "")
        tokens = self.panel("saliency").locator(
            "xpath=ancestor-or-self::*[contains(@class, 'twinlens')][1]"
        )
        tokens.locator(mark).click()

    def click_head(self, layer: int, head: int) -> None:
        if self.unfold:
            self.show_all()
        # Until it is drawn it has another size.
        expect(self.panel("heads")).to_have_attribute("data-state", "ready")
        pair = self.trace.manifest.pair
        canvas = self.panel("heads").locator(".tl-grids canvas[data-side=tuned]")
        box = canvas.bounding_box()
        assert box is not None
        x, y = (head + 0.5) * box["width"] / pair.heads, (layer + 0.5) * box["height"] / pair.layers
        canvas.click(position={"x": x, "y": y})

    def click_unit(self, unit: str) -> None:
        self.panel("concepts").locator(f"[data-unit='{unit}']").click()

    def _check_saliency(self, seen: dict[str, Any], at: Selection) -> None:
        manifest = self.trace.manifest
        n = manifest.prompt_length
        for side in SIDES:
            column = self._saliency(side, at)
            place = 0 if at.token < 0 or at.token >= n else n
            expected = np.full(manifest.length(side), np.nan)
            if column is not None:
                expected[place : place + len(column)] = column
            found = self._of_side(seen, side, side)
            self._same(found, expected, f"saliency of {side}")
            for k, track in enumerate(self._tracks(side, at)):
                lane = self._of_side(seen, side, side, track=k)
                self._same(lane, track, f"track {k} of {side}")
            self._same(seen["matrix"][side], self._matrix(side, seen["columns"]), f"{side} matrix")
        if manifest.shared:
            base, tuned = (self._matrix(side, seen["columns"]) for side in SIDES)
            self._same(seen["matrix"]["third"], tuned - base, "difference of the matrices", tuned)
        if at.token < 0 and manifest.segment_positions("instruction"):
            # It does not hold up the picture.
            until(
                lambda: self.panel("saliency").locator("[data-score]").count(),
                lambda now: now == len(SIDES),
                "the scores",
                self.patience,
            )
            seen = self._read(self.panel("saliency"))
            # A recording of a large pair may lack the method that its page was made with.
            for side in SIDES if manifest.score_method == PUBLISHED else ():
                score = trace_score(self.trace, side)
                assert seen["scores"][side] == _near(score, self.tolerance)

    def _matrix(self, side: Side, columns: list[int]) -> np.ndarray[Any, Any]:
        """Rows are answer tokens; template and special tokens have no column."""
        inside = self.trace.manifest.segment_positions("instruction", "context", "other")
        assert columns == (inside or list(range(self.trace.manifest.prompt_length)))
        return self.trace.saliency(side).values[columns].T

    def _check_findings(self, seen: dict[str, Any], at: Selection) -> None:
        findings = cast(list[dict[str, Any]], self.trace.block(blocks.findings()))
        titles = [finding["title"] for finding in findings]
        if seen["titles"] != titles:  # once the update is taken apart, something is said of it
            more = cast(list[dict[str, Any]], self.trace.block(blocks.update_finding()))
            titles += [finding["title"] for finding in more]
        assert seen["titles"] == titles

    def _check_carried(self, seen: dict[str, Any], at: Selection) -> None:
        manifest = self.trace.manifest
        if not manifest.shared:
            assert seen["carried"] == []
            return
        # Of large models it is recorded, and measured unasked, for the whole answer.
        pair = manifest.pair
        small = 2 * pair.layers * pair.hidden**2 <= 2**22
        token = at.token - manifest.prompt_length if small else -1
        if not self.trace.computes and blocks.carried(None) not in set(self.trace.keys()):
            assert seen["carried"] == []
            return
        try:
            carried = self.trace.block(blocks.carried(token if token >= 0 else None))
        except UnknownBlockError:
            carried = self.trace.block(blocks.carried(None))
        parts = cast(dict[str, Any], carried)["parts"]
        self._same(seen["carried"], [part["together"] for part in parts], "what carries it")

    def _check_update(self, seen: dict[str, Any], at: Selection) -> None:
        try:
            taken = cast(dict[str, Any], self.trace.block(blocks.update()))
            expected = [one["effect"] for one in taken["directions"]]
        except UnknownBlockError:  # of two answers, or recorded before it was looked at
            expected = []
        self._same(seen["update"], expected, "the update")

    def _of_side(
        self, seen: dict[str, Any], side: Side, name: str, track: int | None = None
    ) -> np.ndarray[Any, Any]:
        """One number per position of one side."""
        found = np.full(self.trace.manifest.length(side), np.nan)
        for one in seen["tokens"]:
            if one["of"] in (None, side):
                value = one[name] if track is None else one["tracks"][track][SIDES.index(side)]
                found[one["token"]] = np.nan if value is None else value
        return found

    def _saliency(self, side: Side, at: Selection) -> np.ndarray[Any, Any] | None:
        """Bars of one side: none beside the matrix, a column, or a row."""
        if at.token < 0:
            return None
        values = self.trace.saliency(side).values
        n = self.trace.manifest.prompt_length
        if at.token < n:
            return values[at.token]
        return values[:, at.token - n] if at.token - n < values.shape[1] else None

    def _tracks(self, side: Side, at: Selection) -> Iterator[np.ndarray[Any, Any]]:
        """Further lines under the text: attention of the head, activation of the unit."""
        manifest = self.trace.manifest
        read, length = reading_position(at.token, manifest.prompt_length), manifest.length(side)
        if at.head >= 0:
            pattern = self.trace.attention(side, at.layer, at.head).astype(np.float64)
            row = pattern[manifest.prompt_length - 1 : -1].mean(axis=0)
            if at.token >= 0:
                row = pattern[read] if read < length else np.full(length, np.nan)
            # The first token is set aside.
            yield np.concatenate([[np.nan], row[1:]])
        if at.unit:
            kind, index = parse_unit(at.unit)
            key = f"activations/{side}/{at.layer}/"
            if kind == "neuron":
                yield self.trace.array(f"{key}neuron/{index}")
            else:
                yield self.trace.array(f"{key}components")[:, index]

    def _check_heads(self, seen: dict[str, Any], at: Selection) -> None:
        manifest = self.trace.manifest
        read, n = reading_position(at.token, manifest.prompt_length), manifest.prompt_length
        measure = "instruction" if manifest.segment_positions("instruction") else "sink"
        change = self.trace.array("heads/change").astype(np.float64)
        if at.unit:
            measure = f"write/{{}}/{at.layer}/{at.unit}"
        elif 0 <= at.token < n:
            measure = "received"
        values = {}
        for side in SIDES:
            name = measure.format(side) if at.unit else f"{measure}/{side}"
            array = self.trace.array(f"heads/{name}").astype(np.float64)
            row = at.token if measure == "received" else read
            nothing = np.zeros(array.shape[1:])
            values[side] = (
                array[n - 1 : -1].mean(axis=0)
                if at.token < 0
                else array[row]
                if row < len(array)
                else nothing
            )
            self._same(seen["grid"][side], values[side], f"heads of {side}")
        third = values["tuned"] - values["base"]
        self._same(seen["grid"]["third"], third, "difference of the heads")

        layer, head = self._shown_head(change.mean(axis=0), at)
        maps = {side: self.trace.attention(side, layer, head) for side in SIDES}
        common = manifest.common_length
        gap = [maps[side][:common, :common].astype(np.float64) for side in SIDES]
        for side in SIDES:
            self._same(seen["maps"][side], maps[side], f"attention map of {side}")
        self._same(seen["maps"]["third"], gap[1] - gap[0], "difference of the maps")

    def _shown_head(self, change: np.ndarray[Any, Any], at: Selection) -> tuple[int, int]:
        if at.head >= 0:
            return at.layer, at.head
        if at.layer >= 0:
            return at.layer, int(change[at.layer].argmax())
        layer, head = np.unravel_index(change.argmax(), change.shape)
        return int(layer), int(head)

    def _check_concepts(self, seen: dict[str, Any], at: Selection) -> None:
        manifest = self.trace.manifest
        layer = at.layer
        if layer < 0:
            change = self.trace.array("components/change")
            layer = len(change) // 2 + int(change[len(change) // 2 :].argmax())
        components = cast(list[dict[str, Any]], self.trace.block(f"components/{layer}"))
        read = reading_position(at.token, manifest.prompt_length)
        if at.token < 0:
            # Small components turn far with little to say.
            rank = np.array([component["angle"] for component in components])
            rank[LEADING:] = -1
        else:
            rank = self._unit_ranks(seen, layer, at.token, read)
        order = np.argsort(-rank, kind="stable").tolist()
        # What is not separable, or a weak match, never opens the panel.
        clear = [k for k in order if not components[k].get("doubt")]
        shown = at.unit or f"component:{(clear or order)[0]}"
        assert seen["shown"] in (shown, None)
        kind, index = parse_unit(shown)
        unit = (
            components[index]
            if kind == "component"
            else cast(dict[str, Any], self.trace.block(f"neuron/{layer}/{index}"))
        )
        words = {side: dict(unit[side]["words"][:36]) for side in SIDES}
        expected = {}
        for word in {**words["base"], **words["tuned"]}:
            scores = [words[side][word] for side in SIDES if word in words[side]]
            zone = "both" if len(scores) == 2 else "base" if word in words["base"] else "tuned"
            expected[word] = zone, float(np.sign(scores[0]) * np.mean(np.abs(scores)))
        found = {word: (zone, value) for word, zone, value in seen["words"]}
        assert len(seen["words"]) == len(found)
        assert {word: zone for word, (zone, _) in found.items()} == {
            word: zone for word, (zone, _) in expected.items()
        }
        for word, (_, value) in found.items():
            assert value == _near(expected[word][1], 1e-6), word

    def _unit_ranks(
        self, seen: dict[str, Any], layer: int, token: int, read: int
    ) -> np.ndarray[Any, Any]:
        """Rank of each component at a token: by its effect where that is known, then activation."""
        active = [self.trace.array(f"activations/{side}/{layer}/components") for side in SIDES]
        here = np.array(
            [a[read] if read < len(a) else np.full(a.shape[1], np.nan) for a in active], float
        )
        rank = np.abs(np.nan_to_num(here)).max(axis=0)
        shown = here
        if seen["effects"] == "measured":
            shown = np.full(here.shape, np.nan)
            for row in cast(
                list[dict[str, Any]], self.trace.block(blocks.unit_effects(layer, token))
            ):
                kind, index = parse_unit(row["unit"])
                if kind == "component":
                    shown[:, index] = [np.nan if row[s] is None else row[s] for s in SIDES]
            known = ~np.isnan(shown).all(axis=0)
            size = np.abs(np.nan_to_num(shown)).max(axis=0)
            order = np.lexsort([rank, np.where(known, size, -1)])
            rank = np.empty(len(order))
            rank[order] = np.arange(len(order))
        for unit, *pair in seen["units"]:
            kind, index = parse_unit(unit)
            if kind == "component":
                found = [np.nan if value is None else value for value in pair]
                self._same(found, shown[:, index], f"{unit} at the token", shown)
        return rank

    def _check_overview(self, seen: dict[str, Any], at: Selection) -> None:
        manifest = self.trace.manifest
        read = reading_position(at.token, manifest.prompt_length)
        for name in ("attention", "feed_forward", "residual"):
            shift = self.trace.array(f"shift/{name}").astype(np.float64)
            here = 0 <= read < len(shift)
            row = shift[read] if here else shift.mean(axis=0)
            expected = row[1:] if name == "residual" else row
            self._same(seen["chart"][name], expected, f"shift of {name}")
        lens = self._lens(at.token) if at.token >= 0 else {}
        for side, curve in lens.items():
            self._same(seen["chart"]["lens"][side], curve, f"logit lens of {side}")
        if not lens:
            assert seen["chart"]["lens"]["layer"] == []

    def _lens(self, token: int) -> dict[Side, list[float]]:
        """Log-probability by layer; files keep it for answer tokens only."""
        curves: dict[Side, list[float]] = {}
        for side in SIDES:
            if token < self.trace.manifest.length(side):
                try:
                    lens = cast(dict[str, Any], self.trace.block(f"lens/{side}/{token}"))
                except UnknownBlockError:
                    return {}
                curves[side] = [layer["logprob"] for layer in lens["layers"]]
        return curves

    def _same(self, found: Any, expected: Any, what: str, scale: Any = None) -> None:
        """Compare numbers; None and NaN are the same nothing."""
        one = np.array([np.nan if v is None else v for v in np.ravel(found)], dtype=np.float64)
        other = np.asarray(expected, dtype=np.float64).ravel()
        assert one.shape == other.shape, what
        largest = np.nanmax(np.abs(np.asarray(other if scale is None else scale)), initial=1e-9)
        allowed = float(largest) * self.tolerance
        np.testing.assert_allclose(one, other, rtol=0, atol=allowed, err_msg=what)


def _near(value: float, tolerance: float) -> Any:
    return pytest.approx(value, rel=tolerance, abs=tolerance)


def walk(panels: Panels, *, head: tuple[int, int], component: int = 1) -> Selection:
    """Click through every kind of selection and check every panel after each click."""
    manifest = panels.trace.manifest
    answer = manifest.prompt_length + min(2, manifest.answer_length("tuned") - 1)
    # Template tokens are collapsed.
    prompt = manifest.segment_positions("instruction", "context", "other")[1]
    now = Selection()
    panels.check(now)
    panels.click_token(answer, None if manifest.shared else "tuned")
    now = replace(now, token=answer)
    panels.check(now)
    panels.click_head(*head)
    now = replace(now, layer=head[0], head=head[1])
    panels.check(now)
    panels.click_unit(f"component:{component}")
    now = replace(now, unit=f"component:{component}")
    panels.check(now)
    panels.click_token(prompt)
    now = replace(now, token=prompt)
    panels.check(now)
    other = (head[0] + 1) % manifest.pair.layers
    panels.click_head(other, 0)
    now = Selection(token=prompt, layer=other, head=0)
    panels.check(now)
    for step in (replace(now, head=-1), Selection(token=prompt), Selection()):
        panels.page.keyboard.press("Escape")
        panels.check(step)
    return Selection()
