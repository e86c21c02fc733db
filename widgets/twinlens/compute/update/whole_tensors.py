"""Tensors of safetensors files, read one after the other into the same memory.

A mapped file is brought in page by page, at a fraction of the rate at which it can be read.
"""

from __future__ import annotations

import json
import math
import os
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor

_TYPES = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
}
#: Larger tensors are better mapped, so that two of them need no memory; bytes.
_LARGEST = 2**29
#: Bytes behind a tensor that the system is told to read in advance.
_AHEAD = 2**27


class WholeTensors:
    """Reads tensors whole; each is good until the next one is read."""

    def __init__(self) -> None:
        self._memory = torch.empty(0, dtype=torch.uint8)
        self._headers: dict[Path, tuple[int, dict[str, Any]]] = {}

    def read(self, path: Path, name: str) -> Tensor | None:
        """A tensor of a file; None where it is of another type than these, or too large.

        Raises
        ------
        OSError, ValueError
            If the file cannot be read, or ends too early.
        """
        with path.open("rb", buffering=0) as file:
            if path not in self._headers:
                length = int.from_bytes(file.read(8), "little")
                self._headers[path] = 8 + length, json.loads(file.read(length))
            start, header = self._headers[path]
            kind, shape = _TYPES.get(header[name]["dtype"]), header[name]["shape"]
            size = math.prod(shape) * (kind.itemsize if kind else 0)
            if kind is None or not 0 < size <= _LARGEST:
                return None
            if len(self._memory) < size:
                self._memory = torch.empty(size, dtype=torch.uint8)
            first, end = (start + offset for offset in header[name]["data_offsets"])
            file.seek(first)
            place = memoryview(cast(Any, self._memory.numpy()))[:size]
            while len(place):
                read = file.readinto(place)
                if not read:
                    raise ValueError("it ends too early")
                place = place[read:]
            if hasattr(os, "posix_fadvise"):  # what comes next is read while this is looked at
                os.posix_fadvise(file.fileno(), end, _AHEAD, os.POSIX_FADV_WILLNEED)
        return self._memory[:size].view(kind).reshape(shape)
