"""Where and in which number type models run, as users of transformers say it."""

from __future__ import annotations

from typing import Any, Literal

import torch

from twinlens.compute.models.running import ATTENTION
from twinlens.compute.models.sources import ModelSource
from twinlens.errors import ArgumentError, ModelLoadError

_DTYPES = {
    "float32": torch.float32,
    "bfloat16": torch.bfloat16,
    "float16": torch.float16,
    "float64": torch.float64,
}


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
