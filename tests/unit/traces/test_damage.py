"""Damaged recordings: one error, in bounded time and memory, and a page of what is whole.

Every mutation is drawn from its number. `TWINLENS_MUTATIONS` says how many (`make damage`: 10,000).
"""

from __future__ import annotations

import io
import json
import os
import random
import tracemalloc
import zipfile
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pytest
from twinlens.errors import RecordingError
from twinlens.pages import page, values
from twinlens.traces import recording

from tests.support.made_up import MadeUpTrace, manifest

COUNT = int(os.environ.get("TWINLENS_MUTATIONS", "500"))
CHUNKS = 10
#: Of one in so many that open a page is made.
PAGES = 25

COMPRESSIONS = [zipfile.ZIP_DEFLATED] * 4 + [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA]
ODD: list[Any] = [
    None, True, -1, 0, 2, 10**8, 10**30, 1e999, -1.5, float("nan"), "", "x", "\ud800", [], {},
    [[]], [None], {"a": 1}, "base", "../../etc/passwd", "blocks/0.json", "a" * 100_000,
]  # fmt: skip


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> bytes:
    prompt = [("<s>", "special"), (" Write", "instruction"), (" dog", "context"), (":", "template")]
    answers = {"base": (" a",), "tuned": (" DOG", "</s>")}
    made = manifest(2, 2, prompt=prompt, answers=answers, components=2)
    path = tmp_path_factory.mktemp("whole") / "a.twl"
    return recording.write(MadeUpTrace(made), path).read_bytes()


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Paths to all values inside a JSON value."""
    items = (
        value.items()
        if isinstance(value, dict)
        else enumerate(value)
        if isinstance(value, list)
        else ()
    )
    return [path, *(place for key, item in items for place in places(item, (*path, key)))]


def changed_json(value: Any, draw: random.Random) -> Any:
    """One place replaced by something odd, removed, or doubled."""
    *front, last = draw.choice(places(value)[1:] or [(None,)])
    if last is None:
        return draw.choice(ODD)
    holder = value
    for key in front:
        holder = holder[key]
    kind = draw.randrange(4)
    if kind == 0:
        del holder[last]
    elif kind == 1 and isinstance(holder, list):
        holder.append(holder[last])
    elif kind == 2 and isinstance(holder, dict):
        holder[draw.choice(["new", "schema", "0", ""])] = holder[last]
    else:
        holder[last] = draw.choice(ODD)
    return value


def bits(data: bytes, draw: random.Random) -> bytes:
    damaged = bytearray(data)
    for _ in range(draw.choice([1, 1, 3, 20])):
        damaged[draw.randrange(len(damaged))] ^= 1 << draw.randrange(8)
    return bytes(damaged)


def cut(data: bytes, draw: random.Random) -> bytes:
    start, end = sorted(draw.randrange(len(data)) for _ in range(2))
    return draw.choice([data[start:], data[:end], data[:start] + data[end:]])


def spliced(data: bytes, draw: random.Random) -> bytes:
    at, start, end = (draw.randrange(len(data)) for _ in range(3))
    return data[:at] + data[min(start, end) : max(start, end)] + data[at:]


def packed(entries: dict[str, bytes], draw: random.Random) -> bytes:
    stream = io.BytesIO()
    odd = draw.choice(sorted(entries))
    with zipfile.ZipFile(stream, "w") as archive:
        for name, content in entries.items():
            archive.writestr(name, content, draw.choice(COMPRESSIONS) if name == odd else None)
    return stream.getvalue()


def rewritten(
    change: Callable[[dict[str, bytes], random.Random], None],
) -> Callable[[bytes, random.Random], bytes]:
    """A zip that is whole, with other contents."""

    def mutate(data: bytes, draw: random.Random) -> bytes:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            entries = {name: archive.read(name) for name in archive.namelist()}
        change(entries, draw)
        return packed(entries, draw)

    return mutate


def other_manifest(entries: dict[str, bytes], draw: random.Random) -> None:
    data = json.loads(entries["manifest.json"])
    for _ in range(draw.choice([1, 1, 2, 5])):
        data = changed_json(data, draw)
        if not isinstance(data, dict):
            break
    entries["manifest.json"] = json.dumps(data).encode()


def other_json(entries: dict[str, bytes], draw: random.Random) -> None:
    name = draw.choice([name for name in entries if name.startswith("blocks/") and "json" in name])
    value = changed_json(json.loads(entries[name]), draw)
    entries[name] = json.dumps(value).encode()


def other_array(entries: dict[str, bytes], draw: random.Random) -> None:
    name = draw.choice([name for name in entries if name.endswith(".npy")])
    array = np.load(io.BytesIO(entries[name]))
    kind = draw.randrange(5)
    stream = io.BytesIO()
    if kind == 0:
        array = array.astype(draw.choice(["f8", ">f4", "i8", "U3", "c8", "?"]))
    elif kind == 1:
        array = array.reshape(-1)
    elif kind == 2:
        array = np.full_like(array, draw.choice([np.nan, np.inf, -np.inf, -1]))
    np.save(stream, array)
    content = stream.getvalue()
    if kind == 3:
        content = content.replace(b"'shape': (", b"'shape': (999999999999, ")
    elif kind == 4:
        content = bits(content, draw)
    entries[name] = content


def swapped(entries: dict[str, bytes], draw: random.Random) -> None:
    first, second = draw.sample(sorted(entries), 2)
    entries[first], entries[second] = entries[second], entries[first]


def bomb(entries: dict[str, bytes], draw: random.Random) -> None:
    content = draw.choice(
        [b" " * 3_000_000 + b"1", b"[" * 100_000, b"[" + b"[]," * 900_000 + b"1]"]
    )
    entries[draw.choice(["manifest.json", draw.choice(sorted(entries))])] = content


MUTATIONS = [
    bits,
    cut,
    spliced,
    *map(rewritten, (other_manifest, other_manifest, other_json, other_array, swapped, bomb)),
]


def error_of(read: Callable[[], Any]) -> RecordingError | None:
    """The error of a damaged file, which is one line; anything else is a failure."""
    try:
        read()
    except RecordingError as error:
        return error
    return None


@pytest.mark.parametrize(
    "chunk", [0, *(pytest.param(later, marks=pytest.mark.slow) for later in range(1, CHUNKS))]
)
def test_whatever_was_changed_there_is_one_error_and_a_page(whole, chunk, tmp_path, monkeypatch):
    monkeypatch.setattr(page, "bokeh_script", lambda: "")
    monkeypatch.setattr(values, "bokeh_script", lambda: "")
    path = tmp_path / "a.twl"
    opened, blocks, errors = 0, 0, []
    for number in range(chunk, COUNT, CHUNKS):
        draw = random.Random(number)
        path.write_bytes(draw.choice(MUTATIONS)(whole, draw))
        try:
            trace = recording.read(path)
        except RecordingError as error:
            errors.append((number, error))
            continue
        opened += 1
        for key in list(trace.keys()):
            errors.append((number, error_of(partial(trace.block, key))))
            blocks += errors[-1][1] is None
        if opened % PAGES == 1:
            page.to_html(trace, tmp_path / "a.html")
    sentences = [(number, str(error)) for number, error in errors if error is not None]
    assert [pair for pair in sentences if "\n" in pair[1]] == []
    assert min(opened, blocks, len(sentences)) > 0


@pytest.mark.parametrize("entry", ["manifest.json", "blocks/0.json"])
@pytest.mark.parametrize("content", [b" " * 1000, b"[]," * 100])
def test_a_small_file_does_not_fill_the_memory(whole, tmp_path, entry, content):
    path = tmp_path / "a.twl"
    with (
        zipfile.ZipFile(io.BytesIO(whole)) as archive,
        zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as bomb,
    ):
        for name in set(archive.namelist()) - {entry}:
            bomb.writestr(name, archive.read(name))
        with bomb.open(entry, "w") as stream:
            stream.write(b"[")
            for _ in range(150_000):
                stream.write(content)
            stream.write(b"1]")
    tracemalloc.start()
    try:
        with pytest.raises(RecordingError):
            recording.read(path).block("findings")
        assert tracemalloc.get_traced_memory()[1] < 200e6
    finally:
        tracemalloc.stop()
