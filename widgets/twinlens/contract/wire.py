"""Blocks: named values of a trace, and their form on the wire and in pages.

A value is a NumPy array or plain JSON. On the wire a block is a header and one buffer:

``{"dtype": "float32"|"float16"|"int32"|"uint8"|"json"|"text", "shape": [...],
"packing": "dense"|"causal", "scale": x}``

``causal`` keeps the lower triangle, row by row, of the last two axes. With ``dtype`` ``uint8``
a number is ``scale * (q / 255) ** 2``: small attention weights keep more of their digits;
the largest error is ``scale / 255``. JSON and text are UTF-8.
"""

from __future__ import annotations

import json
from typing import Any, TypeAlias, cast

import numpy as np
import numpy.typing as npt

Array: TypeAlias = npt.NDArray[Any]
Json: TypeAlias = dict[str, Any] | list[Any]
Value: TypeAlias = Array | Json | str
Header: TypeAlias = dict[str, Any]

_DTYPES = ("float32", "float16", "int32", "uint8")


def encode(value: Value, *, causal: bool = False, compact: bool = False) -> tuple[Header, bytes]:
    """Encode a value for the wire.

    Parameters
    ----------
    value : array, JSON value or str
        Arrays of float64 are sent as float32, of int64 as int32.
    causal : bool
        Keep only the lower triangle of the last two axes, which must be square.
    compact : bool
        Send non-negative floating-point arrays as 8 bits.

    Returns
    -------
    header : dict
    buffer : bytes
    """
    if isinstance(value, str):
        return {"dtype": "text", "shape": []}, value.encode()
    if not isinstance(value, np.ndarray):
        text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
        return {"dtype": "json", "shape": []}, text.encode()
    shape = list(value.shape)
    array = value
    if causal:
        rows, columns = np.tril_indices(shape[-1])
        array = value[..., rows, columns]
    header: Header = {"shape": shape, "packing": "causal" if causal else "dense", "scale": 1.0}
    if compact and np.issubdtype(array.dtype, np.floating) and array.size and array.min() >= 0:
        scale = float(array.max()) or 1.0
        array = np.rint(np.sqrt(array.astype(np.float32) / scale) * 255).astype(np.uint8)
        header["scale"] = scale
    elif array.dtype == np.float64:
        array = array.astype(np.float32)
    elif np.issubdtype(array.dtype, np.integer):
        array = array.astype(np.int32)
    header["dtype"] = array.dtype.name
    if header["dtype"] not in _DTYPES:
        raise TypeError(f"blocks hold numbers, not {array.dtype}")
    return header, np.ascontiguousarray(array).astype(array.dtype.newbyteorder("<")).tobytes()


def decode(header: Header, buffer: bytes) -> Value:
    """Invert `encode`; 8-bit arrays come back as float32.

    Raises
    ------
    ValueError
        If the buffer does not have the size its header states.
    """
    if header["dtype"] == "text":
        return buffer.decode()
    if header["dtype"] == "json":
        return cast(Json, json.loads(buffer))
    if header["dtype"] not in _DTYPES:
        raise ValueError(f"unknown block type {header['dtype']!r}")
    shape = tuple(header["shape"])
    flat = np.frombuffer(buffer, dtype=np.dtype(header["dtype"]).newbyteorder("<"))
    if header["dtype"] == "uint8":
        flat = (flat.astype(np.float32) / 255) ** 2 * np.float32(header["scale"])
    if header["packing"] == "dense":
        return flat.reshape(shape)
    side = shape[-1]
    dense = np.zeros(shape, dtype=flat.dtype)
    rows, columns = np.tril_indices(side)
    dense[..., rows, columns] = flat.reshape(*shape[:-2], -1)
    return dense


def half(values: Array) -> Array:
    """As float16, unless a value would overflow: then float32."""
    large = values.size > 0 and float(np.abs(values).max()) > float(np.finfo(np.float16).max)
    return values.astype(np.float32 if large else np.float16)
