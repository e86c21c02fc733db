"""Whether two models can be compared, and whether they fit into memory, before any is loaded."""

from __future__ import annotations

from typing import Any

import psutil
import torch
from transformers import AutoModelForCausalLM, PretrainedConfig, PreTrainedTokenizerFast

from twinlens.compute.models.architectures import Sizes, sizes
from twinlens.compute.models.sources import ModelSource
from twinlens.contract.words import SIDES, Side
from twinlens.errors import MemoryNeededError, PairMismatchError

_PROBES = (
    "Rewrite the sentence in plain words.\n\nInput: The committee concurred.\n\nOutput:",
    "  def f(x):\n\treturn x ** 2 + 10000  # TODO",
    "naïve café, 東京, Привет, שלום, 👩‍💻 — 3,141.59",
)
# Activations, the captured arrays and the allocator come on top of the weights.
_HEADROOM = 1.15
#: Bytes of a weight in four bits: how far weights are packed is known only when they are loaded.
_LEAST_PACKED = 0.5


def check_shapes(configs: dict[Side, PretrainedConfig]) -> None:
    """Make sure that architecture and sizes are the same.

    Raises
    ------
    PairMismatchError
        If one of them differs.
    """
    base, tuned = configs["base"], configs["tuned"]
    if base.model_type != tuned.model_type:
        raise PairMismatchError(
            "the models cannot be compared because their architectures differ: base is "
            f"{base.model_type}, tuned is {tuned.model_type}"
        )
    words = {
        "layers": "number of layers",
        "heads": "number of attention heads",
        "kv_heads": "number of key and value heads",
        "hidden": "hidden size",
        "intermediate": "feed-forward size",
    }
    shapes: tuple[Sizes, Sizes] = (sizes(base), sizes(tuned))
    for field, word in words.items():
        first, second = (getattr(shape, field) for shape in shapes)
        if first != second:
            raise PairMismatchError(
                f"the models cannot be compared because the {word} differs: base has {first}, "
                f"tuned has {second}"
            )


def check_tokenizers(tokenizers: dict[Side, PreTrainedTokenizerFast]) -> None:
    """Make sure that both tokenizers cut texts alike.

    Raises
    ------
    PairMismatchError
        If they disagree about an id or about one of a few difficult texts.
    """
    base, tuned = (tokenizers[side].get_vocab() for side in SIDES)
    clashes = [(i, piece) for piece, i in base.items() if tuned.get(piece, i) != i]
    if clashes:
        identifier, piece = min(clashes)
        raise PairMismatchError(
            f"the models cannot be compared because their tokenizers disagree: {piece!r} is "
            f"token {identifier} in base and {tuned[piece]} in tuned"
        )
    for text in _PROBES:
        first, second = (tokenizers[s].encode(text, add_special_tokens=False) for s in SIDES)
        if first != second:
            raise PairMismatchError(
                "the models cannot be compared because their tokenizers disagree: "
                f"{text[:30]!r} becomes {len(first)} tokens in base and {len(second)} in tuned, "
                "or other ones"
            )


def check_memory(
    sources: dict[Side, ModelSource],
    configs: dict[Side, PretrainedConfig],
    options: dict[str, Any],
    memory: str,
) -> None:
    """Make sure that the weights fit that are still to be loaded.

    Raises
    ------
    MemoryNeededError
        If they do not; says which setting would.
    """
    loaded = [side for side in SIDES if sources[side].model is None]
    if len(loaded) == 2 and sources["base"].shares_weights(sources["tuned"]):
        loaded = ["base"]
    if not loaded:
        return
    counts = [_parameters(configs[side], options["trust_remote_code"]) for side in loaded]
    dtype = options["dtype"]
    if dtype == "auto":
        stored = getattr(configs["base"], "dtype", None)
        dtype = stored if isinstance(stored, torch.dtype) else torch.float32
    stated = (options["quantization_config"], getattr(configs["base"], "quantization_config", None))
    packed = any(quantization is not None for quantization in stated)
    width = _LEAST_PACKED if packed else dtype.itemsize

    def needed(mode: str, width: float) -> float:
        number = sum(counts) if mode == "both" else max(counts)
        return number * width * _HEADROOM / 1e9

    free = free_memory(options["device"]) / 1e9
    if needed(memory, width) <= free:
        return
    ways = [f'memory="sequential" needs {needed("sequential", width):.1f} GB']
    if memory == "sequential":
        ways = []
    if width > 2:
        ways.append(f"dtype=torch.bfloat16 needs {needed(memory, 2):.1f} GB")
    ways.append('device_map="auto" spreads the models over devices and disk')
    raise MemoryNeededError(
        f"loading {'both models' if memory == 'both' else 'one model at a time'} in "
        f"{str(dtype).removeprefix('torch.')} needs {needed(memory, width):.1f} GB, but "
        f"only {free:.1f} GB are free: {', '.join(ways)}"
    )


def _parameters(config: PretrainedConfig, trust_remote_code: bool) -> int:
    """Number of parameters, by building the model without its weights."""
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(  # type: ignore[no-untyped-call]
            config, trust_remote_code=trust_remote_code
        )
    return sum(parameter.numel() for parameter in model.parameters())


def free_memory(device: torch.device) -> int:
    """Bytes that can still be taken on a device."""
    if device.type == "cuda":
        # What torch holds and does not use is free for it.
        cached = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return int(torch.cuda.mem_get_info(device)[0]) + cached
    return int(psutil.virtual_memory().available)
