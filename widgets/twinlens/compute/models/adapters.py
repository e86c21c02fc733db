"""PEFT adapters: small changes over the weights of a base model, that can be switched off."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn
from transformers import PreTrainedModel
from transformers.utils.peft_utils import find_adapter_config_file

from twinlens.compute.models import names
from twinlens.compute.models.hub import load_errors
from twinlens.errors import ModelLoadError

#: Kinds that leave the base model's weights as they are, so that it can be had back.
_OVER_UNTOUCHED = {
    "LORA",
    "ADALORA",
    "LOHA",
    "LOKR",
    "IA3",
    "OFT",
    "BOFT",
    "VERA",
    "HRA",
    "FOURIERFT",
    "VBLORA",
    "LN_TUNING",
    "RANDLORA",
    "SHIRA",
    "C3A",
    "MISS",
    "TRAINABLE_TOKENS",
    "ROAD",
    "WAVEFT",
}
#: Ways to start LoRA of which the same is true; others take something out of the weights first.
_PLAIN_STARTS = (None, True, False, "gaussian", "orthogonal", "eva")


@dataclass(frozen=True)
class Adapter:
    """An adapter, and where it is.

    Attributes
    ----------
    name : str
        For people: a hub id, or the last part of a path.
    place : str
        Hub id or absolute path of a folder; "" where it is in its model already.
    revision : str or None
        Branch, tag or commit on the hub.
    base : str
        The model it was trained over, as its configuration says; may be "".
    apart : bool
        Whether it changes weights of the base model for good, so that it needs a copy of its own.
    """

    name: str
    place: str
    revision: str | None = None
    base: str = ""
    apart: bool = False


def adapter_at(name: str, place: str, revision: str | None) -> Adapter | None:
    """The adapter in a folder or hub repository, if there is one.

    Raises
    ------
    ModelLoadError
        If its configuration cannot be read.
    """
    try:
        config_file = find_adapter_config_file(place, revision=revision)
    except (OSError, ValueError):  # what is wrong shows when its configuration is read
        config_file = None
    if config_file is None:
        return None
    with load_errors(name, "adapter configuration"):
        config: dict[str, Any] = json.loads(Path(config_file).read_text("utf-8"))
        kind = str(config.get("peft_type", "LORA")).upper()
        untouched = (
            kind in _OVER_UNTOUCHED
            and config.get("bias", "none") in ("none", None)
            and config.get("init_lora_weights") in _PLAIN_STARTS
        )
        base = str(config.get("base_model_name_or_path") or "")
    return Adapter(name, place, revision, base, apart=not untouched)


def attached_adapter(model: Any) -> tuple[Adapter, nn.Module]:
    """The adapter of a loaded `PeftModel`, and the model it is in.

    Raises
    ------
    ModelLoadError
        If it cannot be switched off.
    """
    config = model.active_peft_config
    if config.is_prompt_learning or config.is_adaption_prompt:
        raise _not_in_weights(str(config.peft_type))
    inner: nn.Module = model.get_base_model()
    if any(getattr(module, "merged", False) for module in switches(inner)):
        raise ModelLoadError(
            "the adapter of the model in memory is merged, so that it cannot be switched off: call "
            "unmerge_adapter() first, or merge_and_unload() for a model of its own"
        )
    return Adapter(f"{config.peft_type} adapter", ""), inner


def attach(model: PreTrainedModel, adapter: Adapter) -> None:
    """Put an adapter into its base model; it is on.

    Raises
    ------
    ModelLoadError
        If it cannot be read or does not belong to this model.
    """
    try:
        from peft import PeftConfig, PeftModel
    except ImportError as error:
        raise ModelLoadError(
            f"{adapter.name!r} is a PEFT adapter: install peft to load it "
            "(pip install 'twinlens[peft]')"
        ) from error
    with load_errors(adapter.name, "adapter"):
        config = PeftConfig.from_pretrained(adapter.place, revision=adapter.revision)
        config.inference_mode = True
        if config.is_prompt_learning or config.is_adaption_prompt:
            raise _not_in_weights(str(config.peft_type))
        # Named as the libraries do, because its file does not say which name it had.
        attached = PeftModel(model, config, adapter_name="default")
        result = attached.load_adapter(
            adapter.place,
            "default",
            revision=adapter.revision,
            torch_device=str(model.device),
            key_mapping=names.WRAPPERS,
        )
    if result.missing_keys or result.unexpected_keys:
        fault = names.differences(result.missing_keys, result.unexpected_keys)
        raise ModelLoadError(f"the adapter {adapter.name!r} does not fit its base model: {fault}")
    if next(switches(model), None) is None:
        raise _not_in_weights(str(config.peft_type))
    model.train(False).requires_grad_(False)


def switches(model: nn.Module) -> Iterator[Any]:
    """Parts of adapters that can be switched on and off."""
    for module in model.modules():
        if hasattr(module, "adapter_layer_names") and hasattr(module, "enable_adapters"):
            yield module


def names_of_adapters(model: nn.Module) -> set[str]:
    """Names of parameters and buffers that belong to an adapter, as in its state."""
    names = set()
    for path, module in model.named_modules():
        for part in (
            *getattr(module, "adapter_layer_names", ()),
            *getattr(module, "other_param_names", ()),
        ):
            inside = getattr(module, part, None)
            if isinstance(inside, nn.Module):
                names |= {f"{path}.{part}.{name}" for name in inside.state_dict()}
    return names


def _not_in_weights(kind: str) -> ModelLoadError:
    return ModelLoadError(
        f"adapters of kind {kind.removeprefix('PeftType.')} change what the model reads, not its "
        "weights, and cannot be looked at: use one of LoRA's kind"
    )
