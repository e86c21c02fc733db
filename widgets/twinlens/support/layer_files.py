"""Finished layers on disk: one npz file each, named by the hash of what made it."""

from __future__ import annotations

import contextlib
import os
import zipfile
from pathlib import Path

import numpy as np

from twinlens.contract.wire import Array
from twinlens.support.files import cache_folder, checked_path, replacing


def folder(cache: bool | str | os.PathLike[str], kind: str = "word_pairs_1") -> Path | None:
    """Where layers are kept: the user's cache folder, the one given, or nowhere.

    `kind` ends in a number: results of another way of computing are never read.
    """
    if isinstance(cache, bool):
        return cache_folder() / kind if cache else None
    return checked_path(cache, "with cache= the folder of finished layers")


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
