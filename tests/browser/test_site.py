"""The first page of the site, from a file: both models run in it."""

from __future__ import annotations

import twinlens
from playwright.sync_api import expect

from gallery.build import LIVE
from gallery.building.index import write_index


def test_both_models_answer_in_the_first_page(tmp_path, offline, watch):
    twinlens.live_page(tmp_path / LIVE.address, recorded=0)
    write_index(tmp_path / "index.html", LIVE, [], [])
    offline.goto((tmp_path / "index.html").as_uri())
    live = offline.frame_locator("iframe")
    live.get_by_label("What both models read").fill("Capitals: the dog sleeps.")
    live.get_by_role("button", name="Run").click()
    expect(live.locator(".tl-own").nth(1)).to_contain_text("answers")
    expect(live.locator("[data-panel=saliency]")).to_have_attribute("data-state", "ready")
    assert watch.errors == []
    assert {url.split(":")[0] for url in watch.requests} <= {"file", "data", "blob"}
