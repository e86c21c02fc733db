"""Finished layers of word pairs on disk: one npz file each, named by the hash of what made it."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import zipfile
from pathlib import Path

import numpy as np
import platformdirs

from twinlens.changes.word_pairs import LayerPairs
from twinlens.files import replacing

# Part of the folder's name: results of another way of computing are never read.
_VERSION = 1


def folder(cache: bool | str | os.PathLike[str]) -> Path | None:
    """Where layers are kept: the user's cache folder, the one given, or nowhere."""
    if isinstance(cache, bool):
        home = platformdirs.user_cache_path("twinlens") / f"word_pairs_{_VERSION}"
        return home if cache else None
    return Path(cache)


def load(folder: Path | None, key: str) -> LayerPairs | None:
    """A finished layer, or None; a damaged file counts as none."""
    if folder is None:
        return None
    try:
        with np.load(folder / f"{key}.npz", allow_pickle=False) as stored:
            return LayerPairs(**{name: stored[name] for name in stored.files})
    except (OSError, ValueError, TypeError, EOFError, zipfile.BadZipFile):
        return None


def save(folder: Path | None, key: str, layer: LayerPairs) -> None:
    """Keep a finished layer; the file appears whole or not at all.

    A full disk or a read-only home costs the cache, not the result.
    """
    if folder is None:
        return
    with contextlib.suppress(OSError):
        folder.mkdir(parents=True, exist_ok=True)
        with replacing(folder / f"{key}.npz") as file:
            np.savez(file, **dataclasses.asdict(layer))
