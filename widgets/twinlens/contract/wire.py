"""Blocks: named values of a trace, and their form on the wire and in pages.

A value is a NumPy array or plain JSON. On the wire a block is a header and one buffer:

``{"dtype": "float32"|"float16"|"int32"|"uint8"|"int8"|"json"|"text", "shape": [...],
"packing": "dense"|"causal", "scale": x}``

``causal`` keeps the lower triangle, row by row, of the last two axes. With ``dtype`` ``uint8`` a
number is ``scale * (u / 4 + 3 / 4 * u ** 2)``, ``u = q / 255``: small attention weights keep more
of their digits; the largest error is ``scale / 255``. ``int8`` is the same with a sign,
``u = |q| / 127``. ``scale`` is a power of the fourth root of 2, so that two blocks that are alike
have the same, and one can be stored as what it adds to the other (`subtract`). JSON and text are
UTF-8. Where words with their scores are many, ``{"words": [...], "steps": [...]}`` takes the place
of a list of ``[word, score]`` in compact JSON: by how many units of 10^-4 the size of a score is
smaller than that of the one before, at first than 0; twice that, and one more if it is negative.
"""

from __future__ import annotations

import json
import math
from typing import Any, TypeAlias, cast

import numpy as np
import numpy.typing as npt

Array: TypeAlias = npt.NDArray[Any]
Json: TypeAlias = dict[str, Any] | list[Any]
Value: TypeAlias = Array | Json | str
Header: TypeAlias = dict[str, Any]

_DTYPES = ("float32", "float16", "int32", "uint8", "int8")
#: Share of the curve of 8 bits that is straight: finer steps near zero nobody could see.
_STRAIGHT = 1 / 4
_STEPS = {"uint8": 255, "int8": 127}
#: In compact JSON digits of a number, decimal places of a word's score, and words that are many.
_DIGITS, _PLACES, _MANY = 4, 4, 8


def encode(value: Value, *, causal: bool = False, compact: bool = False) -> tuple[Header, bytes]:
    """Encode a value for the wire.

    Parameters
    ----------
    value : array, JSON value or str
        Arrays of float64 are sent as float32, of int64 as int32.
    causal : bool
        Keep only the lower triangle of the last two axes, which must be square.
    compact : bool
        Send finite floating-point arrays as 8 bits, and numbers in JSON with four digits.

    Returns
    -------
    header : dict
    buffer : bytes
    """
    if isinstance(value, str):
        return {"dtype": "text", "shape": []}, value.encode()
    if not isinstance(value, np.ndarray):
        text = json.dumps(
            _rounded(value) if compact else value,
            ensure_ascii=False,
            allow_nan=False,
            separators=(",", ":"),
        )
        return {"dtype": "json", "shape": []}, text.encode()
    shape = list(value.shape)
    array = value
    if causal:
        rows, columns = np.tril_indices(shape[-1])
        array = value[..., rows, columns]
    header: Header = {"shape": shape, "packing": "causal" if causal else "dense", "scale": 1.0}
    if compact and np.issubdtype(array.dtype, np.floating) and np.isfinite(array).all():
        array, header["scale"] = _quantised(array)
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
        return cast(Json, json.loads(buffer, object_hook=_paired))
    if header["dtype"] not in _DTYPES:
        raise ValueError(f"unknown block type {header['dtype']!r}")
    shape = tuple(header["shape"])
    flat = np.frombuffer(buffer, dtype=np.dtype(header["dtype"]).newbyteorder("<"))
    if header["dtype"] in _STEPS:
        flat = _restored(flat, header["scale"])
    if header["packing"] == "dense":
        return flat.reshape(shape)
    side = shape[-1]
    dense = np.zeros(shape, dtype=flat.dtype)
    rows, columns = np.tril_indices(side)
    dense[..., rows, columns] = flat.reshape(*shape[:-2], -1)
    return dense


def subtract(buffer: bytes, other: bytes) -> bytes:
    """A buffer as what it adds to another of the same header, byte by byte."""
    return (np.frombuffer(buffer, np.uint8) - np.frombuffer(other, np.uint8)).tobytes()


def add(buffer: bytes, other: bytes) -> bytes:
    """Invert `subtract`."""
    return (np.frombuffer(buffer, np.uint8) + np.frombuffer(other, np.uint8)).tobytes()


def _quantised(array: Array) -> tuple[Array, float]:
    """8 bits for every number, and their scale."""
    size = np.abs(array.astype(np.float32))
    most = float(size.max(initial=0.0))
    scale = 2.0 ** (math.ceil(4 * math.log2(most)) / 4) if most else 1.0
    u = (np.sqrt(_STRAIGHT**2 + 4 * (1 - _STRAIGHT) * size / scale) - _STRAIGHT) / (
        2 * (1 - _STRAIGHT)
    )
    signed = bool((array < 0).any())
    q = np.rint(u * _STEPS["int8" if signed else "uint8"])
    return (np.copysign(q, array).astype(np.int8) if signed else q.astype(np.uint8)), scale


def _restored(q: Array, scale: float) -> Array:
    u = q.astype(np.float32) / _STEPS[q.dtype.name]
    return np.float32(scale) * (_STRAIGHT * u + (1 - _STRAIGHT) * u * np.abs(u))


def _is_scored(part: Any) -> bool:
    """Whether it is a word with its score, a cosine."""
    return (
        isinstance(part, list | tuple)
        and len(part) == 2
        and isinstance(part[0], str)
        and isinstance(part[1], float)
        and abs(part[1]) <= 1
    )


def _paired(record: dict[str, Any]) -> Any:
    """Words and steps of scores as the list they stand for."""
    if record.keys() != {"words", "steps"}:
        return record
    pairs, size = [], 0
    for word, step in zip(record["words"], record["steps"], strict=True):
        size -= step >> 1
        pairs.append([word, (-size if step & 1 else size) / 10**_PLACES])
    return pairs


def _rounded(value: Any) -> Any:
    """JSON whose numbers keep a few digits."""
    if isinstance(value, float):
        return float(f"{value:.{_DIGITS}g}")
    if isinstance(value, list | tuple):
        if len(value) >= _MANY and all(map(_is_scored, value)):
            scores = [round(score * 10**_PLACES) for _, score in value]
            before = [0, *map(abs, scores)]
            steps = [
                2 * (last - abs(score)) + (score < 0)
                for last, score in zip(before, scores, strict=False)
            ]
            return {"words": [word for word, _ in value], "steps": steps}
        return [_rounded(part) for part in value]
    if isinstance(value, dict):
        return {key: _rounded(part) for key, part in value.items()}
    return value


def half(values: Array) -> Array:
    """As float16, unless a value would overflow: then float32."""
    large = values.size > 0 and float(np.abs(values).max()) > float(np.finfo(np.float16).max)
    return values.astype(np.float32 if large else np.float16)
