"""Where the directions of matrices are kept: small ones in memory, the others in files.

Of a whole model they are more numbers than its weights. Each is read when it is used and let go
after it, so that there is never more of them in memory than those of one matrix.
"""

from __future__ import annotations

import shutil
import tempfile
import weakref
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TypeAlias

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from twinlens.support.files import cache_folder

#: Left and right directions, float32 [out, r] and [in, r].
Directions: TypeAlias = Callable[[], tuple[Tensor, Tensor]]

#: Bytes of all matrices together that are kept in memory.
IN_MEMORY = 2**25


class DirectionStore:
    """Keeps directions as long as one of them is held."""

    def __init__(self) -> None:
        self._bytes, self._files = 0, 0
        self._folder: Path | None = None

    def keep(self, left: Tensor, right: Tensor, *, small: bool = False) -> Directions:
        """Directions of a matrix; `small` ones, such as an adapter's, are never written."""
        size = left.nbytes + right.nbytes
        if small or self._bytes + size <= IN_MEMORY:
            self._bytes += size
            both = left.contiguous(), right.contiguous()
            return lambda: both
        path = self._next_file()
        save_file({"left": left.cpu().contiguous(), "right": right.cpu().contiguous()}, path)
        return partial(self._read, path, left.device)

    def _next_file(self) -> Path:
        if self._folder is None:
            root = cache_folder()
            root.mkdir(parents=True, exist_ok=True)
            self._folder = Path(tempfile.mkdtemp(prefix="update-", dir=root))
            weakref.finalize(self, shutil.rmtree, self._folder, ignore_errors=True)
        self._files += 1
        return self._folder / f"{self._files}.safetensors"

    def _read(self, path: Path, device: torch.device) -> tuple[Tensor, Tensor]:
        # Opened each time: what is mapped counts as memory while the file is open.
        with safe_open(path, framework="pt") as file:
            return file.get_tensor("left").to(device), file.get_tensor("right").to(device)
