"""Weights of one layer at a time, from a loaded model or straight from its files.

From a folder nothing is loaded: the model is built without weights, the tensors of a layer are
memory-mapped into it while they are read, and the architecture table does the rest.
Results are named by the hash of all that made them; finished layers lie on disk, one npz file each.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedModel

from twinlens.compute.models import architectures, names
from twinlens.compute.models.architectures import Sizes
from twinlens.compute.models.dense import dense_weight
from twinlens.compute.models.hub import load_errors
from twinlens.compute.models.sources import source_of
from twinlens.contract.wire import Array
from twinlens.errors import HeadIndexError, ModelLoadError, UnsupportedArchitectureError
from twinlens.support.files import cache_folder, checked_path, replacing

_INDEX = "model.safetensors.index.json"
#: What weights, shape and tokenizer are read from.
_FILES = ("*.safetensors", "*.safetensors.index.json", "*.json", "*.model", "*.txt", "*.jinja")


@dataclass(frozen=True)
class LayerWeights:
    """Attention weights of one layer, in the dtype they are stored in, without biases.

    Attributes
    ----------
    query : tensor, shape [heads, head_dim, hidden]
    key, value : tensor, shape [kv_heads, head_dim, hidden]
        Query head h reads key head ``h // (heads // kv_heads)``.
    output : tensor, shape [heads, hidden, head_dim]
    norm : tensor, shape [hidden]
        Weight of the norm in front of the attention block, as it multiplies; ones where the
        family has no such norm or it has no weight.
    """

    query: Tensor
    key: Tensor
    value: Tensor
    output: Tensor
    norm: Tensor


class Weights:
    """Weights of one model.

    Parameters
    ----------
    source : loaded model, folder or safetensors file
    name : str, optional
        What to call the model; by default the last part of its name.
    held : context manager, optional
        Entered whenever weights of a loaded model are looked at.

    Attributes
    ----------
    attending : list of int
        Layers that have heads with weights of their own.
    folder : Path or None
        Where they are read from; None for a loaded model.

    Raises
    ------
    ModelLoadError
        If the files cannot be read, or hold something else than their configuration says.
    UnsupportedArchitectureError
        If the family is not in the architecture table, or lacks a weight it names.
    """

    def __init__(
        self,
        source: PreTrainedModel | str | os.PathLike[str],
        name: str | None = None,
        *,
        held: AbstractContextManager[object] | None = None,
    ) -> None:
        self._held = held or nullcontext()
        self.folder: Path | None = None
        self._files: dict[str, tuple[Path, str]] = {}
        self._open: dict[Path, Any] = {}
        if isinstance(source, PreTrainedModel):
            self._model = source
            label = str(getattr(source.config, "_name_or_path", "")) or type(source).__name__
        else:
            path = Path(source).expanduser()
            self.folder = path if path.is_dir() else path.parent
            label = path.resolve().name
            self._files = tensor_files(path)
            self._model = _skeleton(self.folder, label)
        self.name = name or Path(label).name
        self.sizes: Sizes = architectures.sizes(self._model.config)
        self.attending: list[int] = architectures.with_keys(self._model)
        self._names: dict[int, str] = {}
        self._tied: dict[int, list[nn.Module]] = {}
        # Of a loaded model nothing is looked up by name.
        for path, module in self._model.named_modules() if self.folder else ():
            if isinstance(getattr(module, "weight", None), nn.Parameter):
                self._names[id(module)] = f"{path}.weight"
                self._tied.setdefault(id(module.weight), []).append(module)

    def layer(self, layer: int) -> LayerWeights:
        """Attention weights of one layer.

        Raises
        ------
        HeadIndexError
            If there is no such layer, or it has no heads with weights of their own.
        ModelLoadError, UnsupportedArchitectureError
            If the weights are not what the configuration and the table say.
        """
        if not 0 <= layer < self.sizes.layers:
            raise HeadIndexError(
                f"there is no layer {layer}: {self.name!r} has {self.sizes.layers} layers, "
                "counted from 0"
            )
        architectures.check_keys(self._model, layer)
        try:
            modules = [
                *architectures.query_key_value(self._model, layer),
                architectures.attention_out(self._model, layer),
            ]
            norm = architectures.attention_norm(self._model, layer)
        except AttributeError as error:
            raise UnsupportedArchitectureError(
                f"layer {layer} of {self.name!r} lacks an attention weight that the table names "
                f"for models of type {self._model.config.model_type!r} ({error})"
            ) from error
        weighted = norm is not None and getattr(norm, "weight", None) is not None
        with self._filled([*modules, norm] if norm is not None and weighted else modules):
            query, key, value = architectures.head_weights(self._model, layer)
            output = architectures.output_weights(self._model, layer)
            gain = None if norm is None else architectures.norm_gain(self._model, norm)
            if gain is None:
                gain = torch.ones(self.sizes.hidden, dtype=query.dtype, device=query.device)
        return LayerWeights(query, key, value, output, gain)

    def input_embeddings(self) -> Tensor:
        """Rows of the input embedding as stored, normed where the family does; [rows, hidden]."""
        module = self._model.get_input_embeddings()
        norm = architectures.embedding_norm(self._model)
        if norm is None:
            return self._matrix(module)
        with self._filled([module, norm]), torch.no_grad():
            return cast(Tensor, norm(dense_weight(module)))

    def output_embeddings(self) -> Tensor:
        """Rows of the unembedding, shape [vocabulary, hidden]."""
        module = self._model.get_output_embeddings()  # type: ignore[no-untyped-call]
        return self._matrix(module)

    def let_go(self) -> None:
        """Close the files read so far: mapped pages count as memory while a file is open.

        Tensors that are still in use keep theirs.
        """
        self._open.clear()

    def _matrix(self, module: nn.Module) -> Tensor:
        with self._filled([module]):
            return dense_weight(module)

    @contextmanager
    def _filled(self, modules: Sequence[nn.Module]) -> Iterator[None]:
        """Put the stored weights of some modules in place while they are read."""
        with self._held, ExitStack() as undo:
            norm = architectures.embedding_norm(self._model)
            for module in modules:
                for kind in ("weight", "bias") if module is norm else ("weight",):
                    empty = getattr(module, kind, None)  # packed modules may call it otherwise
                    if (
                        self.folder is not None
                        and isinstance(empty, nn.Parameter)
                        and empty.is_meta
                    ):
                        stored = nn.Parameter(self._read(module, empty, kind), requires_grad=False)
                        setattr(module, kind, stored)
                        undo.callback(setattr, module, kind, empty)
            yield

    def _read(self, module: nn.Module, empty: nn.Parameter, kind: str) -> Tensor:
        name = self._names[id(module)].removesuffix("weight") + kind
        # As transformers does it: tensors that are tied and stored apart stay apart.
        tied = [self._names[id(other)] for other in self._tied.get(id(empty), ())]
        # Checkpoints of the headless model leave out the prefix of its place in the full one;
        # those of GPT-NeoX call the unembedding by its old name.
        forms = [
            form
            for known in (name, *tied)
            for form in (
                known,
                known.removeprefix(f"{self._model.base_model_prefix}."),
                known.replace("lm_head.", "embed_out."),
            )
        ]
        stored_name = next((form for form in forms if form in self._files), None)
        if stored_name is None:
            fault = names.misfit({name}, self._unexpected(), (), self.sizes.layers)
            raise ModelLoadError(f"{self.name!r} does not hold the weights of its model: {fault}")
        path, stored = self._files[stored_name]
        try:
            if path not in self._open:
                self._open[path] = safe_open(path, framework="pt")
            tensor = cast(Tensor, self._open[path].get_tensor(stored))
        except (OSError, SafetensorError) as error:
            raise ModelLoadError(f"{path.name!r} cannot be read ({error})") from error
        plain = tensor.is_floating_point() and tensor.dtype.itemsize > 1
        if tensor.shape != empty.shape or not plain:
            raise ModelLoadError(
                f"tensor {name!r} of {self.name!r} is {tensor.dtype} of shape "
                f"{tuple(tensor.shape)}, not a plain weight of shape {tuple(empty.shape)}: "
                "quantised weights have to be loaded as a model"
            )
        return tensor

    def _unexpected(self) -> set[str]:
        """Stored tensors that are none of the model."""
        known = set(self._model.state_dict())
        known |= {name.removeprefix(f"{self._model.base_model_prefix}.") for name in known}
        return self._files.keys() - known


class HeldWeights:
    """Attention weights of a model that is let go: all layers, and nothing else of it."""

    def __init__(self, weights: Weights) -> None:
        self.name, self.sizes, self.attending = weights.name, weights.sizes, weights.attending
        self._layers = {
            layer: LayerWeights(*(part.clone() for part in vars(weights.layer(layer)).values()))
            for layer in weights.attending
        }

    def layer(self, layer: int) -> LayerWeights:
        """As `Weights.layer`."""
        return self._layers[layer]


def tensor_files(path: Path) -> dict[str, tuple[Path, str]]:
    """File of every tensor and its name there, by its plain name."""
    if not path.exists():
        raise ModelLoadError(f"there is no model folder or file {path.name!r}")
    if path.is_dir() and (path / _INDEX).is_file():
        try:
            index = json.loads((path / _INDEX).read_text("utf-8"))["weight_map"]
            # Shards lie beside their index; a path in it is never followed elsewhere.
            return {names.plain(key): (path / Path(file).name, key) for key, file in index.items()}
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise ModelLoadError(f"{_INDEX!r} of {path.name!r} is damaged ({error})") from error
    files = sorted(path.glob("*.safetensors")) if path.is_dir() else [path]
    if not files:
        raise ModelLoadError(f"there is no .safetensors file in {path.name!r}")
    file_of: dict[str, tuple[Path, str]] = {}
    for file in files:
        try:
            with safe_open(file, framework="pt") as stored:
                file_of |= {names.plain(key): (file, key) for key in stored.keys()}  # noqa: SIM118
        except (OSError, SafetensorError) as error:
            raise ModelLoadError(f"{file.name!r} is no safetensors file ({error})") from error
    return file_of


def _skeleton(folder: Path, label: str) -> PreTrainedModel:
    """The model without its weights."""
    if (folder / "adapter_config.json").is_file():
        raise adapter_alone(label)
    if not (folder / "config.json").is_file():
        raise ModelLoadError(f"{label!r} has no config.json beside its weights")
    try:
        config = AutoConfig.from_pretrained(folder, local_files_only=True)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ModelLoadError(f"the configuration of {label!r} cannot be read ({error})") from error
    config = architectures.text_part(config)
    architectures.architecture_of(config)
    if getattr(config, "quantization_config", None):
        raise UnsupportedArchitectureError(
            f"the weights of {label!r} are quantised and cannot be read from its files: load the "
            "pair and look at them there (pair.word_pairs)"
        )
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config)  # type: ignore[no-untyped-call]
        return cast(PreTrainedModel, model)


def adapter_alone(name: str) -> ModelLoadError:
    """What is wrong with reading the weights of an adapter from its files."""
    return ModelLoadError(
        f"{name!r} is a PEFT adapter, whose weights make sense over those of its base model only: "
        "load the pair and look at them there (pair.word_pairs)"
    )


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
    if type(tensor) not in (Tensor, torch.nn.Parameter) and hasattr(tensor, "__tensor_flatten__"):
        tensor = tensor.dequantize()  # arithmetic on packed numbers
    # As they lie in memory, without a copy where that can be; NumPy knows no bfloat16.
    if tensor.ndim == 2 and tensor.mT.is_contiguous():
        tensor = tensor.mT
    return tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data


def layer_folder(cache: bool | str | os.PathLike[str], kind: str = "word_pairs_1") -> Path | None:
    """Where layers are kept: the user's cache folder, the one given, or nowhere.

    `kind` ends in a number: results of another way of computing are never read.
    """
    if isinstance(cache, bool):
        return cache_folder() / kind if cache else None
    return checked_path(cache, "with cache= the folder of finished layers")


def load_layer(folder: Path | None, key: str) -> dict[str, Array] | None:
    """The arrays of a finished layer, or None; a damaged file counts as none."""
    if folder is None:
        return None
    try:
        with np.load(folder / f"{key}.npz", allow_pickle=False) as stored:
            return {name: stored[name] for name in stored.files}
    except (OSError, ValueError, TypeError, EOFError, zipfile.BadZipFile):
        return None


def save_layer(folder: Path | None, key: str, arrays: dict[str, Array]) -> None:
    """Keep a finished layer; the file appears whole or not at all.

    A full disk or a read-only home costs the cache, not the result.
    """
    if folder is None:
        return
    with contextlib.suppress(OSError):
        folder.mkdir(parents=True, exist_ok=True)
        with replacing(folder / f"{key}.npz") as file:
            np.savez(file, allow_pickle=False, **arrays)
