"""A real 135M pair: panels in JupyterLab, recording, offline page and command line."""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pytest
from twinlens.compute.live.live import trace_pair
from twinlens.compute.pair import load_pair
from twinlens.pages.page import to_html
from twinlens.traces import recording
from twinlens.traces.trace import Trace

from tests.browser.lab import Notebook
from tests.browser.panels import Compact, Panels, Selection, walk
from tests.browser.test_lab import separate
from tests.support.real_pair import smollm2_pair_folders
from tests.unit.pages.test_page import Page as Written

INSTRUCTION = "Write the word in capital letters."
PROMPT = f"{INSTRUCTION}\nriver\n"
TOKENS = 3


class Either(Trace):
    """A recording, and a live trace for the few blocks that it does not hold."""

    def __init__(self, recorded: Trace, live: Trace) -> None:
        self.manifest, self.computes = live.manifest, live.computes
        self._recorded, self._live = recorded, live
        self._held = set(recorded.keys())

    def keys(self):
        return self._live.keys()

    def block(self, key, report=None):
        return (self._recorded if key in self._held else self._live).block(key, report)


@pytest.fixture(scope="module")
def folders():
    return smollm2_pair_folders()


@pytest.fixture(scope="module")
def explained(folders, tmp_path_factory):
    """What the command line makes of the pair: summary, page, recording."""
    folder = tmp_path_factory.mktemp("explained")
    page, saved = folder / "page.html", folder / "page.twl"
    done = subprocess.run(
        [
            *(sys.executable, "-m", "twinlens", "explain", *map(str, folders)),
            *("--prompt", PROMPT, "--instruction", INSTRUCTION, "--max-new-tokens", str(TOKENS)),
            *("-o", str(page), "--save", str(saved), "--json", "--no-open"),
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout), page, saved


def test_the_command_line_explains_it(explained):
    summary, page, saved = explained
    trace = recording.read(saved)
    pair = trace.manifest.pair
    assert (pair.layers, pair.heads, pair.architecture) == (30, 9, "llama")
    assert summary["prompt"] == trace.manifest.prompt
    assert page.stat().st_size < 6e6
    assert summary["page"]["bytes"] == page.stat().st_size
    values = trace.saliency("tuned").values
    assert values.shape == (trace.manifest.prompt_length, trace.manifest.answer_length("tuned"))
    assert np.isfinite(values).all()


def test_its_page_answers_every_click(explained, offline, watch):
    _, page, saved = explained
    trace = recording.read(saved)
    offline.goto(page.as_uri())
    panels = Panels(offline.locator("body"), Compact(trace))
    panels.check(Selection())
    answer = trace.manifest.prompt_length + 2
    panels.click_token(answer)
    panels.check(Selection(token=answer))
    panels.click_head(7, 4)  # what heads write into a unit is not kept of large pairs
    panels.check(Selection(token=answer, layer=7, head=4))
    assert watch.errors == []
    assert [url for url in watch.requests if not url.startswith(("file:", "data:", "blob:"))] == []


def test_its_recording_shows_the_same_numbers(explained, tmp_path):
    """A page of the recording equals the page of the live trace, up to where each is cut."""
    _, page, saved = explained
    again = to_html(recording.read(saved), tmp_path / "again.html")
    live, replayed = Written(page).blocks(), Written(again.path).blocks()
    shared = [key for key in live if key in replayed]
    assert len(shared) > 0.98 * max(len(live), len(replayed))
    for key in shared:
        np.testing.assert_equal(replayed[key], live[key], err_msg=key)


def test_the_panels_compute_on_demand(explained, folders, page, lab, watch):
    """The live pair in JupyterLab shows what was recorded, or what this process computes."""
    options = f"instruction={INSTRUCTION!r}, max_new_tokens={TOKENS}, response='shared'"
    cells = [
        "import twinlens as tl",
        f"pair = tl.load_pair({str(folders[0])!r}, {str(folders[1])!r})",
        f"ex = tl.explore(pair, {PROMPT!r}, {options})",
        # Findings and update of such a pair take minutes: the command line has made them.
        *("ex.saliency()", "ex.heads()", "ex.concepts()", "ex.overview()"),
    ]
    opened = Notebook(page, lab, lab.write("real.ipynb", cells))
    opened.open()
    opened.run_all()
    live = trace_pair(
        load_pair(*folders),
        PROMPT,
        instruction=INSTRUCTION,
        max_new_tokens=TOKENS,
        response="shared",
    )
    # One column of saliency is computed in another order of sums than all of them.
    kinds = ("saliency", "heads", "concepts", "overview")
    recorded = Either(recording.read(explained[2]), live)
    shown = separate(page, recorded, tolerance=2e-3, kinds=kinds)
    assert walk(shown, head=(7, 4)) == Selection()
    assert watch.outside() == []
