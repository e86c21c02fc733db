"""Room for what a pass leaves: in memory, or where it is large in a temporary file.

What lies in a file the system writes out and lets go of when memory is wanted for something else.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from math import prod

import numpy as np
import torch
from torch import Tensor

#: Bytes of an array up to which it is kept in memory.
IN_MEMORY = 2**26
#: Left free on the disk.
_MARGIN = 2**30


def room(shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
    """Zeros on the CPU; if they are large, in a file that goes with the last reference to them."""
    size = prod(shape) * dtype.itemsize
    if not in_file(size):
        return torch.zeros(shape, dtype=dtype)
    try:
        with tempfile.TemporaryFile(prefix="twinlens-") as file:
            if hasattr(os, "posix_fallocate"):
                # A file with holes would end the process where the disk is full.
                os.posix_fallocate(file.fileno(), 0, size)
            held = np.memmap(file, np.uint8, "w+", shape=(size,))
    except OSError:
        return torch.zeros(shape, dtype=dtype)
    return torch.from_numpy(held).view(dtype).view(shape)


def in_file(size: int) -> bool:
    """Whether an array of so many bytes would lie in a file."""
    return size > IN_MEMORY and shutil.disk_usage(tempfile.gettempdir()).free > size + _MARGIN
