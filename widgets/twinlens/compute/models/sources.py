"""Where a model comes from, and reading its configuration and tokenizer."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import torch
from transformers import (
    AutoConfig,
    AutoTokenizer,
    PretrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerFast,
)
from transformers.utils.hub import cached_file

from twinlens.compute.models.adapters import Adapter, adapter_at, attached_adapter
from twinlens.compute.models.architectures import architecture_of, text_part
from twinlens.compute.models.hub import NO_ERRORS, check_hub, load_errors
from twinlens.errors import ArgumentError, ModelLoadError
from twinlens.support.files import possible_path

_PICKLES = {".bin", ".pt", ".pth", ".pkl", ".ckpt"}


@dataclass(frozen=True)
class ModelSource:
    """Where one model comes from.

    Attributes
    ----------
    name : str
        For people: a hub id, or the last part of a path.
    place : str
        What transformers is given: a hub id or the absolute path of a folder; "" for a model in
        memory.
    gguf : str or None
        File in it, when the weights are a GGUF file.
    revision : str or None
        Branch, tag or commit on the hub.
    adapter : Adapter or None
        What changes the model that is there.
    model : PreTrainedModel or None
        The model itself, when it is the user's own, in memory.
    """

    name: str
    place: str
    gguf: str | None = None
    revision: str | None = None
    adapter: Adapter | None = None
    model: PreTrainedModel | None = None

    def shares_weights(self, other: ModelSource) -> bool:
        """Whether one copy of the weights serves both, with the adapter of one of them off."""
        adapters = [s.adapter for s in (self, other) if s.adapter is not None]
        if len(adapters) > 1 and self != other:
            return False
        same = (self.place, self.gguf, self.revision) == (other.place, other.gguf, other.revision)
        return same and self.model is other.model and not any(a.apart for a in adapters)


def source_of(
    name: str | os.PathLike[str] | PreTrainedModel,
    revision: str | None,
    over: ModelSource | None = None,
) -> ModelSource:
    """Find out what a user's name for a model means.

    Parameters
    ----------
    over : ModelSource, optional
        What an adapter changes; by default the model that its configuration names.

    Raises
    ------
    ModelLoadError
        If it is a path where nothing is, or a folder without weights that may be read.
    """
    if isinstance(name, torch.nn.Module):
        return _in_memory(name)
    if not isinstance(name, str | os.PathLike):
        raise ModelLoadError(
            f"a model is given as a hub id, a folder, a .gguf file or a loaded model, not as "
            f"{type(name).__name__}"
        )
    text = os.fspath(name)
    if not text:
        raise ModelLoadError("the name of a model is empty: give a hub id or a folder")
    path = possible_path(text, "a model", ModelLoadError).expanduser()
    if text.endswith(".gguf"):
        local = path.is_file()
        place = str(path.parent.absolute()) if local else text.rpartition("/")[0]
        if not local and (place.count("/") != 1 or text.startswith((".", "/", "~"))):
            raise ModelLoadError(f"there is no GGUF file {text!r}")
        if not local:
            check_hub(place, path.name, revision)
        return ModelSource(path.name, place, path.name, revision)
    if not path.exists():
        if text.count("/") > 1 or text.startswith((".", "/", "~")):
            raise ModelLoadError(f"there is no folder {text!r}")
        check_hub(text, None, revision)
        adapter = adapter_at(text, text, revision)
        return _over(adapter, over) if adapter else ModelSource(text, text, None, revision)
    label, place = path.resolve().name, str(path.absolute())
    adapter = adapter_at(label, place, revision)
    if adapter:
        _check_weights(path, label, "adapter_model.safetensors")
        return _over(adapter, over)
    if not (path / "config.json").is_file():
        adapters = sorted(file.parent.name for file in path.glob("*/adapter_config.json"))
        if adapters:
            raise ModelLoadError(
                f"{label!r} holds {len(adapters)} adapters, each in a folder of its own: give one "
                f"of these ({', '.join(adapters)}), or a PeftModel with several of them on"
            )
        raise ModelLoadError(f"{label!r} is not a model folder: it has no config.json")
    _check_weights(path, label, "*.safetensors")
    return ModelSource(label, place, None, revision)


def sources_of_adapter(
    name: str | os.PathLike[str] | PreTrainedModel,
    revision: str | None,
    base_revision: str | None,
) -> tuple[ModelSource, ModelSource]:
    """The model that an adapter changes, and that model with the adapter.

    Raises
    ------
    ArgumentError
        If it is no adapter.
    ModelLoadError
        See `source_of`.
    """
    source = source_of(name, revision)
    if source.adapter is None:
        raise ArgumentError(
            f"{source.name!r} is no PEFT adapter, which alone would name its base model: give "
            "load_pair two models"
        )
    if source.model is not None:
        return replace(source, adapter=None), source
    base = _base_of(source.adapter, base_revision)
    return base, _over(source.adapter, base)


def tokenizer_source(name: str | os.PathLike[str]) -> ModelSource:
    """Where a tokenizer comes from: as a model, but nothing beside it need be there.

    Raises
    ------
    ArgumentError
        If it is no name or path.
    ModelLoadError
        See `source_of`.
    """
    if not isinstance(name, str | os.PathLike):
        raise ArgumentError(
            f"tokenizer= is a hub id or a folder, not of type {type(name).__name__}"
        )
    path = Path(name).expanduser()
    if path.is_dir():
        return ModelSource(path.resolve().name, str(path.absolute()))
    return source_of(name, None)


def _over(adapter: Adapter, base: ModelSource | None) -> ModelSource:
    """The model that an adapter makes of its base."""
    base = base or _base_of(adapter, None)
    return replace(base, name=adapter.name, adapter=adapter)


def _base_of(adapter: Adapter, revision: str | None) -> ModelSource:
    """The model that an adapter says it changes."""
    if not adapter.base:
        raise ModelLoadError(
            f"{adapter.name!r} is a PEFT adapter that does not say which model it changes: "
            "give that model as base"
        )
    try:
        base = source_of(adapter.base, revision)
    except ModelLoadError as error:
        raise ModelLoadError(
            f"the PEFT adapter {adapter.name!r} names {adapter.base!r} as its base model, but "
            f"{error}: give load_pair that model, and the adapter behind it"
        ) from error
    if base.adapter is not None:
        raise ModelLoadError(
            f"{adapter.name!r} is a PEFT adapter over another adapter, {base.adapter.name!r}: "
            "merge that one into its base model and save the result"
        )
    return base


def _check_weights(path: Path, label: str, pattern: str) -> None:
    if not any(path.glob(pattern)):
        adapter = "the adapter " if pattern.startswith("adapter") else ""
        pickled = next((f.name for f in sorted(path.iterdir()) if f.suffix in _PICKLES), None)
        raise ModelLoadError(
            f"{adapter}{label!r} has its weights only as pickle ({pickled}), which can run code: "
            "convert them to safetensors (save_pretrained) first"
            if pickled
            else f"{adapter}{label!r} has no weights: there is no {pattern.removeprefix('*')} file "
            "in it"
        )


def _in_memory(model: torch.nn.Module) -> ModelSource:
    """A model that the user has loaded, whatever it is wrapped in."""
    for wrapper in ("module", "_orig_mod", "module"):
        model = getattr(model, wrapper, model)
    adapter = None
    if hasattr(model, "get_base_model"):
        adapter, model = attached_adapter(model)
    name = Path(str(getattr(getattr(model, "config", None), "_name_or_path", ""))).name
    name = name or type(model).__name__
    if not isinstance(model, PreTrainedModel) or model.get_output_embeddings() is None:  # type: ignore[no-untyped-call]
        raise ModelLoadError(
            f"{name!r} in memory is no causal language model of transformers, such as "
            "AutoModelForCausalLM gives"
        )
    architecture_of(model.config)
    return ModelSource(name, "", adapter=adapter, model=model)


def load_config(source: ModelSource, trust_remote_code: bool) -> PretrainedConfig:
    """Configuration of a model of a supported architecture, or of its part that reads text.

    Raises
    ------
    ModelLoadError
        If it cannot be read.
    UnsupportedArchitectureError
        If its architecture is not in the table.
    """
    if source.model is not None:
        return source.model.config
    with load_errors(source.name, "configuration"):
        config = _read(AutoConfig, source, trust_remote_code)
    config = text_part(config)
    architecture_of(config)
    return config


def load_tokenizer(source: ModelSource, trust_remote_code: bool) -> PreTrainedTokenizerFast:
    """Tokenizer of a model, one that gives character offsets.

    That of an adapter may lie beside it, and else is that of its base.

    Raises
    ------
    ModelLoadError
        If it cannot be read or gives none.
    """
    if source.adapter is not None and source.adapter.place:
        beside = ModelSource(source.name, source.adapter.place, revision=source.adapter.revision)
        if _has_tokenizer(beside):
            source = beside
    with load_errors(source.name, "tokenizer"):
        tokenizer = _read(AutoTokenizer, source, trust_remote_code)
    return check_offsets(tokenizer, source.name)


def _read(reader: Any, source: ModelSource, trust_remote_code: bool) -> Any:
    file = {"gguf_file": source.gguf} if source.gguf else {}
    asked = {"revision": source.revision, "trust_remote_code": trust_remote_code}
    return reader.from_pretrained(source.place, **asked, **file)


def check_offsets(tokenizer: object, name: str) -> PreTrainedTokenizerFast:
    """The tokenizer, if it gives character offsets.

    Raises
    ------
    ModelLoadError
        If it gives none.
    """
    if not getattr(tokenizer, "is_fast", False):
        raise ModelLoadError(
            f"the tokenizer of {name!r} gives no character offsets: twinlens needs one in the "
            "tokenizers library's format (tokenizer.json)"
        )
    return cast("PreTrainedTokenizerFast", tokenizer)


def _has_tokenizer(source: ModelSource) -> bool:
    file = "tokenizer_config.json"
    return cached_file(source.place, file, revision=source.revision, **NO_ERRORS) is not None
