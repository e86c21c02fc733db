"""Loading the weights of a model: all of them, or none."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import torch
from transformers import AutoModelForCausalLM
from transformers.utils import logging

from twinlens.compute.models import names
from twinlens.compute.models.architectures import sizes
from twinlens.compute.models.sources import ModelSource, load_errors
from twinlens.errors import ModelLoadError
from twinlens.support.progress import PATIENCE

if TYPE_CHECKING:
    from transformers import PretrainedConfig, PreTrainedModel


@contextmanager
def _quiet_report() -> Iterator[None]:
    """Leave out what transformers logs of tensors that do not fit: it becomes an error."""
    logger = logging.get_logger("transformers.modeling_utils")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)


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
    # Weights made in a caller's inference mode could never enter a gradient.
    with (
        load_errors(source, "weights"),
        _patient_bars(source),
        _quiet_report(),
        torch.inference_mode(False),
    ):
        model, found = AutoModelForCausalLM.from_pretrained(
            source.place,
            config=None if source.gguf else config,
            revision=source.revision,
            trust_remote_code=options["trust_remote_code"],
            dtype=options["dtype"],
            device_map=options["device_map"],
            # One attention for everything: sdpa knows no soft caps and no forward-mode gradients.
            attn_implementation="eager",
            output_loading_info=True,
            # Reported below, with the likely cause.
            ignore_mismatched_sizes=True,
            **weights,
        )
        if options["device_map"] is None:
            model.to(options["device"])
    fault = names.misfit(
        found["missing_keys"],
        found["unexpected_keys"],
        [name for name, *_ in found["mismatched_keys"]],
        sizes(config).layers,
    )
    if fault:
        raise ModelLoadError(f"{source.name!r} does not hold the weights of its model: {fault}")
    return cast("PreTrainedModel", model.train(False).requires_grad_(False))


def revision_of(source: ModelSource, config: PretrainedConfig) -> str:
    """Hub commit, or a hash over the content of the weight files in the order of their names."""
    commit = getattr(config, "_commit_hash", None)
    folder = Path(source.place)
    if commit or not folder.is_dir():
        return str(commit or source.revision or "unknown")
    digest = hashlib.sha256()
    for path in [folder / source.gguf] if source.gguf else sorted(folder.glob("*.safetensors")):
        with path.open("rb") as file:
            while chunk := file.read(1 << 22):
                digest.update(chunk)
    return f"sha256:{digest.hexdigest()[:16]}"
