"""The gallery's first notebook on the embedded pair, as a reader runs it in JupyterLab."""

from __future__ import annotations

import dataclasses
import shutil

import numpy as np
import pytest
from twinlens.compute.live.live import trace_pair
from twinlens.compute.pair import demo_pair
from twinlens.traces import recording

from tests.browser.lab import Notebook
from tests.browser.panels import Compact, Panels, Selection, walk
from tests.browser.test_lab import dashboard, separate
from tests.support.places import ROOT

GALLERY = ROOT / "gallery"
NAME = "01_what_did_tuning_change.ipynb"


@pytest.fixture(scope="module")
def live():
    """What the notebook computes, computed here."""
    return trace_pair(
        demo_pair(),
        "Rewrite this sentence in capital letters: The small dog sleeps in the garden.",
        instruction="Rewrite this sentence in capital letters:",
        context="The small dog sleeps in the garden.",
        response="shared",
        template=True,
    )


def test_the_first_notebook_works_from_top_to_bottom(live, page, lab, offline, watch):
    """Run it, click through dashboard and cells, and open what it exported."""
    shutil.copy(GALLERY / NAME, lab.root / NAME)
    opened = Notebook(page, lab, NAME)
    opened.open()
    opened.run_all()
    chosen = Selection(live.manifest.prompt_length + 4)

    shown, apart = dashboard(page, live), separate(page, live)
    apart.kinds = ("findings", "saliency")
    shown.check(chosen)
    apart.check(chosen)
    opened.run("ex.select(token=-1)")
    apart.check(walk(shown, head=(1, 2)))
    apart.click_token(chosen.token)
    shown.check(chosen)

    assert watch.outside() == []

    recorded = recording.read(lab.root / "first_look.twl")
    offline.goto((lab.root / "first_look.html").as_uri())
    exported = Panels(offline.locator("body"), Compact(recorded))
    exported.check(chosen)
    assert watch.outside() == []

    # A recording offers only the methods it holds.
    assert set(recorded.manifest.methods) <= set(live.manifest.methods)
    assert dataclasses.replace(recorded.manifest, methods=live.manifest.methods) == live.manifest
    for key in list(recorded.keys()):
        if isinstance(recorded.block(key), np.ndarray):
            found, expected = recorded.array(key), live.array(key)
            scale = max(float(np.abs(expected).max(initial=0)), 1e-6)
            np.testing.assert_allclose(found, expected, atol=2e-3 * scale, err_msg=key)
