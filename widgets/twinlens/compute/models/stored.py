"""Weights that are read from files without loading the model: of a folder, a file, or the hub."""

from __future__ import annotations

import os
from pathlib import Path

from twinlens.compute.models.faults import load_errors
from twinlens.compute.models.sources import source_of
from twinlens.compute.models.weights import Weights, adapter_alone
from twinlens.errors import ModelLoadError

#: What weights, shape and tokenizer are read from.
_FILES = ("*.safetensors", "*.safetensors.index.json", "*.json", "*.model", "*.txt", "*.jinja")


def stored_weights(name: str | os.PathLike[str], revision: str | None = None) -> Weights:
    """Weights of a model folder, a safetensors file, or a model of the hub, which is downloaded.

    Parameters
    ----------
    name : path or hub id
    revision : str, optional
        Branch, tag or commit on the hub.

    Raises
    ------
    ModelLoadError
        If there is no such model, or it cannot be downloaded or read.
    UnsupportedArchitectureError
        If its architecture is not in the table.
    """
    if not isinstance(name, str | os.PathLike):
        raise ModelLoadError(
            "a model is read layer by layer from a folder, a safetensors file or a hub id, not "
            f"from {type(name).__name__}: a pair that is loaded has word_pairs, too"
        )
    path = Path(name).expanduser()
    if path.suffix == ".gguf":
        raise ModelLoadError(
            f"{path.name!r} is a GGUF file, which is not read layer by layer: load the pair and "
            "use pair.word_pairs, or give a folder with safetensors"
        )
    if path.exists():
        return Weights(path)
    source = source_of(str(name), revision)
    if source.adapter is not None:
        raise adapter_alone(source.name)
    return Weights(downloaded(source.place, revision, source.name), source.name)


def downloaded(place: str, revision: str | None, name: str) -> Path:
    """Folder with the weights, shape and tokenizer of a model of the hub."""
    from huggingface_hub import snapshot_download

    with load_errors(name, "files"):
        return Path(snapshot_download(place, revision=revision, allow_patterns=list(_FILES)))
