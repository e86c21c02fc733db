"""The saliency panel: exact effects as they come, spans of the answer, marks over the prompt."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from playwright.sync_api import expect
from twinlens.compute.live.live import trace_pair
from twinlens.compute.pair import load_pair
from twinlens.contract.words import SIDES
from twinlens.measures import density, effect_shares, summary
from twinlens.pages.page import to_html
from twinlens.traces.marks import segments

from tests.browser.lab import Notebook
from tests.browser.poll import until
from tests.support import tiny
from tests.support.made_up import MadeUpTrace, manifest

_BARS = """panel => Object.fromEntries(["base", "tuned"].map(side => [side,
  [...panel.querySelectorAll(".tl-prompt [data-token]")].map(token => {
    const bar = token.querySelector(`:scope > span > .tl-bar[data-side=${side}]`);
    return [bar.dataset.value === undefined ? null : Number(bar.dataset.value), bar.dataset.bar];
  })]))"""

SLOW = """
import threading
import twinlens as tl
from twinlens.compute.saliency import occlusion, segments
from tests.support import tiny
gate = threading.Semaphore(0)
def gated(plain):
    def run(reading, *given):
        if given[-2]:  # some groups, not the text alone
            gate.acquire()
        return plain(reading, *given)
    return run
occlusion.occluded = gated(occlusion.occluded)
occlusion.intact_and_occluded = gated(occlusion.intact_and_occluded)
occlusion._ON_CPU = 2, 256
"""


class Saliency:
    """The panel of a page, and what is in it."""

    def __init__(self, page, trace):
        self.page = page
        self.trace = trace
        self.panel = page.locator("[data-panel=saliency]").first

    def token(self, position, side=None):
        return self.panel.locator(
            f"[data-token='{position}']" + (f"[data-side={side}]" if side else "")
        )

    def bars(self, side):
        """Values and looks of the bars over the prompt."""
        values, looks = zip(*self.panel.evaluate(_BARS)[side], strict=True)
        return np.array(values, dtype=np.float64), np.array(looks)

    def ready(self, title):
        until(
            lambda: (self.panel.get_attribute("data-state"), self.panel.locator("h2").inner_text()),
            lambda now: now[0] == "ready" and title in now[1],
            f"the panel to show {title}",
        )

    def shows(self, expected, what):
        """Wait until the bars of both models are as wanted."""
        for side in SIDES:
            wanted = np.asarray(expected[side], dtype=np.float64)
            near = 2e-3 * np.abs(wanted).max()
            until(
                lambda side=side: self.bars(side)[0],
                lambda now, wanted=wanted, near=near: np.allclose(now, wanted, rtol=0, atol=near),
                f"{what} of {side} to be {wanted}",
            )

    def drag(self, first, last):
        """Press on one token, and let go on another."""
        for move, token in ((self.page.mouse.down, first), (self.page.mouse.up, last)):
            box = self.token(token).bounding_box()
            self.page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 3, steps=4)
            move()

    def values(self, selector):
        return [
            float(one.get_attribute("data-value")) for one in self.panel.locator(selector).all()
        ]

    def score(self, side):
        return self.values(f"[data-score={side}]")[0]

    def share(self, side, part):
        return self.values(f".tl-share-value[data-side={side}][data-share={part}]")[0]

    def mark(self):
        """Begin to mark spans of the prompt."""
        self.panel.get_by_role("button", name="settings").click()
        self.panel.get_by_role("button", name="mark spans").click()

    def segments(self):
        return [
            one.get_attribute("data-segment")
            for one in self.panel.locator(".tl-prompt [data-token]").all()
        ]


#: The published measure, and where in the prompt the effect comes from.
VIEW = {"saliency": {"answerMeasure": "density", "showShares": True}}


@pytest.fixture
def exported(offline, trace, tmp_path):
    to_html(trace, tmp_path / "page.html", kind="saliency", view=VIEW, method="gradient_x_input")
    offline.goto((tmp_path / "page.html").as_uri())
    panel = Saliency(offline, trace)
    panel.ready("What the answer rests on")
    return panel


def over(trace, columns, method=None):
    """Density over some answer tokens."""
    scored = trace.manifest.segment_positions("instruction", "context", "other")
    return {
        side: density.density_of_importance(
            trace.saliency(side, method).values[:, columns], None, scored
        )
        for side in SIDES
    }


def test_a_span_of_the_answer(exported, trace, watch):
    panel, page = exported, exported.page
    panel.token(17).click()
    panel.token(19).click(modifiers=["Shift"])
    panel.ready("3 answer tokens")
    panel.shows(over(trace, [1, 2, 3], "gradient_x_input"), "density over three tokens")
    page.keyboard.press("Shift+ArrowRight")
    panel.ready("4 answer tokens")
    panel.shows(over(trace, [1, 2, 3, 4], "gradient_x_input"), "density over four tokens")
    panel.drag(18, 16)
    panel.ready("3 answer tokens “THE” … “DOG”".replace("“", "“\u2068").replace("”", "\u2069”"))
    panel.shows(over(trace, [0, 1, 2], "gradient_x_input"), "density over the dragged tokens")
    inside = panel.panel.locator("[data-span]").evaluate_all("all => all.map(t => t.dataset.token)")
    assert inside == ["16", "17", "18"]
    panel.panel.get_by_role("button", name="whole answer").click()
    panel.ready("What the answer rests on")
    panel.shows(over(trace, [0, 1, 2, 3, 4], "gradient_x_input"), "density over the answer")
    assert panel.panel.locator("[data-span]").count() == 0
    assert watch.errors == []


def test_spans_marked_anew_change_score_and_shares_at_once(exported, trace, watch):
    panel, page = exported, exported.page
    tokens = trace.manifest.prompt_tokens

    def agrees(marks):
        marked = segments(tokens, marks)
        until(panel.segments, lambda now: now == marked, f"segments {marked}")
        for side in SIDES:
            score = summary.trace_score(trace, side, segments=marked)
            assert panel.score(side) == pytest.approx(score, rel=1e-5)
            shares = effect_shares.effect_shares(trace, side, "gradient_x_input", segments=marked)
            for part in ("instruction", "context"):
                found = panel.share(side, part) if part in marked else 0
                assert found == pytest.approx(shares.overall[part], rel=1e-4)
            stacks = panel.values(f".tl-stack-side[data-side={side}] [data-part=instruction]")
            assert stacks == pytest.approx(shares.along["instruction"], rel=1e-4)

    own = [(2, 9, "instruction"), (9, 14, "context")]
    agrees(own)
    panel.mark()
    panel.panel.get_by_role("radio", name="context").click()
    panel.drag(5, 6)
    agrees([(2, 5, "instruction"), (5, 7, "context"), (7, 9, "instruction"), (9, 14, "context")])
    panel.panel.get_by_role("radio", name="neither").click()
    # By keyboard: from the first word on, three tokens.
    panel.token(2).focus()
    for key in ("Shift+ArrowRight", "Shift+ArrowRight", "Enter"):
        page.keyboard.press(key)
    now = [(5, 7, "context"), (7, 9, "instruction"), (9, 14, "context")]
    agrees(now)
    # A token is marked, not selected; afterwards it is selected again.
    assert panel.panel.get_attribute("data-selection") == "-1/-1/-1/"
    panel.panel.get_by_role("button", name="done").click()
    panel.token(3).click()
    panel.ready("Where the prompt token")
    page.keyboard.press("Escape")
    panel.ready("What the answer rests on")
    agrees(now)
    panel.mark()
    panel.panel.get_by_role("button", name="as traced").click()
    agrees(own)
    assert watch.errors == []


def test_agreement_and_deletion_curves_are_in_the_page(exported, trace, watch):
    panel = exported.panel
    badge = panel.locator(".tl-badge")
    badge.click()
    panel.locator(".tl-curve-figure").first.wait_for()
    for side in SIDES:
        known = trace.faithfulness(side, "gradient_x_input")
        for field in ("spearman", "pearson", "top1", "above_noise", "n"):
            value = getattr(known, field)
            cell = panel.locator(f"td[data-side={side}][data-field={field}]")
            assert float(cell.get_attribute("data-value")) == pytest.approx(value, rel=1e-3)
        label = panel.locator(f".tl-curve-figure[data-side={side}] svg").get_attribute("aria-label")
        most = trace.deletion(side, "gradient_x_input").most
        assert f"{np.mean(most):.3g}"[:4] in label
    assert watch.errors == []


def test_own_answers_differ_over_whole_answers_only(offline, tmp_path, watch):
    trace = MadeUpTrace(manifest(shared=False))
    to_html(trace, tmp_path / "own.html", kind="saliency", view=VIEW)
    offline.goto((tmp_path / "own.html").as_uri())
    panel = Saliency(offline, trace)
    panel.ready("What the answer rests on")
    differences = panel.panel.locator(".tl-prompt .tl-difference[data-value]")
    assert differences.count() == trace.manifest.prompt_length
    panel.token(16, "tuned").click()
    panel.token(18, "tuned").click(modifiers=["Shift"])
    panel.ready("What these answer tokens rest on")
    panel.shows(over(trace, [0, 1, 2]), "density over three tokens")
    until(differences.count, lambda count: count == 0, "no differences")
    assert "over whole answers only" in panel.panel.locator(".tl-caption").first.text_content()
    assert watch.errors == []


def test_exact_effects_come_one_by_one(page, lab, tmp_path, watch):
    folders = tiny.save_pair(tmp_path)
    options = {"instruction": tiny.INSTRUCTION, "response": "shared", "max_new_tokens": 4}
    trace = trace_pair(load_pair(*folders), tiny.PROMPT, **options)
    n = trace.manifest.prompt_length
    cells = [
        SLOW,
        f"pair = tl.load_pair({str(folders[0])!r}, {str(folders[1])!r})\n"
        f"ex = tl.explore(pair, {tiny.PROMPT!r}, **{options!r})",
        "ex.saliency()",
    ]
    notebook = Notebook(page, lab, lab.write("slow.ipynb", cells))
    notebook.open()
    notebook.run_all()
    panel = Saliency(page, trace)
    # It opens on exact effects: they are being measured.
    panel.ready("What each answer token rests on")
    run = panel.panel.locator(".tl-run")
    until(lambda: run.get_attribute("data-status"), lambda now: now == "running", "the run")

    # The estimate first: every cell is hatched.
    notebook.run(f"ex.select(token={n + 1})")
    panel.ready("What the answer token")
    estimates = {side: trace.saliency(side, "attention_knockout").values[:, 1] for side in SIDES}
    panel.shows(estimates, "estimates")
    assert all(set(panel.bars(side)[1]) <= {"hatched", "hollow"} for side in SIDES)

    # Cell by cell the measured effects take their place, and the badge judges by them.
    exact = {side: trace.saliency(side, "occlusion").values[:, 1] for side in SIDES}

    def done():
        return [int(one) for one in (run.get_attribute("data-done") or "0 0").split()]

    notebook.run("gate.release(5)")
    until(done, lambda now: sum(now) == 10, "ten rows")
    until(lambda: run.get_attribute("data-status"), lambda now: now == "running", "the run")

    def mixed():
        for side, count in zip(SIDES, done(), strict=True):
            values, _ = panel.bars(side)
            measured = np.isclose(values, exact[side], rtol=1e-4, atol=1e-6)
            guessed = np.isclose(values, estimates[side], rtol=1e-4, atol=1e-6)
            if not (measured | guessed).all() or measured.sum() != count:
                return side, values
        return None

    until(mixed, lambda now: now is None, "measured and estimated cells")
    solid = sum((panel.bars(side)[1] == "solid").sum() for side in SIDES)
    assert 0 < solid <= 10
    badge = panel.panel.locator(".tl-badge")
    until(badge.inner_text, lambda now: "cells" in now and "ρ" in now, "the badge")

    # Stop keeps what is done; what was under way ends, and nothing more is computed.
    run.get_by_role("button", name="Stop").click()
    notebook.run("gate.release(2)")
    until(lambda: run.get_attribute("data-status"), lambda now: now == "stopped", "the run")
    assert sum(done()) >= 10
    assert mixed() is None
    so_far = "ex.trace.array('saliency/tuned/occlusion/so_far')"
    assert notebook.run(f"import numpy as np\nprint(np.isfinite({so_far}).all())") == "False"

    run.get_by_role("button", name="Continue").click()
    notebook.run("gate.release(1000)")
    until(badge.inner_text, lambda now: now.startswith("exact") and "%" in now, "the badge")
    panel.shows(exact, "exact effects")
    assert all(set(panel.bars(side)[1]) <= {"solid", "hollow"} for side in SIDES)
    expect(run).to_be_hidden()
    badge.click()
    panel.panel.locator(".tl-curve-figure").nth(1).wait_for()

    # Marks go both ways.
    panel.mark()
    panel.panel.get_by_role("radio", name="context").click()
    panel.drag(2, 3)
    until(lambda: notebook.run("print(ex.marks)"), lambda now: "(2, 4, 'context')" in now, "marks")
    notebook.run("ex.marks = [(4, 6, 'instruction')]")
    wanted = segments(trace.manifest.prompt_tokens, [(4, 6, "instruction")])
    until(panel.segments, lambda now: now == wanted, "marks from Python")
    assert watch.outside() == []


@pytest.mark.parametrize("width", [1280, 400])
def test_names_of_tracks_stand_apart(width, offline, trace, tmp_path, watch):
    offline.set_viewport_size({"width": width, "height": 900})
    to_html(trace, tmp_path / "page.html", selection={"token": 5})
    offline.goto((tmp_path / "page.html").as_uri())
    panel = offline.locator("[data-panel=saliency][data-state=ready][data-selection^='5/']").first
    panel.wait_for()
    lines = offline.locator(".tl-answer .tl-gutter-line")
    lines.first.wait_for()
    for line in lines.all():
        names = line.locator("span > span").filter(visible=True).filter(has_text="e").all()
        boxes = [(name.inner_text(), name.bounding_box()) for name in names]
        assert {"base", "tuned", "how likely"} <= {name for name, _ in boxes}
        boxes = sorted((box["y"], box["y"] + box["height"]) for _, box in boxes)
        for (_, bottom), (top, _) in pairwise(boxes):
            assert bottom <= top
    assert watch.errors == []
