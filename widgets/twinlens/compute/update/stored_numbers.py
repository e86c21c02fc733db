"""Numbers of a tensor, in a safetensors file or in memory, looked at piece by piece.

A window of a file is mapped at a time: what is mapped counts as memory, and a copy of it takes as
long as reading it.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from io import FileIO
from pathlib import Path
from typing import Any, Protocol, TypeAlias

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from twinlens.errors import ModelLoadError

_TYPES = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
}
#: Numbers of a type that NumPy has not go as their bits.
_BITS = {
    torch.bfloat16: torch.uint16,
    torch.float8_e4m3fn: torch.uint8,
    torch.float8_e5m2: torch.uint8,
}
#: Bits of bfloat16, the upper ones of a float32.
_SHORT, _UPPER = np.uint32(16), np.uint32(0xFFFF0000)
#: Bytes mapped at a time; the next ones are read by the system meanwhile.
_WINDOW = 2**25

Piece: TypeAlias = npt.NDArray[Any]


def seen_by_numpy(tensor: Tensor) -> Piece:
    """The numbers of a tensor, those of a type that NumPy has not as their bits."""
    numbers: Piece = tensor.view(_BITS.get(tensor.dtype, tensor.dtype)).numpy()
    return numbers


def as_float32(
    piece: Piece, dtype: torch.dtype, place: npt.NDArray[np.float32], *, in_order: bool
) -> npt.NDArray[np.float32]:
    """Numbers of a piece as float32, written to a place for as many where they are not.

    Parameters
    ----------
    in_order : bool
        False: of a type the order is the same for all pieces of one length, but need not be that
        of the tensor, which takes less time.
    """
    if dtype == torch.float32 and piece.flags.aligned:
        return piece
    bits = place.view(np.uint32)
    if dtype != torch.bfloat16:
        # Where NumPy takes tens of times as long, for float16.
        torch.from_numpy(place).copy_(torch.from_numpy(piece).view(dtype))
    elif in_order or len(piece) % 2:
        np.copyto(bits, piece)
        np.left_shift(bits, _SHORT, out=bits)
    else:
        # Two numbers in a word: one of them in its upper half already.
        half = len(piece) // 2
        words = piece.view(np.uint32)
        np.left_shift(words, _SHORT, out=bits[:half])
        np.bitwise_and(words, _UPPER, out=bits[half:])
    return place


class Numbers(Protocol):
    """Numbers of one tensor."""

    @property
    def dtype(self) -> torch.dtype:
        """Their type."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Sizes of the tensor."""

    def pieces(self, count: int) -> Iterator[Piece]:
        """All numbers in order, so many at a time."""

    def rows(self, picks: Tensor) -> Tensor:
        """Some rows, where all but the last axis are taken as one."""

    def head(self, count: int) -> Numbers:
        """The first of its first axis."""


@dataclass(frozen=True)
class HeldNumbers:
    """Numbers of a tensor in memory."""

    tensor: Tensor

    @property
    def dtype(self) -> torch.dtype:
        return self.tensor.dtype

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(self.tensor.shape)

    def pieces(self, count: int) -> Iterator[Piece]:
        numbers = seen_by_numpy(self.tensor.reshape(-1))
        return (numbers[first : first + count] for first in range(0, len(numbers), count))

    def rows(self, picks: Tensor) -> Tensor:
        return self.tensor.reshape(-1, self.shape[-1])[picks]

    def head(self, count: int) -> HeldNumbers:
        return HeldNumbers(self.tensor[:count])


@dataclass(frozen=True)
class FileNumbers:
    """Numbers of a tensor in a file, `start` bytes behind its begin."""

    path: Path
    start: int
    dtype: torch.dtype
    shape: tuple[int, ...]

    @classmethod
    def of(cls, path: Path, stored: Mapping[str, Any], start: int) -> FileNumbers | None:
        """As the header of a file describes them; None of another type than these."""
        kind = _TYPES.get(stored["dtype"])
        if kind is None:
            return None
        return cls(path, start + stored["data_offsets"][0], kind, tuple(stored["shape"]))

    def pieces(self, count: int) -> Iterator[Piece]:
        size = self.dtype.itemsize
        step = _WINDOW // (count * size) * count
        total = math.prod(self.shape)
        with self._opened() as file:
            for first in range(0, total, step):
                here = self.start + first * size
                self._ask_for(file, here + step * size)
                numbers = self._mapped(file, here, min(step, total - first))
                for place in range(0, len(numbers), count):
                    yield numbers[place : place + count]

    def rows(self, picks: Tensor) -> Tensor:
        with self._opened() as file:
            matrix = self._mapped(file, self.start, math.prod(self.shape))
            rows = matrix.reshape(-1, self.shape[-1])[picks.numpy()]
        return torch.from_numpy(rows).view(self.dtype)

    def head(self, count: int) -> FileNumbers:
        return replace(self, shape=(count, *self.shape[1:]))

    def _opened(self) -> FileIO:
        try:
            return self.path.open("rb", buffering=0)
        except OSError as error:
            raise self._unreadable(error) from error

    def _ask_for(self, file: FileIO, start: int) -> None:
        if hasattr(os, "posix_fadvise"):
            os.posix_fadvise(file.fileno(), start, _WINDOW, os.POSIX_FADV_WILLNEED)

    def _mapped(self, file: FileIO, start: int, count: int) -> Piece:
        """So many numbers, from a byte of a file on; let go of when nobody holds them any more."""
        kind = seen_by_numpy(torch.empty(0, dtype=self.dtype)).dtype
        try:
            # Of its own, since torch takes no numbers that cannot be written.
            return np.asarray(np.memmap(file, kind, "c", start, (count,)))
        except (OSError, ValueError) as error:
            raise self._unreadable(error) from error

    def _unreadable(self, reason: object) -> ModelLoadError:
        return ModelLoadError(
            f"{self.path.name!r} of {self.path.parent.name!r} cannot be read ({reason})"
        )
