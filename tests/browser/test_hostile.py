"""Hostile texts in tokens, words, names, labels, captions: on one page, in one walk through it."""

from __future__ import annotations

import re
from dataclasses import replace
from xml.etree import ElementTree

import pytest
from twinlens.pages.page import to_html

from tests.browser.panels import Compact, Panels, Selection
from tests.support import made_up
from tests.support.hostile import HOSTILE_TEXTS
from tests.support.made_up import MadeUpTrace, manifest

#: What stands in the page that a text could only have made, in shadow roots as well.
_MADE = """() => {
  const made = [];
  const look = root => {
    for (const el of root.querySelectorAll("*")) {
      const name = el.tagName.toLowerCase();
      if (["script", "iframe", "img", "object", "embed", "base", "link", "meta"].includes(name))
        made.push(name);
      for (const { name: of, value } of el.attributes)
        if (/^(on.*|srcdoc|action)$/.test(of) || (/^(href|src)$/.test(of) && !/^[#b]/.test(value)))
          made.push(`${name} ${of}=${value}`);
      if (el.shadowRoot) look(el.shadowRoot);
    }
  };
  look(document.querySelector(".twinlens"));
  return made;
}"""
_CLICKED = """async name => {
  for (const tab of document.querySelectorAll(`.tl-${name} [data-tab]`)) {
    tab.click();
    await new Promise(done => setTimeout(done, 120));
  }
}"""
_INVISIBLE = re.compile(
    r"[\x00-\x1f\x7f-\x9f\u200b\u200e\u200f\u202a-\u202e\u2066-\u2069\ufeff]"
    # For private use, and no characters at all.
    r"|[\ue000-\uf8ff\ufdd0-\ufdef\ufffe\uffff\U000f0000-\U0010ffff]"
)


@pytest.fixture
def hostile(monkeypatch) -> MadeUpTrace:
    """Words of concepts and predictions, names of models and methods, all of them hostile."""
    monkeypatch.setattr(made_up, "WORDS", list(HOSTILE_TEXTS))
    made = manifest(
        prompt=[
            (text, "instruction" if i % 2 else "context") for i, text in enumerate(HOSTILE_TEXTS)
        ],
        answers={"base": HOSTILE_TEXTS[:3], "tuned": HOSTILE_TEXTS[-8:]},
    )
    base = replace(made.pair.base, name=HOSTILE_TEXTS[0])
    tuned = replace(made.pair.tuned, name=HOSTILE_TEXTS[8])
    methods = tuple(replace(method, measures=HOSTILE_TEXTS[1]) for method in made.methods)
    pair = replace(made.pair, base=base, tuned=tuned, note=HOSTILE_TEXTS[9])
    return MadeUpTrace(replace(made, pair=pair, methods=methods), labelled=True)


def test_nothing_runs_and_nothing_leaves_the_page(hostile, offline, watch, tmp_path):
    story = [
        {"caption": text, "notes": text, "state": {"token": i}}
        for i, text in enumerate(HOSTILE_TEXTS)
    ]
    asked: list[str] = []
    offline.on("dialog", lambda dialog: (asked.append(dialog.message), dialog.dismiss()))
    to_html(hostile, tmp_path / "page.html", title=HOSTILE_TEXTS[6], story=story)
    offline.goto((tmp_path / "page.html").as_uri())
    panels = Panels(offline.locator("body"), Compact(hostile))
    panels.check(Selection(), "saliency")
    shown = offline.locator("[data-token] .tl-word").all_inner_texts()
    for i, text in enumerate(HOSTILE_TEXTS):
        if _INVISIBLE.search(text):
            # What would turn or hide the text around it is named instead.
            assert not _INVISIBLE.search(shown[i]), text
        else:
            assert shown[i] == text
    token = hostile.manifest.prompt_length + 1
    panels.click_token(token)
    panels.check(Selection(token=token), "saliency")
    panels.click_head(1, 2)
    for name in ("saliency", "carried", "heads", "concepts", "overview", "update"):
        offline.evaluate(_CLICKED, name)
    offline.keyboard.press("/")
    offline.keyboard.type("<")
    offline.keyboard.press("Escape")
    panel = panels.panel("saliency")
    panel.get_by_role("button", name="how computed").first.click()
    with offline.expect_download() as begun:
        panel.get_by_role("button", name="save as SVG").first.click()
    drawn = ElementTree.parse(begun.value.path())
    kinds = {element.tag.split("}")[1] for element in drawn.iter()}
    assert not kinds & {"script", "image", "foreignObject", "a"}
    assert HOSTILE_TEXTS[0] in {element.text for element in drawn.iter()}
    made = offline.evaluate(_MADE)
    offline.keyboard.press("Escape")
    offline.goto(f"{(tmp_path / 'page.html').as_uri()}#present")
    offline.reload()
    for text in HOSTILE_TEXTS[:12]:
        assert offline.locator(".tl-slide-caption").text_content() == text
        offline.keyboard.press("PageDown")
    made += offline.evaluate(_MADE)
    assert (made, asked, watch.errors) == ([], [], [])
    assert offline.evaluate("window.hacked") is None
    assert [url for url in watch.requests if not url.startswith(("file:", "data:", "blob:"))] == []
