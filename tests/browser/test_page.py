"""The offline page: the same panels and clicks, without kernel or network."""

from __future__ import annotations

import io

import pytest
from PIL import Image
from twinlens.pages.page import to_html

from tests.browser.panels import Compact, Panels, Selection, walk
from tests.support.made_up import HOSTILE, MadeUpTrace, manifest


def show(offline, trace, tmp_path, **options):
    to_html(trace, tmp_path / "page.html", **options)
    offline.goto((tmp_path / "page.html").as_uri())
    return Panels(offline.locator("body"), Compact(trace))


@pytest.mark.parametrize("shared", [True, False])
def test_every_click_reaches_every_panel(shared, offline, watch, tmp_path):
    trace = MadeUpTrace(manifest(shared=shared))
    panels = show(offline, trace, tmp_path)
    walk(panels, head=(2, 5))
    assert watch.errors == []
    assert [url for url in watch.requests if not url.startswith(("file:", "data:", "blob:"))] == []


def test_it_opens_with_the_selection_it_was_saved_with(trace, offline, watch, tmp_path):
    at = Selection(token=17, layer=1, head=4, unit="component:2")
    panels = show(
        offline, trace, tmp_path, selection={"token": 17, "layer": 1, "head": 4, "unit": at.unit}
    )
    panels.check(at)
    assert watch.errors == []


@pytest.mark.parametrize("size", [(1280, 800), (809, 660), (1920, 1080)])
def test_one_screen_answers_the_reader_and_nothing_on_it_jumps(size, trace, offline, tmp_path):
    """Findings, answers, tokens, the matrix: in sight, and in their places whatever is selected."""
    offline.set_viewport_size({"width": size[0], "height": size[1]})
    panels = show(offline, trace, tmp_path)
    panels.unfold = False
    panels.check(Selection(), "findings", "saliency")
    assert offline.evaluate("document.documentElement.scrollHeight") <= size[1]
    shown = [*offline.locator("[data-finding]").all(), *offline.locator(".tl-own").all()]
    shown += [*offline.locator("[data-token='17'], canvas[data-matrix]").all()]
    assert len(shown) == 4 + 2 + 1 + 3

    def places():
        boxes = [one.bounding_box() for one in shown]
        assert all(box["y"] + box["height"] < size[1] for box in boxes)
        return boxes

    before = places()
    findings = offline.locator("[data-finding]")
    findings.nth(1).click()
    panels.check(Selection(layer=1, head=2), "findings", "saliency", "carried")
    assert findings.nth(1).get_attribute("aria-pressed") == "true"
    findings.nth(0).click()
    token = trace.manifest.prompt_length + 2
    panels.check(Selection(token=token), "findings", "saliency")
    panels.click_token(token + 1)
    panels.check(Selection(token=token + 1), "saliency")
    offline.locator("[data-panel=saliency] h2").hover()
    assert places() == before


def test_on_a_phone_the_panel_stays_under_the_tokens(trace, offline, tmp_path):
    offline.set_viewport_size({"width": 400, "height": 800})
    panels = show(offline, trace, tmp_path)
    panels.unfold = False
    panels.check(Selection(), "findings", "saliency")
    desk = offline.locator(".tl-desk")
    at = "el => el.getBoundingClientRect().top + window.scrollY"
    before = desk.evaluate(at)
    panels.click_token(4)
    panels.check(Selection(token=4), "saliency")
    assert desk.evaluate(at) == before
    panels.click_token(trace.manifest.prompt_length + 2)
    panels.check(Selection(token=trace.manifest.prompt_length + 2), "saliency")
    assert desk.evaluate(at) == before


def test_a_cell_of_the_matrix_is_named_and_selects_its_row(trace, offline, tmp_path):
    panels = show(offline, trace, tmp_path, kind="saliency")
    panels.check(Selection(), "saliency")
    canvas = offline.locator("canvas[data-matrix=tuned]")
    box = canvas.bounding_box()
    rows, columns = trace.manifest.answer_length("tuned"), 12
    place = {"x": 9.5 * box["width"] / columns, "y": 2.5 * box["height"] / rows}
    canvas.hover(position=place)
    value = trace.saliency("tuned").values[11, 2]
    tip = offline.locator(".tl-tip")
    tip.wait_for()
    assert "dog" in tip.inner_text()
    assert f"tuned {value:.3g}".replace("-", "−")[:9] in tip.inner_text()
    canvas.click(position=place)
    panels.check(Selection(token=trace.manifest.prompt_length + 2), "saliency")
    assert "dog" in offline.locator(".tl-matrix-cell").inner_text()


@pytest.mark.parametrize("width", [400, 1280])
def test_a_token_of_any_length_stays_in_its_row(width, offline, tmp_path):
    texts = ["a" * 300, *(["漢字"] * 60), "אבגד" * 80, " dog"]
    prompt = [(text, "instruction") for text in texts]
    answers = {"base": (" a", "b" * 300), "tuned": ("b" * 300, " c")}
    offline.set_viewport_size({"width": width, "height": 800})
    show(offline, MadeUpTrace(manifest(prompt=prompt, answers=answers)), tmp_path).check(
        Selection()
    )
    ends = offline.evaluate(
        """() => {
          const end = (el) => el.getBoundingClientRect().right;
          const tokens = [...document.querySelectorAll(".tl-row [data-token]")];
          return tokens.map((token) => [end(token), end(token.closest(".tl-row"))]);
        }"""
    )
    assert len(ends) >= len(texts) + 2
    assert all(0 < token <= row + 1 for token, row in ends)
    assert offline.evaluate("document.documentElement.scrollWidth") <= width


def test_rows_of_the_matrix_are_named_however_far_a_long_prompt_is_scrolled(offline, tmp_path):
    prompt = [(f" word{i}", "instruction") for i in range(200)]
    offline.set_viewport_size({"width": 400, "height": 1600})
    show(offline, MadeUpTrace(manifest(prompt=prompt)), tmp_path)
    offline.wait_for_selector("canvas[data-matrix=base]")
    inside = offline.evaluate(
        """() => {
          const matrix = document.querySelector(".tl-matrix");
          matrix.scrollLeft = 200;
          const row = document.querySelector(".tl-matrix-rows > span");
          row.scrollIntoView();
          const { x, y, width, height } = row.getBoundingClientRect();
          const top = document.elementFromPoint(x + width / 2, y + height / 2);
          return [matrix.scrollLeft, x - matrix.getBoundingClientRect().x, row.contains(top)];
        }"""
    )
    assert inside[0] == 200
    assert 0 <= inside[1] < 150
    assert inside[2]  # nothing lies over it


def test_hostile_text_is_shown_literally(offline, watch, tmp_path):
    texts = [(text, "instruction") for text in HOSTILE]
    trace = MadeUpTrace(
        manifest(prompt=texts, answers={"base": ("a", "b"), "tuned": (*HOSTILE, "</s>")})
    )
    panels = show(offline, trace, tmp_path, title=HOSTILE[0])
    panels.check(Selection())
    assert offline.title() == HOSTILE[0]
    shown = offline.locator("[data-token] bdi").all_inner_texts()
    for text in HOSTILE:
        # What would turn the text around it is named instead.
        assert shown.count(text.replace("\u202e", "‹U+202E›")) == 2, text
    assert offline.evaluate("window.hacked") is None
    assert offline.locator("img").count() == 0
    assert watch.errors == []


def test_the_policy_stops_a_script_that_is_not_ours(trace, offline, watch, tmp_path):
    show(offline, trace, tmp_path).check(Selection())
    offline.evaluate(
        "() => { const s = document.createElement('script'); s.textContent = 'window.hacked = 1';"
        " document.head.append(s); }"
    )
    assert offline.evaluate("window.hacked") is None
    assert any("Content Security Policy" in error for error in watch.errors)


class MapsLast(MadeUpTrace):
    """Attention maps come last, so that they are left out first."""

    def keys(self):
        return sorted(super().keys(), key=lambda key: key.startswith("attention/"))


def test_what_was_left_out_is_said_in_the_panel(offline, tmp_path):
    trace = MapsLast()
    path = tmp_path / "page.html"
    size = to_html(trace, path).size
    for spare in range(200, 0, -5):  # blocks one by one take more than together
        report = to_html(trace, path, budget_mb=(size / 1e3 + spare) / 1e3)
        if "attention/tuned/3/7" in report.missing:
            break
    assert "heads/instruction/tuned" in report.included
    assert "attention/tuned/3/7" in report.missing
    offline.goto(path.as_uri())
    panels = Panels(offline.locator("body"), Compact(trace))
    panels.check(Selection(), "saliency", "overview")
    panels.click_head(3, 7)
    message = panels.panel("heads").get_by_role("alert")
    message.wait_for()
    assert "attention/" in message.inner_text()
    panels.check(Selection(layer=3, head=7), "overview")


@pytest.mark.parametrize(("theme", "shade"), [("dark", range(60)), ("light", range(240, 256))])
def test_a_theme_covers_the_page(theme, shade, trace, offline, tmp_path):
    show(offline, trace, tmp_path, theme=theme).check(Selection())
    picture = Image.open(io.BytesIO(offline.screenshot()))
    for corner in ((2, 2), (1277, 2), (2, 997), (1277, 997)):
        assert all(value in shade for value in picture.convert("RGB").getpixel(corner)), corner
