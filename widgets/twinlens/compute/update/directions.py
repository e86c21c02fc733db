"""The update of every matrix as singular directions, one matrix at a time.

Of a LoRA adapter the directions come from its factors (QR, and an SVD of rank by rank); of two full
models from the SVD of the difference, which is let go before the next one is made, and its
directions with it where they are many (`kept`).
"""

from __future__ import annotations

import math
import shutil
import tempfile
import weakref
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Literal, TypeAlias, cast

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn
from transformers import PreTrainedModel

from twinlens.compute.models import architectures
from twinlens.compute.models.dense import (
    below_adapters,
    is_plain,
    linear_weight,
    parameter_places,
    parameter_value,
)
from twinlens.compute.models.models import Models
from twinlens.compute.update.factors import factor_svd
from twinlens.contract.words import SIDES
from twinlens.errors import MemoryNeededError, UnsupportedArchitectureError
from twinlens.support.cached import cached_property
from twinlens.support.files import cache_folder
from twinlens.support.progress import Report, told

#: Leading directions of base's matrix that an update may reuse: so many, or a quarter of all.
LEADING = 32
#: Matrices with a side no longer than this have an exact SVD.
_SMALL = 512
#: Directions this much smaller than the largest are rounding.
_NOTHING = 1e-6
#: A direction reuses base's leading ones if it lies in them more than this share of random ones.
CERTAIN = 0.99

Novelty = Literal["reuse", "intruder", "new", ""]
#: Left and right directions, float32 [out, r] and [in, r].
Directions: TypeAlias = Callable[[], tuple[Tensor, Tensor]]

#: Bytes of all matrices together that are kept in memory.
IN_MEMORY = 2**25


class DirectionStore:
    """Keeps directions as long as one of them is held: small ones in memory, the others in files.

    Of a whole model they are more numbers than its weights. Each is read when it is used and let go
    after it, so that there is never more of them in memory than those of one matrix.
    """

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


@dataclass(frozen=True)
class MatrixUpdate:
    """What tuning changed in one matrix: ``left @ diag(sizes) @ right.T``.

    Attributes
    ----------
    name : str
        Of the parameter in base.
    layer : int
    kind : str
        Such as ``q_proj``.
    shape : (int, int)
        Out and in.
    sizes : float32 tensor [r]
        Largest first.
    directions : callable
        Gives the singular directions, ``left`` and ``right``.
    base_norm : float
        Frobenius norm of base's matrix; nan where it is packed.
    overlap : float32 tensor [2, r]
        Share of each direction that lies in base's leading ones, left and right; nan where base's
        matrix is packed.
    null : (float, float)
        Share that a random direction stays below in 99 of 100 draws, left and right.
    leading_size : float
        The last of base's leading singular values.
    by_factors : bool
        Whether it is that of a LoRA adapter.
    """

    name: str
    layer: int
    kind: str
    shape: tuple[int, int]
    sizes: Tensor
    directions: Directions = field(repr=False)
    base_norm: float
    overlap: Tensor
    null: tuple[float, float]
    leading_size: float
    by_factors: bool

    @property
    def left(self) -> Tensor:
        """What directions write, float32 [out, r]."""
        return self.directions()[0]

    @property
    def right(self) -> Tensor:
        """What directions read, float32 [in, r]."""
        return self.directions()[1]

    @property
    def rank(self) -> int:
        """Number of directions."""
        return len(self.sizes)

    @property
    def energy(self) -> float:
        """Squared Frobenius norm of the update."""
        return float(self.sizes.double().square().sum())

    @property
    def effective_rank(self) -> float:
        """Exponential of the entropy of the energy over the directions."""
        share = self.sizes.double().square() / self.energy
        return float(torch.special.entr(share).sum().exp())

    def novelty(self, k: int) -> Novelty:
        """Whether direction k reuses base's leading ones.

        ``reuse``: it lies in them, on either side, more than a random direction would.
        ``intruder``: it does not, and is larger than the last of them, so that it stands among
        those of tuned.
        """
        return self._novelties[k]

    @cached_property
    def _novelties(self) -> list[Novelty]:
        if bool(self.overlap.isnan().any()):
            return [""] * self.rank
        reuse = (self.overlap > self.overlap.new_tensor(self.null)[:, None]).any(dim=0).tolist()
        large = (self.sizes > self.leading_size).tolist()
        return [
            "reuse" if old else "intruder" if big else "new"
            for old, big in zip(reuse, large, strict=True)
        ]


@dataclass(frozen=True)
class Rest:
    """What else tuning changed: embeddings, norms, biases, as whole tensors.

    Attributes
    ----------
    base, tuned : tensors
        Of tuned as many rows as it has itself.
    """

    name: str
    base: Tensor
    tuned: Tensor


def both_models(pair: Models) -> None:
    """Make sure that both models stay loaded.

    Raises
    ------
    MemoryNeededError
        If they do not.
    """
    if pair.memory == "sequential":
        raise MemoryNeededError(
            "an update is taken apart while both models are loaded: load the pair with "
            'memory="both"'
        )


def updates(pair: Models, report: Report | None = None) -> Iterator[MatrixUpdate | Rest]:
    """What differs between the models of a pair, one parameter at a time.

    Parameters
    ----------
    report : callable, optional
        Told the parameters done; may raise `Interrupted`.

    Raises
    ------
    MemoryNeededError
        If the models are not loaded together.
    UnsupportedArchitectureError
        If a difference cannot be read, or is in a mixture of experts.
    """
    both_models(pair)
    store = DirectionStore()
    with pair.pieces("base") as base, pair.pieces("tuned") as tuned:
        theirs = {name: (module, key) for name, module, key in parameter_places(tuned)}
        places = [place for place in parameter_places(base) if place[0] in theirs]
        seen: set[int] = set()
        for name, module, key in told(places, "taking the update apart", report):
            own = id(below_adapters(module)._parameters[key])
            if own in seen:  # tied: one tensor
                continue
            seen.add(own)
            layer = _layer(base, name)
            if key == "weight" and layer is not None and _is_matrix(below_adapters(module)):
                matrix = _matrix(pair, store, name, layer, module, theirs[name][0])
                if matrix is not None:
                    yield matrix
                continue
            rest = _rest(pair, name, (module, key), theirs[name])
            if rest is not None:
                yield rest


def _layer(model: PreTrainedModel, name: str) -> int | None:
    path = architectures.architecture_of(model.config).layers
    if not name.startswith(f"{path}."):
        return None
    return int(name.removeprefix(f"{path}.").partition(".")[0])


def _is_matrix(module: nn.Module) -> bool:
    return isinstance(module, nn.Linear) or type(module).__name__ == "Conv1D"


def _matrix(
    pair: Models,
    store: DirectionStore,
    name: str,
    layer: int,
    module: nn.Module,
    tuned_module: nn.Module,
) -> MatrixUpdate | None:
    packed = not is_plain(below_adapters(module))
    factors = None
    with pair.held("tuned"):
        if tuned_module is module:
            factors = lora_factors(tuned_module)
    if factors is not None:
        left, sizes, right = factor_svd(*factors)
    elif packed:
        raise UnsupportedArchitectureError(
            f"the update of {name!r} cannot be taken apart, because its weights are quantised and "
            "it is no plain LoRA: load the models in a floating-point type"
        )
    else:
        with pair.held("base"):
            own = linear_weight(module).float()
        with pair.held("tuned"):
            change = linear_weight(tuned_module).float().to(own.device) - own
        if not bool(change.any()):
            return None
        left, sizes, turned = torch.linalg.svd(change, full_matrices=False)
        right = turned.T
        del change
    large = sizes > _NOTHING * sizes.max()
    if not bool(large.any()) or not float(sizes.max()):
        return None
    left, sizes, right = (part.float()[..., large] for part in (left, sizes, right))
    base_norm, overlap = math.nan, torch.full((2, len(sizes)), math.nan, dtype=torch.float32)
    count = max(1, min(LEADING, min(left.shape[0], right.shape[0]) // 4))
    leading_size = math.nan
    if not packed:
        with pair.held("base"):
            own = linear_weight(module).float()
        base_norm = float(torch.linalg.vector_norm(own))
        first, values, second = _leading(own, count)
        leading_size = float(values[-1])
        overlap = torch.stack(
            [(first.T @ left).square().sum(dim=0), (second.T @ right).square().sum(dim=0)]
        ).cpu()
    from scipy.stats import beta

    null = tuple(
        float(beta.ppf(CERTAIN, count / 2, (size - count) / 2))
        for size in (left.shape[0], right.shape[0])
    )
    return MatrixUpdate(
        name=name,
        layer=layer,
        kind=name.removesuffix(".weight").rpartition(".")[2],
        shape=(left.shape[0], right.shape[0]),
        sizes=sizes,
        directions=store.keep(left, right, small=factors is not None),
        base_norm=base_norm,
        overlap=overlap,
        null=cast("tuple[float, float]", null),
        leading_size=leading_size,
        by_factors=factors is not None,
    )


def _leading(matrix: Tensor, count: int) -> tuple[Tensor, Tensor, Tensor]:
    """Leading singular directions of a matrix; of a large one by a randomised SVD."""
    if min(matrix.shape) <= _SMALL:
        left, sizes, turned = torch.linalg.svd(matrix, full_matrices=False)
        return left[:, :count], sizes[:count], turned[:count].T
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        more = min(count + 8, *matrix.shape)
        left, sizes, right = torch.svd_lowrank(matrix, q=more, niter=4)
    return left[:, :count], sizes[:count], right[:, :count]


def lora_factors(module: Any) -> tuple[Tensor, Tensor] | None:
    """Factors of plain LoRA layers that are on, scale in the first; None of anything else."""
    if not hasattr(module, "lora_A") or module.disable_adapters or module.merged:
        return None
    active = [name for name in module.active_adapters if name in module.lora_A]
    variants = getattr(module, "lora_variant", {})
    if any(name in variants or module.lora_bias.get(name) for name in active):
        return None
    if not active:
        return None
    left = [module.lora_B[name].weight.float() * module.scaling[name] for name in active]
    right = [module.lora_A[name].weight.float() for name in active]
    return torch.cat(left, dim=1).detach(), torch.cat(right, dim=0).detach()


def _rest(
    pair: Models, name: str, own: tuple[nn.Module, str], theirs: tuple[nn.Module, str]
) -> Rest | None:
    values = []
    for side, (module, key) in zip(SIDES, (own, theirs), strict=True):
        with pair.held(side):
            values.append(parameter_value(module, key))
    base, tuned = values
    if base.shape[1:] != tuned.shape[1:]:
        raise UnsupportedArchitectureError(
            f"{name!r} has another shape in tuned, so that it is not the same model changed"
        )
    rows = slice(min(len(base), len(tuned))) if base.ndim else ...
    if torch.equal(base[rows], tuned[rows].to(base)):
        return None if base.shape == tuned.shape else Rest(name, base, tuned)
    if base.ndim > 2:
        raise UnsupportedArchitectureError(
            f"{name!r} belongs to a mixture of experts, whose update is not taken apart: "
            "exchange whole blocks instead (what carries it)"
        )
    return Rest(name, base, tuned.to(base.device))
