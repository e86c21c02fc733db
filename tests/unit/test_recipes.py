"""The recipes of CONTRIBUTING are true: so many places, and nothing else."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.places import ROOT

pytestmark = pytest.mark.slow

PACKAGE = Path("widgets/twinlens")
TRACE = """
import numpy as np
import twinlens as tl
from twinlens.compute.live.live import trace_pair
trace = trace_pair(tl.demo_pair(), "Write the word in capital letters: dog", response="shared",
                   max_new_tokens=3)
m = trace.manifest
"""


def stated(what: str) -> int:
    """Number of places that CONTRIBUTING states for an addition."""
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    row = re.search(rf"^\| {what} \|.*\| (\d+) \|$", text, flags=re.MULTILINE)
    assert row, f"CONTRIBUTING has no recipe for {what}"
    return int(row[1])


class Checkout:
    """A copy of the package that counts the places it is changed in."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.changed: set[str] = set()
        # With its bytecode, less what another process is writing.
        shutil.copytree(ROOT / PACKAGE, folder / PACKAGE, ignore=shutil.ignore_patterns("*.pyc.*"))

    def add(self, name: str, after: str, text: str) -> None:
        """Insert text behind a line of a file."""
        file = self.folder / PACKAGE / name
        before, line, rest = file.read_text(encoding="utf-8").partition(after)
        assert line, f"{name} has no {after!r}"
        file.write_text(before + line + text + rest, encoding="utf-8")
        self.changed.add(name)

    def create(self, name: str, text: str) -> None:
        """Add a file."""
        (self.folder / PACKAGE / name).write_text(text, encoding="utf-8")
        self.changed.add(name)

    def run(self, code: str) -> None:
        environment = {**os.environ, "PYTHONPATH": str(self.folder / "widgets")}
        done = subprocess.run(
            [sys.executable, "-c", code],
            env=environment,
            cwd=self.folder,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr


@pytest.fixture
def checkout(tmp_path: Path) -> Checkout:
    return Checkout(tmp_path)


def test_a_block_is_its_row_its_provider_and_its_use(checkout):
    checkout.add(
        "contract/blocks.py",
        "# Rows: in the order of recordings.\n",
        '''

@block("made_up/{side}/{layer}", "f32 [T]")
def made_up(side: Side, layer: int) -> None:
    """Length of the residual stream in front of a layer."""
''',
    )
    checkout.add(
        "compute/live/blocks.py",
        "class PassBlocks:\n",
        """
    @provides(blocks.made_up)
    def made_up(self, side: Side, layer: int) -> Array:
        return self._subject.captures[side].residual[layer].norm(dim=-1).numpy()
""",
    )
    checkout.add(
        "measures/summary.py",
        'SCORED_SEGMENTS: tuple[Segment, ...] = ("instruction", "context", "other")\n',
        """

def longest(trace: Trace, side: Side) -> float:
    return max(float(trace.array(blocks.made_up(side, layer)).max())
               for layer in range(trace.manifest.pair.layers))
""",
    )
    checkout.run(
        TRACE
        + """
from twinlens.contract import blocks, lookup
from twinlens.contract.generate import contract_ts
from twinlens.errors import UnknownBlockError
from twinlens.measures.summary import longest
from twinlens.pages.page import to_html
from twinlens.traces import recording

assert longest(trace, "base") > 0
assert list(trace.keys())[: 2 * m.pair.layers] == list(blocks.made_up.every(m))
try:
    trace.block("made_up/base/99")
except UnknownBlockError as error:
    assert str(error) == f"there is no layer 99: 0 to {m.pair.layers - 1}"
recorded = recording.read(recording.write(trace, "a.twl"))
key = blocks.made_up("tuned", 1)
assert np.array_equal(recorded.array(key), trace.array(key))
assert key in to_html(recorded, "a.html", kind="saliency").included
assert "madeUp: (side: Side, layer: number): Key<Tensor> =>" in contract_ts()
assert "| `made_up/{side}/{layer}` | `f32 [T]` | Length of" in lookup.documentation()
"""
    )
    assert len(checkout.changed) == stated("a block")


def test_a_saliency_method_is_itself_and_its_line_in_the_list(checkout):
    checkout.create(
        "compute/saliency/made_up.py",
        '''"""A made-up method."""

import numpy as np

from twinlens.compute.saliency.registry import saliency_method
from twinlens.contract.manifest import Method


@saliency_method(
    Method("made_up", "Made up", "The number of the token.", "nowhere", False, "none")
)
def position(reading, wanted):
    """Everything at once."""
    shape = (reading.prompt_length, reading.answer_length)
    yield slice(None), slice(None), np.indices(shape)[0].astype(np.float32)
''',
    )
    checkout.add(
        "compute/saliency/methods.py",
        "        estimates.attention_rollout,\n",
        "        made_up.position,\n",
    )
    checkout.add("compute/saliency/methods.py", "import estimates, gradients, ", "made_up, ")
    checkout.run(
        TRACE
        + """
values = trace.saliency("tuned", "made_up").values
assert values.shape == (m.prompt_length, m.answer_length("tuned"))
assert values[:, 0].tolist() == list(range(m.prompt_length))
assert [method.title for method in m.methods][-1] == "Made up"
assert trace.faithfulness("tuned", "made_up").n > 0
"""
    )
    assert len(checkout.changed) == stated("a saliency method")
