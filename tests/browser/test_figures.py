"""Figures that a browser draws from Python: by the code of the page, with the same numbers."""

from __future__ import annotations

from xml.etree import ElementTree

import numpy as np
from twinlens.support.browser import BROWSER
from twinlens.view.explorer import Explorer

from tests.support.made_up import HOSTILE, MadeUpTrace, manifest

_SVG = "{http://www.w3.org/2000/svg}"


def test_the_page_draws_the_numbers_that_are_drawn_without_it(chromium, monkeypatch, tmp_path):
    monkeypatch.setenv(BROWSER, chromium)
    made = manifest(
        prompt=[(text, "instruction") for text in HOSTILE],
        answers={"base": HOSTILE, "tuned": HOSTILE},
    )
    trace = MadeUpTrace(made)
    explorer = Explorer(trace)
    for panel in ("saliency", "heads"):
        trace.asked.clear()
        names, *rows = explorer.figure(panel, as_page=True, width="single").rows
        # Nothing is computed that is not drawn.
        assert len(set(trace.asked)) < 30
        wanted, *others = explorer.figure(panel).rows
        assert names == wanted
        for row, other in zip(rows, others, strict=True):
            for drawn, number in zip(row, other, strict=True):
                if isinstance(number, float):
                    np.testing.assert_allclose(drawn, number, atol=2e-3)
                else:
                    assert drawn == number
    figure = explorer.figure("saliency", as_page=True)
    root = ElementTree.fromstring(figure.svg)
    assert root.get("width") == "183mm"
    kinds = {element.tag for element in root.iter()}
    assert not {f"{_SVG}{name}" for name in ("script", "image", "foreignObject")} & kinds
    texts = {element.text for element in root.iter(f"{_SVG}text")}
    assert {"<script>window.hacked=1</script>", "</script>", "שלום", "👩‍💻"} <= texts
    picture = explorer.figure("heads", width="single").save(tmp_path / "heads.png")
    assert picture.read_bytes().startswith(b"\x89PNG")
