"""A page in an output: whole, and shown where HTML may run."""

from __future__ import annotations

from html import unescape

import pytest
import twinlens as tl
from twinlens.errors import ArgumentError
from twinlens.pages.page import to_html

from tests.support.made_up import HOSTILE, MadeUpTrace, manifest


@pytest.fixture(scope="module")
def explorer():
    made = tl.Explorer(MadeUpTrace(), token=3, theme="dark")
    yield made
    made.close()


def test_the_frame_holds_the_page_of_the_explorer(explorer, tmp_path):
    shown = explorer.render_static("heads", height=400)
    page = unescape(shown.html.split('srcdoc="')[1].split('" title=')[0])
    to_html(MadeUpTrace(), tmp_path / "a.html", selection={"token": 3}, theme="dark", kind="heads")
    assert page == (tmp_path / "a.html").read_text(encoding="utf-8")
    assert "height:400px" in shown.html
    bundle = shown._repr_mimebundle_()
    assert bundle["text/html"] == shown.html
    assert bundle["text/plain"] == explorer._repr_mimebundle_()[0]["text/plain"]


def test_token_text_does_not_leave_the_frame():
    texts = [(text, "other") for text in HOSTILE]
    hostile = manifest(prompt=texts, answers={s: tuple(HOSTILE) for s in ("base", "tuned")})
    html = tl.Explorer(MadeUpTrace(hostile)).render_static("findings").html
    assert html.count("<") == 2
    assert html.endswith("></iframe>")


def test_a_panel_that_does_not_exist_is_named(explorer):
    with pytest.raises(ArgumentError, match="there is no panel 'head': use one of dashboard"):
        explorer.render_static("head")
