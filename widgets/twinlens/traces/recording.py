"""Recordings: a trace in a `.twl` file, replayed without the models.

A `.twl` file is a zip of ``manifest.json`` (format version, the trace's manifest, and for every
block its entry, kind, shape and type) and one entry per block: ``.npy`` for arrays, ``.json`` for
JSON. Nothing in it is ever executed; blocks are read when asked for.
"""

from __future__ import annotations

import io
import json
import os
import zipfile
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NotRequired, TypedDict, cast

import numpy as np

from twinlens.contract import blocks, lookup
from twinlens.contract.form_check import check, read_json
from twinlens.contract.manifest import manifest_from_json
from twinlens.contract.wire import Value
from twinlens.errors import (
    ArgumentError,
    PromptError,
    RecordingError,
    UnknownBlockError,
    UnsupportedArchitectureError,
)
from twinlens.support.calls import methods_called_rightly
from twinlens.support.files import check_file, checked_path, possible_path, replacing
from twinlens.support.progress import Remaining, Report
from twinlens.traces.block_times import usual_seconds
from twinlens.traces.marks import Mark, read_marks
from twinlens.traces.story import Slide, read_story
from twinlens.traces.trace import Trace

#: No array, and no JSON, of a recording needs more: what claims more is damaged.
MAXIMUM_ARRAY_BYTES, MAXIMUM_JSON_BYTES = 1 << 30, 1 << 26


class _Entry(TypedDict):
    """Where a block stands in the file."""

    kind: str
    entry: str
    shape: NotRequired[list[int]]
    dtype: NotRequired[str]


_ZIP_TIME = (1980, 1, 1, 0, 0, 0)
_ARRAY_TYPES = ("float32", "float16", "float64", "int32", "int64", "uint8")


def write(
    trace: Trace,
    path: str | os.PathLike[str],
    report: Report | None = None,
    *,
    marks: list[Mark] | None = None,
    story: Sequence[Slide] = (),
    everything: bool = False,
) -> Path:
    """Record the blocks of a trace in a `.twl` file.

    The file appears only when it is complete: an error or an interrupt leaves an older file of
    that name as it was. The same trace gives the same bytes.

    Parameters
    ----------
    report : callable, optional
        Called for each block, see `Remaining`; may raise `Interrupted`.
    marks : list of Mark, optional
        Spans marked anew, which `read` gives back as the trace's `marks`.
    story : sequence of Slide, optional
        Kept views, which `read` gives back as the trace's `story`.
    everything : bool
        Of a large pair, keep the neurons of every layer at every answer token too, and what heads
        write into components: many times the size, and the time.

    Returns
    -------
    Path
        The file.

    Raises
    ------
    OutputError
        If it cannot be written there; before anything is computed where that can be known.
    """
    target = checked_path(path, "the recording to write")
    check_file(target)
    entries: dict[str, dict[str, Any]] = {}
    with (
        replacing(target) as stream,
        zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive,
    ):
        remaining = Remaining(report, usual_seconds(trace))
        keys = kept_keys(trace, remaining, everything=everything)
        for done, key in enumerate(keys):
            remaining.begin(key)
            try:
                value = trace.block(key, remaining.inside)
            except UnsupportedArchitectureError:
                continue  # models that do not have it are recorded without it
            entries[key] = _write_block(archive, f"blocks/{done}", value)
        manifest: dict[str, Any] = {
            "trace": lookup.with_methods(trace.manifest, entries).to_json(),
            "blocks": entries,
        }
        if marks is not None:
            manifest["marks"] = marks
        if story:
            manifest["story"] = list(story)
        _write_entry(archive, "manifest.json", json.dumps(manifest).encode())
    return target


def kept_keys(trace: Trace, remaining: Remaining, *, everything: bool = False) -> list[str]:
    """Keys that a file keeps; findings are made first, as more may be there because of them."""
    listed = trace.every_key if everything else trace.keys
    remaining.plan(list(listed()))
    remaining.begin(blocks.findings())
    with suppress(RecordingError, UnknownBlockError, UnsupportedArchitectureError):
        trace.block(blocks.findings(), remaining.inside)
    keys = list(listed())
    remaining.plan(keys)
    return keys


def read(path: str | os.PathLike[str]) -> RecordedTrace:
    """Open a recording; blocks are read from the file when asked for.

    Raises
    ------
    RecordingError
        If the file is missing, no recording, damaged, truncated, or newer than this version.
    """
    if not isinstance(path, str | os.PathLike):
        raise RecordingError(f"a recording is named by its path, not by a {type(path).__name__}")
    target = possible_path(path, "a recording", RecordingError)
    if not target.is_file():
        raise RecordingError(f"there is no recording at {target}: check the path")
    damaged = f"{target.name} is damaged, truncated or no twinlens recording: record it again"
    try:
        archive = zipfile.ZipFile(target)
        # Entries that begin outside of the file: something was cut from its front.
        if any(info.header_offset < 0 for info in archive.infolist()):
            raise ValueError("its front is missing")
        names = archive.namelist()
        data = read_json(_entry(archive, "manifest.json")) if "manifest.json" in names else None
    except Exception as error:  # whatever a damaged file makes a reader of zips or JSON say
        raise RecordingError(damaged) from error
    if "manifest.json" not in names:
        raise RecordingError(
            f"{target.name} is a zip file but no twinlens recording: it has no manifest.json"
        )
    if not isinstance(data, dict) or "trace" not in data:
        raise RecordingError(f"the manifest of {target.name} is damaged: record it again")
    return RecordedTrace(archive, data, target.name)


@methods_called_rightly
class RecordedTrace(Trace):
    """A trace read from a `.twl` file."""

    def __init__(self, archive: zipfile.ZipFile, data: dict[str, Any], name: str) -> None:
        self.manifest = manifest_from_json(data["trace"])
        try:
            self.marks = read_marks(data.get("marks"), self.manifest.prompt_tokens)
        except PromptError as error:
            raise RecordingError(f"the marks in {name} are damaged ({error})") from error
        try:
            self.story = read_story(data.get("story", []))
        except ArgumentError as error:
            raise RecordingError(f"the story in {name} is damaged ({error})") from error
        self._archive = archive
        self._name = name
        try:
            check(data.get("blocks", {}), dict[str, _Entry], "blocks")
        except ValueError as error:
            raise RecordingError(f"the manifest of {name} is damaged ({error})") from error
        self._entries = cast(dict[str, _Entry], data.get("blocks", {}))
        missing = {entry["entry"] for entry in self._entries.values()} - set(archive.namelist())
        if missing:
            raise RecordingError(f"{name} is damaged: {len(missing)} of its blocks are missing")

    def keys(self) -> Iterable[str]:
        return list(self._entries)

    def block(self, key: str, report: Report | None = None) -> Value:
        entry = self._entries.get(key) if isinstance(key, str) else None
        if entry is None:
            lookup.read(key, self.manifest)
            raise UnknownBlockError(f"{key} is not in the recording {self._name}")
        try:
            return self._read(entry, lookup.read(key, self.manifest))
        except Exception as error:  # see `read`
            raise RecordingError(
                f"block {key} of {self._name} is damaged ({error}): record it again"
            ) from error

    def _read(self, entry: _Entry, asked: lookup.Asked) -> Value:
        if asked.block.dtype is None:
            value = read_json(_entry(self._archive, entry["entry"]))
            check(value, asked.block.form)
            return cast(Value, value)
        shape = lookup.shape(asked, self.manifest)
        if tuple(entry.get("shape", ())) != shape:
            raise ValueError(f"its shape is not {list(shape)}")
        # The header is read by itself first: an array is made as large as it says.
        stream = io.BytesIO(_entry(self._archive, entry["entry"], MAXIMUM_ARRAY_BYTES))
        version = np.lib.format.read_magic(stream)
        read_header = np.lib.format.read_array_header_1_0
        if version != (1, 0):
            read_header = np.lib.format.read_array_header_2_0
        header_shape, _, dtype = read_header(stream)
        if header_shape != shape or dtype.name not in _ARRAY_TYPES:
            raise ValueError("its contents do not fit its shape")
        stream.seek(0)
        return cast(Value, np.load(stream, allow_pickle=False))


def _entry(archive: zipfile.ZipFile, name: str, most: int = MAXIMUM_JSON_BYTES) -> bytes:
    """Contents of an entry, in bounded memory: never more than the directory says."""
    info = archive.getinfo(name)
    if info.file_size > most:
        raise ValueError("it claims to be larger than any block")
    if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise ValueError("it is compressed in another way")
    return archive.read(info)


def _write_block(archive: zipfile.ZipFile, entry: str, value: Value) -> dict[str, Any]:
    if isinstance(value, np.ndarray):
        buffer = io.BytesIO()
        np.save(buffer, np.ascontiguousarray(value), allow_pickle=False)
        _write_entry(archive, f"{entry}.npy", buffer.getvalue())
        return {
            "kind": "array",
            "entry": f"{entry}.npy",
            "shape": list(value.shape),
            "dtype": value.dtype.name,
        }
    _write_entry(archive, f"{entry}.json", json.dumps(value, ensure_ascii=False).encode())
    return {"kind": "json", "entry": f"{entry}.json"}


def _write_entry(archive: zipfile.ZipFile, name: str, data: bytes) -> None:
    info = zipfile.ZipInfo(name, date_time=_ZIP_TIME)
    info.compress_type = zipfile.ZIP_DEFLATED
    archive.writestr(info, data)
