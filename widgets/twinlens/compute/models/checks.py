"""Whether two models can be compared, and whether they fit into memory, before any is loaded.

And where and in which number type they run, as users of transformers say it.
"""

from __future__ import annotations

from typing import Any, Literal

import psutil
import torch
from transformers import AutoModelForCausalLM, PretrainedConfig, PreTrainedTokenizerFast

from twinlens.compute.models.architectures import Sizes, sizes
from twinlens.compute.models.running import ATTENTION
from twinlens.compute.models.sources import ModelSource
from twinlens.contract.words import SIDES, Side
from twinlens.errors import ArgumentError, MemoryNeededError, ModelLoadError, PairMismatchError

_PROBES = (
    "Rewrite the sentence in plain words.\n\nInput: The committee concurred.\n\nOutput:",
    "  def f(x):\n\treturn x ** 2 + 10000  # TODO",
    "naïve café, 東京, Привет, שלום, 👩‍💻 — 3,141.59",
)
# Activations, the captured arrays and the allocator come on top of the weights.
_HEADROOM = 1.15
#: Bytes of a weight in four bits: how far weights are packed is known only when they are loaded.
_LEAST_PACKED = 0.5
_DTYPES = {
    "float32": torch.float32,
    "bfloat16": torch.bfloat16,
    "float16": torch.float16,
    "float64": torch.float64,
}


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


def read_dtype(dtype: torch.dtype | str | None) -> torch.dtype | Literal["auto"] | None:
    """A number type, "auto" for that of the weights as they are stored, or None.

    Raises
    ------
    ArgumentError
        If it is neither.
    """
    if isinstance(dtype, str) and dtype != "auto":
        dtype = _DTYPES.get(dtype.removeprefix("torch."), dtype)
    known = isinstance(dtype, str | torch.dtype) and dtype in ("auto", *_DTYPES.values())
    if dtype is None or known:
        return dtype  # type: ignore[return-value]
    choices = ", ".join(f'"{name}"' for name in ("auto", *_DTYPES))
    raise ArgumentError(f"dtype is one of {choices}, not {dtype!r}")


def read_device(device: str | int | torch.device | None) -> torch.device | None:
    """A device that is there.

    Raises
    ------
    ArgumentError
        If there is no such device.
    """
    if device is None:
        return None
    devices = _devices()
    try:
        wanted = torch.device(device)
    except (RuntimeError, TypeError, ValueError):
        wanted = None
    if wanted is None or wanted.type not in devices or (wanted.index or 0) >= devices[wanted.type]:
        listed = [
            f'"{kind}"' if kind == "cpu" else f'"{kind}:{number}"'
            for kind, count in devices.items()
            for number in range(count)
        ]
        raise ArgumentError(f"device is one of {', '.join(listed)} on this machine, not {device!r}")
    return wanted


def check_attention(attention: str | None) -> None:
    """Make sure that the attention asked for is the one that can be looked at.

    Raises
    ------
    ArgumentError
        If it is another one.
    """
    if not (attention is None or (isinstance(attention, str) and attention == ATTENTION)):
        raise ArgumentError(
            f'attn_implementation is "{ATTENTION}", not {attention!r}: no other gives the '
            "attention patterns that panels show and the derivatives that methods need"
        )


def check_places(device_map: Any, **revisions: Any) -> None:
    """Make sure that places and revisions are what transformers takes.

    Raises
    ------
    ArgumentError
        If they are something else.
    """
    if not isinstance(device_map, str | dict | None):
        raise ArgumentError(
            'device_map is "auto", another strategy of transformers, or a device by module, not '
            f"{device_map!r}"
        )
    for name, revision in revisions.items():
        if not isinstance(revision, str | None):
            raise ArgumentError(f"{name} is a branch, tag or commit on the hub, not {revision!r}")


def check_in_memory(
    source: ModelSource, device: torch.device | None, options: dict[str, Any]
) -> None:
    """Make sure that a model in memory is asked for as it is.

    Raises
    ------
    ModelLoadError
        If it is elsewhere, or of another number type.
    """
    model = source.model
    if model is None:
        return
    wanted, dtype = device or model.device, options["dtype"]
    if dtype not in (None, "auto", model.dtype):
        raise ModelLoadError(
            f"{source.name!r} is in memory in {model.dtype}: convert it first (model.to(...)), or "
            "leave out dtype"
        )
    same = wanted.type == model.device.type and wanted.index in (None, model.device.index)
    if not same or options["device_map"] is not None:
        raise ModelLoadError(
            f"{source.name!r} is in memory on {model.device}: move it first (model.to(...)), or "
            "leave out device and device_map"
        )
    if options["quantization_config"] is not None:
        raise ModelLoadError(
            f"{source.name!r} is in memory as it is: quantization_config is for models that are "
            "loaded here"
        )


def _devices() -> dict[str, int]:
    """Kinds of devices on this machine, and how many of each."""
    counts = {"cpu": 1}
    accelerator = torch.accelerator.current_accelerator(check_available=True)
    if accelerator is not None:
        counts[accelerator.type] = torch.accelerator.device_count()
    return counts
