"""Moving and presenting: the address of a page, undo, search, and slides over the whole screen."""

from __future__ import annotations

import csv
import io
from collections import Counter
from xml.etree import ElementTree

import numpy as np
from PIL import Image
from playwright.sync_api import expect
from twinlens.pages.page import to_html

from tests.browser.panels import Compact, Panels, Selection
from tests.browser.poll import until
from tests.support.made_up import HOSTILE

_SVG = "{http://www.w3.org/2000/svg}"
_SMALLEST = """() => Math.min(...[...document.querySelectorAll(".tl-content *, .tl-slide *")]
  .filter(el => el.offsetParent && !el.closest("[data-collapsed]"))
  .filter(el => [...el.childNodes].some(n => n.nodeType === 3 && n.data.trim()))
  .map(el => parseFloat(getComputedStyle(el).fontSize)))"""


def test_the_address_says_what_is_seen_and_the_way_back_works(trace, offline, watch, tmp_path):
    to_html(trace, tmp_path / "page.html")
    url = (tmp_path / "page.html").as_uri()
    offline.goto(f"{url}#token=17&layer=1&head=2")
    panels = Panels(offline.locator("body"), Compact(trace), unfold=False)
    panels.check(Selection(17, 1, 2), "saliency")
    panels.click_token(18)
    panels.check(Selection(18, 1, 2), "saliency")
    # Asked of the page: the browser's word of it may come before anybody listens.
    address = f"{url}#token=18&layer=1&head=2"
    until(lambda: offline.evaluate("location.href"), address.__eq__, "the address")
    offline.go_back()
    panels.check(Selection(17, 1, 2), "saliency")
    offline.go_forward()
    panels.check(Selection(18, 1, 2), "saliency")
    offline.keyboard.press("z")
    panels.check(Selection(17, 1, 2), "saliency")
    offline.keyboard.press("/")
    offline.keyboard.type("sleeps")
    offline.keyboard.press("Enter")
    found = next(
        i for i, token in enumerate(trace.manifest.prompt_tokens) if "sleeps" in token.text.lower()
    )
    panels.check(Selection(found, 1, 2), "saliency")
    assert watch.errors == []


def test_a_story_opens_as_slides_that_fill_the_screen(trace, offline, watch, tmp_path):
    story = [
        {"caption": HOSTILE[0], "notes": HOSTILE[1], "state": {"token": 17}},
        {
            "caption": "By this head",
            "notes": "slowly",
            "state": {"layer": 1, "head": 2, "view": {"dashboard": {"tab": "heads"}}},
        },
    ]
    to_html(trace, tmp_path / "page.html", story=story)
    offline.set_viewport_size({"width": 1920, "height": 1080})
    offline.goto(f"{(tmp_path / 'page.html').as_uri()}#present")
    panels = Panels(offline.locator("body"), Compact(trace), unfold=False)
    panels.check(Selection(token=17), "saliency")
    assert offline.locator(".tl-slide-caption").inner_text() == HOSTILE[0]
    assert offline.locator(".tl-slide-notes").text_content().endswith(HOSTILE[1])
    assert offline.evaluate(_SMALLEST) >= 28
    offline.keyboard.press("PageDown")
    panels.check(Selection(layer=1, head=2), "heads")
    assert offline.evaluate(_SMALLEST) >= 28
    shown = offline.locator("[data-panel]:visible")
    assert shown.evaluate_all("all => all.map(panel => panel.dataset.panel)") == ["heads"]
    expect(offline.locator(".tl-slides button:visible")).to_have_count(0)
    box = offline.locator(".tl-slides").bounding_box()
    assert (box["width"], box["height"]) == (1920, 1080)
    offline.keyboard.press("Escape")
    panels.check(Selection(), "saliency")
    expect(offline.locator(".tl-slides")).to_have_count(0)
    assert watch.errors == []


def test_every_slide_can_be_read_from_the_last_row(trace, offline, watch, tmp_path):
    to_html(trace, tmp_path / "page.html")
    offline.set_viewport_size({"width": 1920, "height": 1080})
    offline.goto(f"{(tmp_path / 'page.html').as_uri()}#present")
    panels = Panels(offline.locator("body"), Compact(trace), unfold=False)
    for kind in ("saliency", "carried", "update", "heads", "concepts", "overview"):
        panels.check(Selection(), kind)
        shown = offline.locator("[data-panel]:visible")
        assert shown.evaluate_all("all => all.map(panel => panel.dataset.panel)") == [kind]
        assert offline.evaluate(_SMALLEST) >= 28
        offline.keyboard.press("PageDown")
    assert watch.errors == []


def test_a_panel_saves_its_picture_and_its_numbers(trace, offline, watch, tmp_path):
    to_html(trace, tmp_path / "page.html", kind="saliency")
    offline.goto((tmp_path / "page.html").as_uri())
    panels = Panels(offline.locator("body"), Compact(trace))
    panels.check(Selection(), "saliency")
    panel = panels.panel("saliency")

    def saved(name):
        panel.get_by_role("button", name="how computed").click()
        with offline.expect_download() as begun:
            panel.get_by_role("button", name=f"save as {name}").click()
        offline.keyboard.press("Escape")
        return begun.value.path().read_bytes()

    rows = list(csv.DictReader(io.StringIO(saved("CSV").decode())))
    columns = trace.manifest.segment_positions("instruction", "context", "other")
    wanted = Compact(trace).saliency("tuned").values[columns].T.ravel()
    np.testing.assert_allclose([float(row["tuned"]) for row in rows], wanted, atol=1e-4)
    assert {row["prompt"] for row in rows} >= {" dog", " small"}
    # Texts are texts and cells rectangles: nothing in it is a picture of pixels.
    drawn = ElementTree.fromstring(saved("SVG"))
    kinds = Counter(element.tag.removeprefix(_SVG) for element in drawn.iter())
    answer = len(trace.manifest.answers["tuned"].tokens)
    assert kinds["rect"] > 3 * len(columns) * answer
    assert not {"image", "foreignObject"} & set(kinds)
    texts = {element.text for element in drawn.iter(f"{_SVG}text")}
    assert {panel.locator("h2").inner_text(), "base", "tuned − base", "dog"} <= texts
    picture = Image.open(io.BytesIO(saved("PNG"))).convert("RGB")
    box = panel.bounding_box()
    assert picture.width >= 3 * box["width"]
    # Words, cells and their colours are in it.
    assert len(picture.getcolors(maxcolors=1 << 24)) > 100
    assert watch.errors == []


def test_a_single_map_saves_itself(trace, offline, watch, tmp_path):
    to_html(trace, tmp_path / "page.html", kind="saliency")
    offline.goto((tmp_path / "page.html").as_uri())
    panels = Panels(offline.locator("body"), Compact(trace))
    panels.check(Selection(), "saliency")
    panel = panels.panel("saliency")
    panel.get_by_role("button", name="how computed").press("Enter")
    choice = panel.get_by_role("combobox", name="what is saved")
    expect(choice.locator("option")).to_have_text(
        ["all of it", "only “base”", "only “tuned”", "only “tuned − base”"]
    )
    assert choice.bounding_box()["height"] >= 24
    choice.select_option(label="only “tuned”")

    def saved(name):
        with offline.expect_download() as begun:
            panel.get_by_role("button", name=f"save as {name}").press("Enter")
        return begun.value

    assert saved("SVG").suggested_filename == "twinlens-saliency-tuned.svg"
    drawn = ElementTree.fromstring(saved("SVG").path().read_bytes())
    kinds = Counter(element.tag.removeprefix(_SVG) for element in drawn.iter())
    columns = trace.manifest.segment_positions("instruction", "context", "other")
    cells = len(columns) * len(trace.manifest.answers["tuned"].tokens)
    assert cells <= kinds["rect"] < 2 * cells
    # Its title, what stands beside it, its scale, and what is said of the panel; of no other map.
    texts = [element.text for element in drawn.iter(f"{_SVG}text")]
    assert {"tuned", "dog", "SMALL"} <= set(texts)
    assert any("nats" in text for text in texts)
    assert panel.locator("h2").inner_text().split()[0] in " ".join(texts)
    assert not {"base", "tuned − base"} & set(texts)
    picture = Image.open(io.BytesIO(saved("PNG").path().read_bytes())).convert("RGB")
    assert picture.width < 2 * panel.bounding_box()["width"]
    assert len(picture.getcolors(maxcolors=1 << 24)) > 100
    # As high wherever the page was scrolled to.
    offline.set_viewport_size({"width": offline.viewport_size["width"], "height": 200})
    for place in ("0", "document.body.scrollHeight"):
        offline.evaluate(f"scrollTo(0, {place})")
        again = ElementTree.fromstring(saved("SVG").path().read_bytes())
        assert again.get("height") == drawn.get("height")
    assert offline.evaluate("scrollY") > 200
    # Nothing is left of what was laid out for it.
    expect(offline.locator(".tl-alone")).to_have_count(0)
    assert watch.errors == []
