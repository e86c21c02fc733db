"""The page that thinks, from a file: what no recording holds is computed as Python computes it."""

from __future__ import annotations

import base64
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import twinlens
from playwright.sync_api import Page, expect
from twinlens.compute.live.live import LiveTrace, trace_pair
from twinlens.traces import recording

from tests.browser.firefox import find, firefox
from tests.browser.panels import Panels, Selection
from tests.browser.poll import until
from tests.support import tiny

INSTRUCTION = "Put this into capitals:"
PROMPT = f"{INSTRUCTION} The young judge sings near the river."

#: Two programs that multiply in float32, each in an order of its own.
APART = 5e-5


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return twinlens.live_page(tmp_path_factory.mktemp("live") / "page.html", recorded=0)


@pytest.fixture(scope="module")
def wanted() -> LiveTrace:
    pair = twinlens.demo_pair()
    return trace_pair(pair, PROMPT, instruction=INSTRUCTION, response="tuned", template=True)


def ask(page: Page) -> None:
    """Type the prompt, mark its instruction, and run it."""
    box = page.get_by_label("What both models read")
    box.fill(PROMPT)
    box.evaluate("(box, end) => box.setSelectionRange(0, end)", len(INSTRUCTION))
    page.locator("[data-mark=instruction]").click()
    expect(page.locator(".tl-ask-behind mark")).to_have_text(INSTRUCTION)
    page.get_by_role("button", name="Run").click()


#: Whether every effect is there: they come one after the other.
ALL = """
  const values = document.querySelector(".tl-matrix")?.twinlens?.values ?? {};
  return ["base", "tuned"].every(side => values[side] && values[side].every(Number.isFinite));
"""


#: A file that is dragged onto a page.
DROPPED = """text => {
  const transfer = new DataTransfer();
  const bytes = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
  transfer.items.add(new File([bytes], "made_up.twl"));
  return transfer;
}"""


def measured(page: Page) -> None:
    """Wait until every effect is there."""
    until(lambda: page.evaluate(f"() => {{ {ALL} }}"), bool, "all effects")


def check_matrix(read: Callable[[str], list[float]], wanted: LiveTrace) -> None:
    """Compare the painted matrix, of which expressions are read, with Python's."""
    painted = "document.querySelector('.tl-matrix').twinlens"
    columns = read(f"Array.from({painted}.columns)")
    assert len(columns) > 10
    for side in ("base", "tuned"):
        values = read(f"Array.from({painted}.values.{side})")
        exact = wanted.saliency(side, "occlusion").values[columns].T
        assert np.abs(np.array(values).reshape(exact.shape) - exact).max() < 1e-3


def test_a_typed_prompt_is_read_as_python_reads_it(live, wanted, offline, watch):
    offline.goto(live.as_uri())
    ask(offline)
    expect(offline.locator(".tl-own").nth(1)).to_contain_text("THE YOUNG JUDGE")
    panels = Panels(offline.locator("body"), wanted, APART)
    token = wanted.manifest.prompt_length + 3
    measured(offline)
    panels.click_token(token)
    panels.check(Selection(token=token), "saliency", "findings")
    # Python keeps these in half precision.
    Panels(panels.root, wanted, 2e-3).check(Selection(token=token), "heads", "concepts")
    assert watch.errors == []
    assert [url for url in watch.requests if not url.startswith(("file:", "blob:"))] == []


@pytest.mark.skipif(not find(), reason="no Firefox")
def test_firefox_paints_what_python_computes(live, wanted):
    with firefox() as browser:
        browser.open(live.as_uri())
        browser.evaluate("""
          window.failed = [];
          for (const kind of ["error", "unhandledrejection", "securitypolicyviolation"])
            window.addEventListener(kind, (event) => failed.push(kind));
        """)
        browser.write(".tl-ask textarea", PROMPT)
        end = len(INSTRUCTION)
        browser.evaluate(f"document.querySelector('textarea').setSelectionRange(0, {end})")
        browser.click("[data-mark=instruction]")
        can = "return Boolean(document.querySelector('.tl-ask-run:not([disabled], [hidden])'))"
        until(lambda: browser.evaluate(can), bool, "the models")
        browser.click(".tl-ask-run")
        own = "return document.querySelectorAll('.tl-own')[1]?.textContent ?? ''"
        until(lambda: browser.evaluate(own), lambda text: "THE YOUNG JUDGE" in text, "the answer")
        until(lambda: browser.evaluate(ALL), bool, "all effects")
        check_matrix(lambda what: browser.evaluate(f"return {what}"), wanted)
        assert browser.evaluate("return failed") == []
        loaded = browser.evaluate(
            "return performance.getEntriesByType('resource').map(e => e.name)"
        )
        assert all(url.startswith("blob:") for url in loaded)


def test_a_pair_of_ones_own_is_run_as_python_runs_it(offline, watch, tmp_path):
    shape = {"hidden_size": 48, "num_attention_heads": 3, "num_key_value_heads": 1, "head_dim": 16}
    base = tiny.model("llama", **shape, intermediate_size=72, tie_word_embeddings=False)
    for name, model in (("base", base), ("tuned", tiny.tuned_copy(base))):
        # Numbers that half precision holds: a page rounds to it.
        model.half().float().save_pretrained(tmp_path / name)
        tiny.tokenizer().save_pretrained(tmp_path / name)
    pair = twinlens.load_pair(tmp_path / "base", tmp_path / "tuned")
    page = twinlens.live_page(tmp_path / "page.html", pair, max_new_tokens=12)
    offline.goto(page.as_uri())
    offline.get_by_label("What both models read").fill("the small dog sleeps")
    offline.get_by_role("button", name="Run").click()
    trace = trace_pair(
        pair, "the small dog sleeps", response="tuned", template=True, max_new_tokens=12
    )
    measured(offline)
    panels = Panels(offline.locator("body"), trace, APART)
    panels.check(Selection(), "saliency", "findings", "carried")
    assert watch.errors == []


def test_a_phone_computes_in_one_worker(live, wanted, browser, watch):
    touch = {"viewport": {"width": 400, "height": 800}, "is_mobile": True, "has_touch": True}
    context = browser.new_context(**touch, device_scale_factor=2, offline=True)
    page = context.new_page()
    watch.attach(page)
    page.goto(live.as_uri())
    ask(page)
    expect(page.locator(".tl-own").nth(1)).to_contain_text("THE YOUNG JUDGE")
    measured(page)
    assert len(page.workers) == 1
    check_matrix(lambda what: page.evaluate(f"() => {what}"), wanted)
    assert page.evaluate("() => document.documentElement.scrollWidth") <= 400
    assert watch.errors == []
    context.close()


def test_an_address_brings_prompt_and_view_back(live, wanted, offline, watch):
    search = "?prompt=Put%20this%20into%20capitals%3A%20The%20young%20judge%20sings%20near%20the"
    search += f"%20river.&instruction=0-{len(INSTRUCTION)}"
    token = wanted.manifest.prompt_length + 3
    offline.goto(f"{live.as_uri()}{search}#token={token}")
    measured(offline)
    Panels(offline.locator("body"), wanted, APART).check(Selection(token=token), "saliency")
    offline.evaluate("() => navigator.clipboard.writeText = () => Promise.reject()")
    offline.get_by_role("button", name="Copy link").click()
    link = offline.get_by_label("Link").input_value()
    assert f"instruction=0-{len(INSTRUCTION)}" in link
    assert f"#token={token}" in link
    assert watch.errors == []


def test_a_recording_is_read_where_it_is_dropped(trace, offline, watch, tmp_path):
    page = twinlens.viewer_page(tmp_path / "viewer.html")
    assert page.stat().st_size < 300_000
    offline.goto(page.as_uri())
    damaged = tmp_path / "damaged.twl"
    damaged.write_bytes(b"PK")
    choose = offline.get_by_label("Open recording")
    choose.set_input_files(damaged)
    expect(offline.get_by_role("alert")).to_contain_text("damaged.twl is damaged")
    made = recording.write(trace, tmp_path / "made_up.twl").read_bytes()
    dropped = offline.evaluate_handle(DROPPED, base64.b64encode(made).decode())
    offline.dispatch_event("body", "drop", {"dataTransfer": dropped})
    Panels(offline.locator("body"), trace, APART).check(
        Selection(), "saliency", "heads", "concepts"
    )
    assert watch.errors == []
    assert len(watch.requests) == 1


#: Both in one task, in which no answer can come.
STOPPED = """() => {
  document.querySelector(".tl-ask-run").click();
  [...document.querySelectorAll(".tl-ask button")].find(el => el.textContent === "Stop").click();
}"""
REPLACED = """prompt => {
  document.querySelector(".tl-ask-run").click();
  const box = document.querySelector(".tl-ask textarea");
  box.value = prompt;
  box.dispatchEvent(new InputEvent("input", { bubbles: true }));
  box.dispatchEvent(new KeyboardEvent("keydown", { key: "Enter", ctrlKey: true }));
}"""
OTHER = "Put this into capitals: A small dog sleeps."


def test_a_run_is_stopped_and_the_page_goes_on(live, wanted, offline, watch):
    offline.goto(live.as_uri())
    measured(offline)
    offline.get_by_label("What both models read").fill(OTHER)
    offline.evaluate(STOPPED)
    expect(offline.get_by_text("Stopped.", exact=True)).to_be_visible()
    expect(offline.get_by_role("button", name="Stop", exact=True)).to_be_hidden()
    # What it showed is seen, and cannot be asked any more.
    assert offline.locator("main").evaluate("el => el.inert")
    ask(offline)
    expect(offline.locator(".tl-own").nth(1)).to_contain_text("THE YOUNG JUDGE")
    measured(offline)
    assert not offline.locator("main").evaluate("el => el.inert")
    check_matrix(lambda what: offline.evaluate(f"() => {what}"), wanted)
    assert watch.errors == []


def test_what_is_asked_last_is_answered(live, wanted, offline, watch):
    """While an answer comes, and while it is being explained."""
    offline.goto(live.as_uri())
    measured(offline)
    box, answer = offline.get_by_label("What both models read"), offline.locator(".tl-own").nth(1)
    box.fill(PROMPT)
    offline.evaluate(REPLACED, OTHER)
    expect(answer).to_contain_text("SMALL DOG")
    box.fill(PROMPT)
    offline.get_by_role("button", name="Run").click()
    expect(answer).to_contain_text("THE YOUNG JUDGE")
    measured(offline)
    check_matrix(lambda what: offline.evaluate(f"() => {what}"), wanted)
    assert "SMALL DOG" not in offline.locator("body").inner_text()
    assert watch.errors == []


def test_what_cannot_be_read_leaves_what_is_shown(live, offline):
    offline.goto(live.as_uri())
    measured(offline)
    offline.get_by_label("What both models read").fill("dog " * 600)
    offline.get_by_role("button", name="Run").click()
    expect(offline.get_by_role("alert")).to_contain_text("the models read at most 512")
    token = offline.locator(".tl-answer [data-token]").nth(2)
    token.click()
    expect(token).to_have_attribute("aria-pressed", "true")
