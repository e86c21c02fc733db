"""Loading the weights of a model: all of them, or none. GGUF files are parsed once for all."""

from __future__ import annotations

import copy
import hashlib
import math
import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import cache
from logging import LogRecord, getLogger
from pathlib import Path
from threading import RLock
from typing import Any, cast

import torch
import transformers.modeling_gguf_pytorch_utils as reading
from transformers import AutoModelForCausalLM, PretrainedConfig, PreTrainedModel
from transformers.utils import logging
from transformers.utils.hub import cached_file, extract_commit_hash

from twinlens.compute.models import names
from twinlens.compute.models.adapters import names_of_adapters
from twinlens.compute.models.architectures import sizes
from twinlens.compute.models.hub import NO_ERRORS, load_errors
from twinlens.compute.models.running import ATTENTION
from twinlens.compute.models.sources import ModelSource
from twinlens.compute.models.weights import key_of
from twinlens.errors import ModelLoadError
from twinlens.support.progress import PATIENCE

_lock = RLock()


@contextmanager
def _quiet_report() -> Iterator[None]:
    """Leave out what transformers logs of tensors that do not fit: it becomes an error."""
    # By a filter: with a level of its own the logger would be given more to say.
    logger = getLogger("transformers.modeling_utils")
    logger.addFilter(_nothing)
    try:
        yield
    finally:
        logger.removeFilter(_nothing)


def _nothing(_: LogRecord) -> bool:
    return False


@contextmanager
def _patient_bars(source: ModelSource) -> Iterator[None]:
    """Let the bars of transformers name the model, appear only in a long load, and go away."""

    def hook(factory: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        what = {"desc": f"loading {source.name}", "delay": PATIENCE, "leave": False}
        return factory(*args, **{**kwargs, **what})

    previous = logging.set_tqdm_hook(hook)
    try:
        yield
    finally:
        logging.set_tqdm_hook(previous)


def load_weights(
    source: ModelSource, config: PretrainedConfig, options: dict[str, Any]
) -> PreTrainedModel:
    """The model in evaluation mode, its weights frozen.

    Parameters
    ----------
    options : dict
        ``device``, ``device_map``, ``dtype`` and ``trust_remote_code`` as `load_pair` sets them.

    Raises
    ------
    ModelLoadError
        If the weights cannot be read, or are not those of the configuration: nothing is made up.
    """
    weights: dict[str, Any] = (
        {"gguf_file": source.gguf}
        if source.gguf
        else {"use_safetensors": True, "key_mapping": names.WRAPPERS | names.TEXT_PART}
    )
    stated = (options["quantization_config"], getattr(config, "quantization_config", None))
    packed = any(quantization is not None for quantization in stated)
    # Packed weights are put where they belong while they are read, and not moved afterwards.
    places = options["device_map"] or ({"": options["device"]} if packed else None)
    # Weights made in a caller's inference mode could never enter a gradient.
    with (
        load_errors(source.name, "weights"),
        _patient_bars(source),
        _quiet_report(),
        torch.inference_mode(False),
    ):
        loaded: Any = AutoModelForCausalLM.from_pretrained(
            source.place,
            config=None if source.gguf else config,
            revision=source.revision,
            trust_remote_code=options["trust_remote_code"],
            dtype=options["dtype"],
            device_map=places,
            quantization_config=options["quantization_config"],
            attn_implementation=ATTENTION,
            output_loading_info=True,
            # Reported below, with the likely cause.
            ignore_mismatched_sizes=True,
            **weights,
        )
        model, outcome = cast("tuple[PreTrainedModel, dict[str, Any]]", loaded)
        if hasattr(model, "ct_decompress_hook"):
            # compressed-tensors does this when the whole model is called; parts are called here.
            cast(Any, model).hf_quantizer.compressor.decompress_model(model)
        if packed and not hasattr(model, "hf_quantizer"):
            # Unpacked while it was read (FP8 without a GPU), into another type than was asked for.
            model.to(model.config.dtype)  # type: ignore[arg-type]
        if places is None:
            model.to(options["device"])
    fault = names.misfit(
        outcome["missing_keys"],
        outcome["unexpected_keys"],
        [name for name, *_ in outcome["mismatched_keys"]],
        sizes(config).layers,
    )
    if fault:
        raise ModelLoadError(f"{source.name!r} does not hold the weights of its model: {fault}")
    model.train(False).requires_grad_(False)
    return model


def own_tensors(model: PreTrainedModel, source: ModelSource) -> dict[str, torch.Tensor]:
    """Weights of one side by their names: without an adapter that only the other side has on."""
    left_out = names_of_adapters(model) if source.adapter is None else set()
    return {
        name.replace(".base_layer", "").replace(".original_module", ""): tensor
        for name, tensor in model.state_dict(keep_vars=True).items()
        if isinstance(tensor, torch.Tensor) and name not in left_out
    }


def count_parameters(model: PreTrainedModel, source: ModelSource) -> int:
    """Number of weights of one side, tied ones once."""
    own = own_tensors(model, source).values()
    parameters = {id(tensor): tensor for tensor in own if isinstance(tensor, torch.nn.Parameter)}
    # Packed four bits to a number, they say how many they were.
    shapes = (getattr(p, "quant_state", None) or p for p in parameters.values())
    return sum(math.prod(packed.shape) for packed in shapes)


def revision_of(source: ModelSource) -> str:
    """Hub commit, or a hash over the weights.

    That is over the content of the weight files in the order of their names, or, of a model in
    memory, over its tensors in that order.
    """
    if source.model is not None:
        tensors = sorted(own_tensors(source.model, source).items())
        return f"sha256:{key_of(*(part for item in tensors for part in item))[:16]}"
    revision = _revision(source.place, source.gguf or "config.json", source.revision)
    if source.adapter is None:
        return revision
    adapter = source.adapter
    return f"{revision}+{_revision(adapter.place, 'adapter_config.json', adapter.revision)}"


def _revision(place: str, file: str, asked: str | None) -> str:
    """Hub commit of a file that was read, or a hash over the weight files beside it."""
    folder = Path(place)
    if not folder.is_dir():
        cached = cached_file(place, file, revision=asked, local_files_only=True, **NO_ERRORS)
        return extract_commit_hash(cached, None) or asked or "unknown"
    digest = hashlib.sha256()
    files = [folder / file] if file.endswith(".gguf") else sorted(folder.glob("*.safetensors"))
    for path in files:
        with path.open("rb") as stored:
            while chunk := stored.read(1 << 22):
                digest.update(chunk)
    return f"sha256:{digest.hexdigest()[:16]}"


@contextmanager
def parsed_once() -> Iterator[None]:
    """Let transformers parse each GGUF file once while inside.

    It does so for the configuration, twice for the tokenizer, and again for the weights, and one
    time takes seconds: there is no way to give it what it has parsed already.
    """
    import gguf

    with _lock, ExitStack() as undo:
        for module, name, once in (
            (gguf, "GGUFReader", _kept),
            (gguf, "get_tensor_name_map", cache),  # made anew for every part of the model
            (reading, "load_gguf_checkpoint", _without_tensors_kept),
        ):
            undo.callback(setattr, module, name, getattr(module, name))
            setattr(module, name, once(getattr(module, name)))
        yield


def _kept(reader: Any) -> Any:
    remembered = cache(reader)
    return lambda path, *rest: remembered(os.fspath(path), *rest)


def _without_tensors_kept(parse: Any) -> Any:
    @cache
    def described(path: str) -> Any:
        return parse(path, return_tensors=False)

    def parsed(path: Any, return_tensors: bool = False, **others: Any) -> Any:
        if return_tensors:
            return parse(path, return_tensors=True, **others)
        return copy.deepcopy(described(os.fspath(path)))

    return parsed
