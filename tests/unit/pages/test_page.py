from __future__ import annotations

import base64
import dataclasses
import gzip
import hashlib
import json
import re
import struct
import zipfile
from html.parser import HTMLParser

import numpy as np
import pytest
from twinlens.contract import lookup, wire
from twinlens.errors import Interrupted, TwinlensError
from twinlens.figures.charts import chart_json
from twinlens.pages import page
from twinlens.pages.bokehjs import bokeh_script
from twinlens.pages.html import front_end
from twinlens.pages.page import to_html
from twinlens.traces import recording

from tests.support.made_up import HOSTILE, MadeUpTrace, manifest


class Page(HTMLParser):
    """The scripts of a page by id, its policy, and every start tag, as a browser reads them."""

    def __init__(self, path):
        super().__init__()
        self.scripts: dict[str, str] = {}
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.title = ""
        self._open = ""
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        self._open = dict(attrs).get("id") or tag

    def handle_endtag(self, tag):
        self._open = ""

    def handle_data(self, data):
        if self._open == "title":
            self.title += data
        elif self._open.startswith(("twinlens-", "script")):
            self.scripts[self._open] = self.scripts.get(self._open, "") + data

    @property
    def data(self):
        return json.loads(self.scripts["twinlens-page"])

    @property
    def policy(self):
        return next(a["content"] for t, a in self.tags if a.get("http-equiv"))

    def unpacked(self, name: str) -> bytes:
        text = self.scripts[name].translate(str.maketrans(",.:", "<>&"))
        return gzip.decompress(base64.b85decode(text))

    def blocks(self):
        raw = self.unpacked("twinlens-blocks")
        (size,) = struct.unpack("<I", raw[:4])
        index, body = json.loads(raw[4 : 4 + size]), raw[4 + size :]
        buffers, at = {}, 0
        for key, entry in index.items():
            buffers[key] = body[at : at + entry["length"]]
            at += entry["length"]
        for key, entry in index.items():
            if "beside" in entry:
                buffers[key] = wire.add(buffers[key], buffers[entry["beside"]])
        return {key: wire.decode(entry, buffers[key]) for key, entry in index.items()}


@pytest.fixture
def target(tmp_path):
    return tmp_path / "page.html"


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    """The file of the made-up trace, and what was said about it."""
    path = tmp_path_factory.mktemp("plain") / "page.html"
    return path, to_html(MadeUpTrace(), path)


def test_every_block_of_the_trace_is_in_the_page(trace, plain):
    path, report = plain
    page = Page(path)
    assert page.data["manifest"] == json.loads(json.dumps(trace.manifest.to_json()))
    held = page.blocks()
    assert set(trace.keys()) < set(held)
    assert report.included == tuple(held)
    assert report.missing == ()
    for key in list(trace.keys()):
        value = trace.block(key)
        if isinstance(value, np.ndarray):
            error = np.abs(np.asarray(held[key], np.float32) - value.astype(np.float32)).max()
            assert error <= 2**0.25 * np.abs(value).max() / 127 + 1e-6, key
        else:
            exact = lookup.is_exact(key)
            assert held[key] == wire.decode(*wire.encode(value, compact=not exact)), key
    assert held["asset/bokehjs"] == bokeh_script()
    assert held["chart/handover/dark"] == chart_json(trace, "chart/handover/dark")


@pytest.mark.slow
def test_the_page_opens_as_the_explorer_was(trace, target):
    to_html(
        trace,
        target,
        selection={"token": 3, "layer": 1, "head": 2},
        method="occlusion",
        theme="dark",
        title="A <b>title</b> & more",
    )
    page = Page(target)
    assert page.data["selection"] == {"token": 3, "layer": 1, "head": 2, "unit": ""}
    assert (page.data["method"], page.data["theme"]) == ("occlusion", "dark")
    assert (page.data["kind"], page.data["missing"]) == ("dashboard", [])
    assert page.title == page.data["title"] == "A <b>title</b> & more"


def test_the_policy_allows_its_own_scripts_and_nothing_else(plain):
    page = Page(plain[0])
    rules = dict(rule.strip().split(" ", 1) for rule in page.policy.split(";"))
    digests = {
        f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
        for text in (page.scripts["script"], front_end("page.js"), page.blocks()["asset/bokehjs"])
    }
    assert page.unpacked("twinlens-bundle").decode() == front_end("page.js")
    # Panels without BokehJS, as they lie in the page.
    assert len(page.scripts["twinlens-bundle"]) < 110_000
    assert rules["default-src"] == "'none'"
    assert set(rules["script-src"].split()) == digests
    assert "unsafe" not in rules["script-src"]


def test_the_page_names_no_other_address(plain):
    path, _ = plain
    page = Page(path)
    assert not [a for _, a in page.tags if a.get("src") or a.get("href")]
    css = re.search(r"<style>(.*?)</style>", path.read_text(encoding="utf-8"), re.S)
    assert css is not None
    assert "url(" not in css[1]
    assert "@import" not in css[1]


def test_hostile_text_stays_text(target):
    texts = [(text, "other") for text in HOSTILE]
    hostile = manifest(
        prompt=texts, answers={"base": tuple(HOSTILE), "tuned": tuple(reversed(HOSTILE))}
    )
    to_html(MadeUpTrace(hostile), target, title=HOSTILE[0])
    page = Page(target)
    assert [t["text"] for t in page.data["manifest"]["prompt_tokens"]] == list(HOSTILE)
    assert page.title == HOSTILE[0]
    # Nothing but the page's own elements.
    assert [tag for tag, _ in page.tags].count("script") == 4
    assert "img" not in [tag for tag, _ in page.tags]


@pytest.mark.slow
def test_half_characters_do_not_break_the_page(trace, target):
    first, *others = trace.manifest.prompt_tokens
    halves = (dataclasses.replace(first, text="\ud83d"), dataclasses.replace(first, text="\x00"))
    trace.manifest = dataclasses.replace(trace.manifest, prompt_tokens=(*halves, *others))
    to_html(trace, target, title="\ude00")
    texts = [token["text"] for token in Page(target).data["manifest"]["prompt_tokens"]]
    assert texts[:2] == ["\ud83d", "\x00"]


def test_the_budget_keeps_the_most_useful_blocks(plain, trace, target):
    _, full = plain
    cut = to_html(trace, target, budget_mb=full.size / 1e6 - 0.02)
    assert cut.size <= full.size - 20_000
    assert 0 < len(cut.missing) < len(full.included)
    assert cut.included + cut.missing == full.included
    assert Page(target).data["missing"] == list(cut.missing)
    assert set(Page(target).blocks()) == set(cut.included)
    assert f"{len(cut.missing)} blocks left out" in str(cut)


def test_a_budget_too_small_for_the_page_itself_is_refused(trace, target):
    with pytest.raises(TwinlensError, match="raise budget_mb"):
        to_html(trace, target, budget_mb=0.1)
    assert not target.exists()


def test_blocks_that_do_not_fit_are_not_computed(trace, target):
    report = to_html(trace, target, budget_mb=0.8)
    left_out = set(report.missing[1:])
    assert not left_out & set(trace.asked)


def test_an_interrupt_leaves_the_old_file(trace, target):
    target.write_text("old")

    def stop(done, total, what):
        if done > 5:
            raise Interrupted("enough")

    with pytest.raises(Interrupted):
        to_html(trace, target, report=stop)
    assert target.read_text() == "old"
    assert list(target.parent.iterdir()) == [target]


@pytest.mark.slow
def test_the_same_trace_gives_the_same_page(plain, trace, target):
    to_html(trace, target)
    assert target.read_bytes() == plain[0].read_bytes()


@pytest.mark.slow
def test_code_cannot_end_its_own_script(trace, target, monkeypatch):
    code = 'const a = "</script><!--<script>";'
    monkeypatch.setattr(page, "front_end", lambda name: code if name[-2:] == "js" else "")
    to_html(trace, target)
    assert [tag for tag, _ in Page(target).tags].count("script") == 4


def test_an_unbuilt_front_end_says_what_to_do():
    with pytest.raises(TwinlensError, match="make js"):
        front_end("nothing.js")


def test_a_page_is_made_of_what_is_whole(tmp_path):
    file = recording.write(MadeUpTrace(), tmp_path / "a.twl")
    with zipfile.ZipFile(file) as archive:
        entries = {name: archive.read(name) for name in archive.namelist()}
        stored = json.loads(entries["manifest.json"])["blocks"]
    key = "heads/change"
    entries[stored[key]["entry"]] = b"nothing"
    with zipfile.ZipFile(file, "w") as archive:
        for name, content in entries.items():
            archive.writestr(name, content)
    report = to_html(recording.read(file), tmp_path / "a.html", budget_mb=50)
    assert key in report.missing
    assert "disagreement" in report.included
