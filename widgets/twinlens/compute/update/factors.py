"""Low-rank factors of adapters, as their files hold them."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from twinlens.errors import UnsupportedArchitectureError

#: Settings of LoRA that make its change something else than the product of its factors.
_NOT_FACTORS = ("use_dora", "lora_bias", "alora_invocation_tokens", "arrow_config")
_PREFIX = re.compile(r"^base_model\.model\.")


@dataclass(frozen=True)
class Change:
    """What an adapter changes of one module.

    Attributes
    ----------
    module : str
        Its name in the base model.
    left, right : tensors [out, r] and [r, in], or None
        The change is ``left @ right``; the scale is in `left`.
    values : str or None
        Stored tensor that takes the place of the weight.
    """

    module: str
    left: Tensor | None = None
    right: Tensor | None = None
    values: str | None = None
    dtype: str = ""

    @property
    def shape(self) -> tuple[int, int]:
        """Out and in."""
        assert self.left is not None
        assert self.right is not None
        return self.left.shape[0], self.right.shape[1]

    def singular_values(self) -> Tensor:
        """Of the change, float64 [r]: from the factors, without the matrix."""
        assert self.left is not None
        assert self.right is not None
        return factor_svd(self.left, self.right)[1]


def factor_svd(left: Tensor, right: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Singular directions of ``left @ right``: QR of the factors, then an SVD of rank by rank.

    Returns
    -------
    left : float64 tensor [out, r]
    sizes : float64 tensor [r]
    right : float64 tensor [in, r]
    """
    first, upper = torch.linalg.qr(left.double())
    second, lower = torch.linalg.qr(right.double().T)
    u, sizes, v = torch.linalg.svd(upper @ lower.T, full_matrices=False)
    return first @ u, sizes, second @ v.T


def factored(
    config: Mapping[str, Any],
    stored: Collection[str],
    read: Callable[[str], Tensor],
    name: str,
) -> Iterator[Change]:
    """What an adapter changes, module by module.

    Raises
    ------
    UnsupportedArchitectureError
        If it is no plain LoRA.
    """
    kind = str(config.get("peft_type", "LORA")).upper()
    variant = next((key for key in _NOT_FACTORS if config.get(key)), None)
    if kind != "LORA" or variant:
        raise UnsupportedArchitectureError(
            f"{name!r} is an adapter of kind {kind}{f' with {variant}' if variant else ''}, whose "
            "change is no product of factors in its file: load the pair and take pair.update()"
        )
    for key in sorted(stored):
        module = _PREFIX.sub("", key)
        if key.endswith((".lora_A.weight", ".lora_embedding_A")):
            other = key.replace("lora_A", "lora_B").replace("embedding_A", "embedding_B")
            path = module.rpartition(".lora_")[0]
            right, left = read(key), read(other)
            if key.endswith("embedding_A"):
                left, right = right.T, left.T
            scale = _scale(config, path, min(right.shape[0], left.shape[1]))
            yield Change(path, left.float() * scale, right.float(), dtype=str(left.dtype)[6:])
        elif "lora_" not in key and key.endswith(".weight"):
            path = module.removesuffix(".weight").replace(".modules_to_save", "")
            yield Change(path.removesuffix(".default"), values=key)


def _scale(config: Mapping[str, Any], module: str, rank: int) -> float:
    alpha = _pattern(config.get("alpha_pattern"), module, config.get("lora_alpha", 8))
    return float(alpha) / (math.sqrt(rank) if config.get("use_rslora") else rank)


def _pattern(patterns: Any, module: str, default: Any) -> Any:
    for pattern, value in (patterns or {}).items():
        if re.match(rf"(.*\.)?({pattern})$", module):
            return value
    return default
