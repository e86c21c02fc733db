"""What is too large for memory lies in a temporary file, with the same numbers."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import numpy as np
import pytest
import torch
from twinlens.compute.live.live import trace_pair
from twinlens.compute.pair import Pair, load_pair
from twinlens.compute.passes import footprint, room
from twinlens.compute.passes.capture import capture
from twinlens.contract import blocks

from tests.support import tiny
from tests.support.saliency import IDS, PROMPT

pytestmark = pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="needs Linux")


def lies_in_file(tensor: torch.Tensor) -> bool:
    place = tensor.data_ptr()
    for line in Path("/proc/self/maps").read_text().splitlines():
        first, last = (int(end, 16) for end in line.split()[0].split("-"))
        if first <= place < last:
            return "twinlens-" in line or "deleted" in line
    return False


def test_large_arrays_lie_in_files_that_nobody_sees(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    model = tiny.model("llama")
    kept = capture(model, IDS, PROMPT, side="base")
    monkeypatch.setattr(room, "IN_MEMORY", 0)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    filed = capture(model, IDS, PROMPT, side="base")
    arrays = [
        (*of.heads, of.attention_out, of.feed_forward_out, of.residual, of.neurons)
        for of in (kept, filed)
    ]
    for held, put in zip(*arrays, strict=True):
        assert torch.equal(put, held)
        assert not lies_in_file(held)
        assert lies_in_file(put)
    assert torch.equal(filed.attention.packed, kept.attention.packed)
    assert lies_in_file(filed.attention.packed)
    assert not os.listdir(tmp_path)


def test_they_stay_in_memory_where_the_disk_is_full(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room, "IN_MEMORY", 0)
    monkeypatch.setattr(room, "_MARGIN", 2**80)
    assert not lies_in_file(room.room((4, 3), torch.float16))
    monkeypatch.setattr(room, "_MARGIN", 0)

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full)
    assert not lies_in_file(room.room((4, 3), torch.float16))


def test_one_model_at_a_time_needs_no_memory_for_them(
    folders: tuple[Path, Path], pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    alone = load_pair(*folders, memory="sequential")
    options = {"instruction": tiny.INSTRUCTION, "response": "shared", "max_new_tokens": 3}
    kept = trace_pair(pair, tiny.PROMPT, **options)
    before = footprint.footprint(alone, 100)
    monkeypatch.setattr(room, "IN_MEMORY", 0)
    shape = alone.sizes
    assert footprint.footprint(alone, 100) == 3 * shape.heads * 100**2 * 4 < before
    filed = trace_pair(alone, tiny.PROMPT, **options)
    for key in (
        blocks.attention("tuned", 2, 3),
        blocks.head_change(),
        blocks.shift_residual(),
        blocks.neuron_activations("base", 1, 7),
    ):
        np.testing.assert_array_equal(filed.array(key), kept.array(key))
