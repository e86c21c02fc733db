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
import zlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any, cast

import numpy as np

from twinlens.contract import blocks
from twinlens.contract.manifest import manifest_from_json
from twinlens.contract.wire import Value
from twinlens.errors import (
    PromptError,
    RecordingError,
    UnknownBlockError,
    UnsupportedArchitectureError,
)
from twinlens.support.files import checked_path, replacing
from twinlens.support.progress import Report
from twinlens.traces.marks import Mark, read_marks
from twinlens.traces.trace import Trace

#: A block of a recording never needs more; a header that claims more is damaged.
MAXIMUM_BLOCK_BYTES = 1 << 30
_ZIP_TIME = (1980, 1, 1, 0, 0, 0)
_ARRAY_TYPES = ("float32", "float16", "float64", "int32", "int64", "uint8")


def write(
    trace: Trace,
    path: str | os.PathLike[str],
    report: Report | None = None,
    *,
    marks: list[Mark] | None = None,
) -> Path:
    """Record every block of a trace in a `.twl` file.

    The file appears only when it is complete: an error or an interrupt leaves an older file of
    that name as it was. The same trace gives the same bytes.

    Parameters
    ----------
    trace : Trace
    path : path
    report : callable, optional
        Called with (done, total, what) for each block; may raise `Interrupted`.
    marks : list of Mark, optional
        Spans marked anew, which `read` gives back as the trace's `marks`.

    Returns
    -------
    Path
        The file.
    """
    target = checked_path(path, "the recording to write")
    keys = list(trace.keys())
    entries: dict[str, dict[str, Any]] = {}
    with (
        replacing(target) as stream,
        zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive,
    ):
        for done, key in enumerate(keys):
            if report:
                report(done, len(keys), key)
            try:
                value = trace.block(key)
            except UnsupportedArchitectureError:
                continue  # models that do not have it are recorded without it
            entries[key] = _write_block(archive, f"blocks/{done}", value)
        manifest: dict[str, Any] = {
            "trace": blocks.with_methods(trace.manifest, entries).to_json(),
            "blocks": entries,
        }
        if marks is not None:
            manifest["marks"] = marks
        _write_entry(archive, "manifest.json", json.dumps(manifest).encode())
    return target


def read(path: str | os.PathLike[str]) -> RecordedTrace:
    """Open a recording; blocks are read from the file when asked for.

    Raises
    ------
    RecordingError
        If the file is missing, no recording, damaged, truncated, or newer than this version.
    """
    if not isinstance(path, str | os.PathLike):
        raise RecordingError(f"a recording is named by its path, not by a {type(path).__name__}")
    target = Path(path)
    if not target.is_file():
        raise RecordingError(f"there is no recording at {target}: check the path")
    try:
        archive = zipfile.ZipFile(target)
        data = json.loads(archive.read("manifest.json"))
    except KeyError as error:
        raise RecordingError(
            f"{target.name} is a zip file but no twinlens recording: it has no manifest.json"
        ) from error
    except (zipfile.BadZipFile, zlib.error, ValueError, EOFError, OSError) as error:
        raise RecordingError(
            f"{target.name} is damaged, truncated or no twinlens recording: record it again"
        ) from error
    if not isinstance(data, dict) or "trace" not in data:
        raise RecordingError(f"the manifest of {target.name} is damaged: record it again")
    return RecordedTrace(archive, data, target.name)


class RecordedTrace(Trace):
    """A trace read from a `.twl` file."""

    def __init__(self, archive: zipfile.ZipFile, data: dict[str, Any], name: str) -> None:
        self.manifest = manifest_from_json(data["trace"])
        try:
            self.marks = read_marks(data.get("marks"), self.manifest.prompt_tokens)
        except PromptError as error:
            raise RecordingError(f"the marks in {name} are damaged ({error})") from error
        self._archive = archive
        self._entries = cast(dict[str, dict[str, Any]], data.get("blocks", {}))
        self._name = name
        missing = {entry["entry"] for entry in self._entries.values()} - set(archive.namelist())
        if missing:
            raise RecordingError(f"{name} is damaged: {len(missing)} of its blocks are missing")

    def keys(self) -> Iterable[str]:
        return list(self._entries)

    def block(self, key: str, report: Report | None = None) -> Value:
        entry = self._entries.get(key)
        if entry is None:
            blocks.read(key, self.manifest)
            raise UnknownBlockError(f"{key} is not in the recording {self._name}")
        try:
            return self._read(entry)
        except (zipfile.BadZipFile, zlib.error, ValueError, EOFError, KeyError) as error:
            raise RecordingError(
                f"block {key} of {self._name} is damaged ({error}): record it again"
            ) from error

    def _read(self, entry: dict[str, Any]) -> Value:
        if entry["kind"] == "json":
            if self._archive.getinfo(entry["entry"]).file_size > MAXIMUM_BLOCK_BYTES:
                raise ValueError("it claims to be larger than any block")
            return cast(Value, json.loads(self._archive.read(entry["entry"])))
        shape = tuple(int(n) for n in entry["shape"])
        if entry["dtype"] not in _ARRAY_TYPES or any(n < 0 for n in shape):
            raise ValueError("its type or shape is impossible")
        expected = np.dtype(entry["dtype"]).itemsize * int(np.prod(shape, dtype=object))
        stored = self._archive.getinfo(entry["entry"]).file_size
        if expected > MAXIMUM_BLOCK_BYTES or not expected <= stored <= expected + 4096:
            raise ValueError("its size does not fit its shape")
        array = np.load(io.BytesIO(self._archive.read(entry["entry"])), allow_pickle=False)
        if array.shape != shape or array.dtype.name != entry["dtype"]:
            raise ValueError("its contents do not fit its shape")
        return cast(Value, array)


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
