from __future__ import annotations

import json
import zipfile

import numpy as np
import pytest
from twinlens.errors import Interrupted, RecordingError, UnknownBlockError
from twinlens.traces import recording

from tests.support.made_up import MadeUpTrace, manifest


@pytest.fixture
def recorded(tmp_path):
    return recording.write(MadeUpTrace(), tmp_path / "a.twl")


def test_every_block_comes_back(recorded):
    trace, copy = MadeUpTrace(), recording.read(recorded)
    assert copy.manifest == trace.manifest
    assert list(copy.keys()) == list(trace.keys())
    for key in list(trace.keys()):
        expected, found = trace.block(key), copy.block(key)
        if isinstance(expected, np.ndarray):
            assert found.dtype == expected.dtype
            np.testing.assert_array_equal(found, expected)
        else:
            assert found == expected


def test_same_trace_same_bytes(recorded, tmp_path):
    assert recording.write(MadeUpTrace(), tmp_path / "b.twl").read_bytes() == recorded.read_bytes()


def test_hostile_text_comes_back(tmp_path):
    from tests.support.made_up import HOSTILE

    made = manifest(prompt=[(text, "other") for text in HOSTILE])
    copy = recording.read(recording.write(MadeUpTrace(made), tmp_path / "h.twl"))
    assert [token.text for token in copy.manifest.prompt_tokens] == list(HOSTILE)


def test_a_missing_block_is_named(recorded):
    with pytest.raises(UnknownBlockError, match=r"concepts/find/dog is not in"):
        recording.read(recorded).block("concepts/find/dog")
    with pytest.raises(UnknownBlockError, match=r"there is no layer 99: 0 to 3"):
        recording.read(recorded).block("attention/base/99/0")


def test_an_interrupted_write_leaves_the_old_file(recorded):
    before = recorded.read_bytes()

    calls = []

    def stop(done, total, what):
        calls.append(what)
        if len(calls) == 4:
            raise Interrupted("stopped")

    with pytest.raises(Interrupted):
        recording.write(MadeUpTrace(), recorded, stop)
    assert recorded.read_bytes() == before
    assert [path.name for path in recorded.parent.iterdir()] == ["a.twl"]


@pytest.mark.parametrize("keep", [0, 1, 100, 0.5, 0.99])
def test_a_truncated_file_is_refused(recorded, keep):
    data = recorded.read_bytes()
    recorded.write_bytes(data[: int(keep * len(data)) if isinstance(keep, float) else keep])
    with pytest.raises(RecordingError, match="damaged, truncated or no twinlens recording"):
        recording.read(recorded)


def test_a_flipped_byte_is_found(recorded):
    with zipfile.ZipFile(recorded) as archive:
        info = next(i for i in archive.infolist() if i.filename.endswith(".npy"))
    data = bytearray(recorded.read_bytes())
    data[info.header_offset + 30 + len(info.filename) + info.compress_size // 2] ^= 0xFF
    recorded.write_bytes(data)
    copy = recording.read(recorded)
    with pytest.raises(RecordingError, match="damaged"):
        copy.block("saliency/base/gradient_x_input")


def rewritten(path, change):
    with zipfile.ZipFile(path) as archive:
        entries = {name: archive.read(name) for name in archive.namelist()}
    data = json.loads(entries["manifest.json"])
    change(data, entries)
    entries["manifest.json"] = json.dumps(data).encode()
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in entries.items():
            archive.writestr(name, content)
    return path


def test_a_shape_that_lies_is_refused_before_allocation(recorded):
    def lie(data, entries):
        data["blocks"]["heads/change"]["shape"] = [1 << 40, 4, 8]

    copy = recording.read(rewritten(recorded, lie))
    with pytest.raises(RecordingError, match=r"its shape is not \[21, 4, 8\]"):
        copy.block("heads/change")


def test_a_newer_recording_says_so(recorded):
    path = rewritten(recorded, lambda data, entries: data["trace"].update(schema=99))
    with pytest.raises(RecordingError, match="format 99"):
        recording.read(path)


def test_a_missing_entry_is_found_on_opening(recorded):
    path = rewritten(recorded, lambda data, entries: entries.pop("blocks/3.json"))
    with pytest.raises(RecordingError, match="1 of its blocks are missing"):
        recording.read(path)


def test_no_recording(tmp_path):
    with pytest.raises(RecordingError, match="there is no recording at"):
        recording.read(tmp_path / "none.twl")
    other = tmp_path / "other.zip"
    with zipfile.ZipFile(other, "w") as archive:
        archive.writestr("readme.txt", "hello")
    with pytest.raises(RecordingError, match="no twinlens recording"):
        recording.read(other)


def test_pickled_arrays_are_refused(recorded):
    def plant(data, entries):
        import io

        buffer = io.BytesIO()
        np.save(buffer, np.array([{"a": 1}], object), allow_pickle=True)
        entry = data["blocks"]["components/change"]
        entries[entry["entry"]] = buffer.getvalue()

    copy = recording.read(rewritten(recorded, plant))
    with pytest.raises(RecordingError, match="damaged"):
        copy.block("components/change")
