"""What names a result: the hash of all that made it."""

from __future__ import annotations

import hashlib

import torch
from torch import Tensor


def key_of(*parts: object) -> str:
    """Hash of tensors, arrays and bytes as they are, and of anything else as it is written."""
    digest = hashlib.sha256()
    for part in parts:
        if isinstance(part, torch.Tensor):
            digest.update(repr((part.dtype, tuple(part.shape))).encode())
            digest.update(_bytes(part))
        else:
            digest.update(part if isinstance(part, bytes) else repr(part).encode())
    return digest.hexdigest()


def _bytes(tensor: Tensor) -> memoryview:
    if type(tensor) not in (Tensor, torch.nn.Parameter) and hasattr(tensor, "__tensor_flatten__"):
        tensor = tensor.dequantize()  # arithmetic on packed numbers
    # As they lie in memory, without a copy where that can be; NumPy knows no bfloat16.
    if tensor.ndim == 2 and tensor.mT.is_contiguous():
        tensor = tensor.mT
    return tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data
