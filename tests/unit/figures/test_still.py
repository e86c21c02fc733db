from __future__ import annotations

import base64
import re
from html.parser import HTMLParser
from xml.etree import ElementTree

import numpy as np
import pytest
from twinlens.contract import blocks
from twinlens.contract.words import EXACT, SIDES
from twinlens.figures.still import SHOWN, known_by, still
from twinlens.view.explorer import Explorer

from tests.support.made_up import HOSTILE, MadeUpTrace, manifest

SVG = "{http://www.w3.org/2000/svg}"


def picture(html: str) -> ElementTree.Element:
    return ElementTree.fromstring(base64.b64decode(re.search(r"base64,([^\"]+)", html)[1]))


def test_it_shows_what_is_known_and_computes_nothing():
    trace = MadeUpTrace()
    bare = still(trace, set())
    assert trace.asked == []
    assert "The small dog sleeps." in bare
    assert "<img" not in bare
    whole = still(trace, SHOWN)
    assert set(trace.asked) == SHOWN
    assert "What tuning changed here" in whole


def test_every_effect_that_can_be_seen_is_a_mark_of_its_size():
    trace = MadeUpTrace()
    matrices = {side: trace.array(blocks.saliency(side, EXACT)) for side in SIDES}
    largest = max(np.abs(matrix).max() for matrix in matrices.values())
    marks = picture(still(trace, SHOWN)).findall(f"{SVG}circle")
    for side, matrix in matrices.items():
        for ring in (False, True):
            drawn = [
                float(mark.get("r")) for mark in marks if mark.get("class") == side + " ring" * ring
            ]
            values = matrix[(matrix < 0) == ring]
            shares = np.abs(values[np.abs(values) > 0.01 * largest]) / largest
            np.testing.assert_allclose(sorted(drawn), sorted(7.5 * shares**0.5), atol=0.01)


@pytest.mark.parametrize("length", [3, 2000])
def test_hostile_and_long_texts_are_shown_and_stay_small(length):
    prompt = [(HOSTILE[i % len(HOSTILE)] + "\n\x00", "context") for i in range(length)]
    html = still(MadeUpTrace(manifest(prompt=prompt)), {blocks.findings()})
    tags = []
    parser = HTMLParser()
    parser.handle_starttag = lambda tag, attributes: tags.append((tag, *map(tuple, attributes)))
    parser.feed(html)
    assert set(tags) == {("div",), ("b",), ("i",), ("ol",), ("li",)}
    drawn = picture(still(MadeUpTrace(manifest(prompt=prompt)), SHOWN))
    assert float(drawn.get("height")) < 1300


def test_a_matrix_is_known_with_its_last_cell():
    class Growing(MadeUpTrace):
        left = 1

        def block(self, key, report=None):
            value = super().block(key, report)
            if key.endswith("so_far"):
                value = value.copy()
                value[: self.left, 0] = np.nan
            return value

    trace = Growing()
    key = blocks.saliency_so_far("tuned", EXACT)
    assert known_by(trace, key) == set()
    trace.left = 0
    assert known_by(trace, key) == {blocks.saliency("tuned", EXACT)}
    assert known_by(trace, blocks.logprob("tuned")) == set()


def test_outside_of_a_notebook_there_is_no_picture():
    explorer = Explorer(MadeUpTrace())
    with pytest.raises(NotImplementedError):
        explorer._ipython_display_()
    explorer.close()
