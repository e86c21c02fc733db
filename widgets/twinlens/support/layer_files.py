"""Finished layers on disk: one npz file each, named by the hash of what made it."""

from __future__ import annotations

import contextlib
import hashlib
import os
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from twinlens.contract.wire import Array
from twinlens.support.files import cache_folder, replacing

if TYPE_CHECKING:
    from torch import Tensor


def folder(cache: bool | str | os.PathLike[str], kind: str = "word_pairs_1") -> Path | None:
    """Where layers are kept: the user's cache folder, the one given, or nowhere.

    `kind` ends in a number: results of another way of computing are never read.
    """
    if isinstance(cache, bool):
        return cache_folder() / kind if cache else None
    return Path(cache)


def key_of(*parts: object) -> str:
    """Hash of tensors, arrays and bytes as they are, and of anything else as it is written."""
    digest = hashlib.sha256()
    for part in parts:
        if isinstance(part, torch.Tensor):
            digest.update(repr((part.dtype, tuple(part.shape))).encode())
            digest.update(_bytes(part))
        else:
            digest.update(part if isinstance(part, bytes) else repr(part).encode())
    return digest.hexdigest()


def _bytes(tensor: Tensor) -> memoryview:
    # As they lie in memory, without a copy where that can be; NumPy knows no bfloat16.
    if tensor.ndim == 2 and tensor.mT.is_contiguous():
        tensor = tensor.mT
    return tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data


def load(folder: Path | None, key: str) -> dict[str, Array] | None:
    """The arrays of a finished layer, or None; a damaged file counts as none."""
    if folder is None:
        return None
    try:
        with np.load(folder / f"{key}.npz", allow_pickle=False) as stored:
            return {name: stored[name] for name in stored.files}
    except (OSError, ValueError, TypeError, EOFError, zipfile.BadZipFile):
        return None


def save(folder: Path | None, key: str, arrays: dict[str, Array]) -> None:
    """Keep a finished layer; the file appears whole or not at all.

    A full disk or a read-only home costs the cache, not the result.
    """
    if folder is None:
        return
    with contextlib.suppress(OSError):
        folder.mkdir(parents=True, exist_ok=True)
        with replacing(folder / f"{key}.npz") as file:
            np.savez(file, allow_pickle=False, **arrays)
