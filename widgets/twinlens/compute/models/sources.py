"""Where a model comes from, and reading its configuration and tokenizer."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, cast

from transformers import AutoConfig, AutoTokenizer

from twinlens.compute.models.architectures import architecture_of, text_part
from twinlens.errors import ModelLoadError

if TYPE_CHECKING:
    from transformers import PretrainedConfig, PreTrainedTokenizerFast

_PICKLES = {".bin", ".pt", ".pth", ".pkl", ".ckpt"}


@dataclass(frozen=True)
class ModelSource:
    """Where one model comes from.

    Attributes
    ----------
    name : str
        For people: a hub id, or the last part of a path.
    place : str
        What transformers is given: a hub id or the absolute path of a folder.
    gguf : str or None
        File in it, when the weights are a GGUF file.
    revision : str or None
        Branch, tag or commit on the hub.
    """

    name: str
    place: str
    gguf: str | None = None
    revision: str | None = None


def source_of(name: str | Path, revision: str | None) -> ModelSource:
    """Find out what a user's name for a model means.

    Raises
    ------
    ModelLoadError
        If it is a path where nothing is, or a folder without weights that may be read.
    """
    text = str(name)
    path = Path(text).expanduser()
    if text.endswith(".gguf"):
        local = path.is_file()
        place = str(path.parent.absolute()) if local else text.rpartition("/")[0]
        if not local and (place.count("/") != 1 or text.startswith((".", "/", "~"))):
            raise ModelLoadError(f"there is no GGUF file {text!r}")
        return ModelSource(path.name, place, path.name, revision)
    if not path.exists():
        if text.count("/") > 1 or text.startswith((".", "/", "~")):
            raise ModelLoadError(f"there is no folder {text!r}")
        return ModelSource(text, text, None, revision)
    label = path.resolve().name
    if not (path / "config.json").is_file():
        if (path / "adapter_config.json").is_file():
            raise ModelLoadError(
                f"{label!r} is a PEFT adapter: merge it into its base model "
                "(merge_and_unload), save the result and load that"
            )
        raise ModelLoadError(f"{label!r} is not a model folder: it has no config.json")
    if not any(path.glob("*.safetensors")):
        pickled = next((f.name for f in sorted(path.iterdir()) if f.suffix in _PICKLES), None)
        raise ModelLoadError(
            f"{label!r} has its weights only as pickle ({pickled}), which can run code: convert "
            "them to safetensors (save_pretrained) first"
            if pickled
            else f"{label!r} has no weights: there is no .safetensors file in it"
        )
    return ModelSource(label, str(path.absolute()), None, revision)


@contextmanager
def load_errors(source: ModelSource, what: str) -> Iterator[None]:
    """Turn whatever the libraries raise for a bad file or a missing network into one sentence."""
    try:
        yield
    except (MemoryError, KeyboardInterrupt):
        raise
    except Exception as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
        raise ModelLoadError(
            f"the {what} of {source.name!r} cannot be loaded: check the name, the files and, for a "
            f"model from the hub, the network ({reason})"
        ) from error


def load_config(source: ModelSource, trust_remote_code: bool) -> PretrainedConfig:
    """Configuration of a model of a supported architecture, or of its part that reads text.

    Raises
    ------
    ModelLoadError
        If it cannot be read.
    UnsupportedArchitectureError
        If its architecture is not in the table.
    """
    with load_errors(source, "configuration"):
        config = AutoConfig.from_pretrained(
            source.place,
            revision=source.revision,
            trust_remote_code=trust_remote_code,
            **({"gguf_file": source.gguf} if source.gguf else {}),
        )
    config = text_part(config)
    architecture_of(config)
    return cast("PretrainedConfig", config)


def load_tokenizer(source: ModelSource, trust_remote_code: bool) -> PreTrainedTokenizerFast:
    """Tokenizer of a model, one that gives character offsets.

    Raises
    ------
    ModelLoadError
        If it cannot be read or gives none.
    """
    with load_errors(source, "tokenizer"):
        tokenizer = AutoTokenizer.from_pretrained(
            source.place,
            revision=source.revision,
            trust_remote_code=trust_remote_code,
            **({"gguf_file": source.gguf} if source.gguf else {}),
        )
    if not getattr(tokenizer, "is_fast", False):
        raise ModelLoadError(
            f"the tokenizer of {source.name!r} gives no character offsets: twinlens needs one in "
            "the tokenizers library's format (tokenizer.json)"
        )
    return cast("PreTrainedTokenizerFast", tokenizer)
