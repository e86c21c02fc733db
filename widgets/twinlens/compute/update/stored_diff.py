"""Two models compared straight from their files: nothing is loaded, two pairs of tensors at a time.

Neither has to be of a family that twinlens knows.
"""

from __future__ import annotations

import json
import math
import os
import re
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from twinlens.compute.models import names
from twinlens.compute.models.hub import looked_up
from twinlens.compute.models.running import plainly
from twinlens.compute.models.sources import source_of
from twinlens.compute.models.weights import downloaded, tensor_files
from twinlens.compute.update.beside import file_diffs
from twinlens.compute.update.factors import factored
from twinlens.compute.update.stored_numbers import FileNumbers, HeldNumbers, Numbers
from twinlens.compute.update.tensors import compare
from twinlens.errors import ArgumentError, ModelLoadError
from twinlens.support.files import possible_path
from twinlens.support.progress import Report, told
from twinlens.weights.model_diff import ModelDiff, TensorDiff

_ADAPTER, _ADAPTER_WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
#: Scales and codes of packed weights: read with the weights they belong to, or not at all.
_PACKED = re.compile(
    r"absmax|quant_map|quant_state|\.SCB$|weight_format|qweight|qzeros|g_idx|scales$"
    r"|weight_scale|weight_packed|weight_shape|zero_point"
)
#: Tensors that are compared at a time.
_AT_ONCE = 2
#: Numbers of a tensor by which its copy under another name is found.
_FINGERPRINT = 256


@dataclass(frozen=True)
class Stored:
    """Files of a model: `tensors` has file and stored name of each, by its plain name."""

    name: str
    folder: Path
    tensors: Mapping[str, tuple[Path, str]]
    _headers: dict[Path, tuple[int, dict[str, Any]]] = field(default_factory=dict, repr=False)

    def read(self, name: str) -> Tensor:
        """One tensor, mapped.

        Raises
        ------
        ModelLoadError
            If it cannot be read.
        """
        path, stored = self.tensors[name]
        try:
            # Opened for each tensor: mapped pages count as memory while a file is open.
            with safe_open(path, framework="pt") as file:
                tensor = cast(Tensor, file.get_tensor(stored))
        except (OSError, ValueError, SafetensorError) as error:
            raise self._unreadable(path, error) from error
        scales = name.removesuffix("weight") + "SCB"
        if tensor.dtype == torch.int8 and scales in self.tensors:
            # Eight-bit weights of bitsandbytes: one scale a row.
            return tensor.float() * (self.read(scales).float()[:, None] / 127)
        return tensor

    def numbers(self, name: str) -> Numbers:
        """Numbers of a tensor, to be looked at piece by piece."""
        path, stored = self.tensors[name]
        start, header = self._header(path)
        return FileNumbers.of(path, header[stored], start) or HeldNumbers(self.read(name))

    def shape(self, name: str) -> tuple[int, ...]:
        """Sizes of a tensor as it is stored."""
        path, stored = self.tensors[name]
        return tuple(self._header(path)[1][stored]["shape"])

    def _header(self, path: Path) -> tuple[int, dict[str, Any]]:
        """Where the tensors of a file begin, and what it says of them."""
        if path not in self._headers:
            try:
                with path.open("rb") as file:
                    length = int.from_bytes(file.read(8), "little")
                    self._headers[path] = 8 + length, json.loads(file.read(length))
            except (OSError, ValueError) as error:
                raise self._unreadable(path, error) from error
        return self._headers[path]

    def _unreadable(self, path: Path, error: Exception) -> ModelLoadError:
        return ModelLoadError(f"{path.name!r} of {self.name!r} cannot be read ({error})")


@plainly()
@looked_up()
def diff_of_files(
    base: str | os.PathLike[str],
    tuned: str | os.PathLike[str] | None = None,
    *,
    base_revision: str | None = None,
    tuned_revision: str | None = None,
    report: Report | None = None,
) -> ModelDiff:
    """What differs between the files of two models, see `twinlens.diff`."""
    if tuned is None:
        base, tuned = _named_base(base, tuned_revision), base
    ours = stored_files(base, base_revision)
    theirs = stored_files(tuned, tuned_revision)
    if (ours.folder / _ADAPTER).is_file():
        raise ModelLoadError(
            f"{ours.name!r} is a PEFT adapter: give the model that it changes as base"
        )
    if (theirs.folder / _ADAPTER).is_file():
        tensors, notes = _of_adapter(ours, theirs, report)
    else:
        tensors, notes = _of_models(ours, theirs, report)
    beside = file_diffs(ours.folder, theirs.folder, adapter=(theirs.folder / _ADAPTER).is_file())
    return ModelDiff(ours.name, theirs.name, tuple(tensors), tuple(beside), tuple(notes))


def stored_files(name: str | os.PathLike[str], revision: str | None = None) -> Stored:
    """Files of a model folder, a safetensors file, or a model of the hub, which is downloaded.

    Raises
    ------
    ModelLoadError
        If there is no such model, or its weights are not in safetensors files.
    """
    if not isinstance(name, str | os.PathLike):
        raise ArgumentError(
            "diff compares files, given as a folder, a safetensors file or a hub id, not "
            f"{type(name).__name__}: of a pair that is loaded take pair.update()"
        )
    path = possible_path(name, "a model", ModelLoadError).expanduser()
    if path.suffix == ".gguf":
        raise ModelLoadError(
            f"{path.name!r} is a GGUF file, whose tensors have other names and are packed: load "
            "the pair and take pair.update()"
        )
    if not path.exists():
        source = source_of(str(name), revision)
        place = source.adapter.place if source.adapter is not None else source.place
        path = downloaded(place, revision, source.name)
        return Stored(source.name, path, tensor_files(path))
    label = path.resolve().name
    if path.is_dir() and (path / _ADAPTER).is_file():
        if not (path / _ADAPTER_WEIGHTS).is_file():
            raise ModelLoadError(f"the adapter {label!r} has no {_ADAPTER_WEIGHTS}")
        path = path / _ADAPTER_WEIGHTS
    folder = path if path.is_dir() else path.parent
    return Stored(label, folder, tensor_files(path))


def _named_base(adapter: str | os.PathLike[str], revision: str | None) -> str:
    source = source_of(adapter, revision)
    if source.adapter is None:
        raise ArgumentError(
            f"{source.name!r} is no PEFT adapter, which alone would name its base model: give two "
            "models"
        )
    return source.place


def _of_models(
    base: Stored, tuned: Stored, report: Report | None
) -> tuple[list[TensorDiff], list[str]]:
    pairs, alone = _paired(base, tuned)
    notes = []
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        awaited = [pool.submit(_of_tensors, base, ours, tuned, theirs) for ours, theirs in pairs]
        try:
            diffs = [done.result() for done in told(awaited, "comparing tensors", report)]
        finally:
            pool.shutdown(cancel_futures=True)
    for (ours, theirs), diff in zip(pairs, diffs, strict=True):
        rows = base.shape(ours)[:1], tuned.shape(theirs)[:1]
        if diff.verdict not in ("shape", "packed") and rows[0] != rows[1]:
            notes.append(
                f"{theirs} has {rows[0][0]:,} rows in base and {rows[1][0]:,} in tuned: those that "
                "both have are compared"
            )
    packed = {name for name in [*alone[0], *alone[1]] if _PACKED.search(name)}
    for side, left in zip((base, tuned), alone, strict=True):
        verdict = "only base" if side is base else "only tuned"
        diffs += [
            TensorDiff(name, cast(Any, verdict), shape=side.shape(name))
            for name in left
            if name not in packed
        ]
    if any(diff.verdict == "packed" for diff in diffs) or packed:
        notes.append(
            "packed weights are not read from files: load the pair and take pair.update() to "
            "compare these"
        )
    return sorted(diffs, key=_in_order), notes


def _of_tensors(base: Stored, ours: str, tuned: Stored, theirs: str) -> TensorDiff:
    first, second = base.numbers(ours), tuned.numbers(theirs)
    about: dict[str, Any] = {
        "name": theirs,
        "renamed": "" if ours == theirs else ours,
        "shape": second.shape,
        "dtypes": (_kind(first), _kind(second)),
    }
    if not (first.dtype.is_floating_point and second.dtype.is_floating_point):
        same = first.dtype == second.dtype and torch.equal(base.read(ours), tuned.read(theirs))
        return TensorDiff(verdict="same" if same else "packed", **about)
    if first.shape != second.shape:
        rows = min(first.shape[0], second.shape[0]) if first.shape and second.shape else 0
        if not rows or first.shape[1:] != second.shape[1:]:
            return TensorDiff(verdict="shape", **about)
        # Tokens that only one of them has.
        first, second = first.head(rows), second.head(rows)
    try:
        return TensorDiff(**about, **compare(first, second))
    except ValueError as error:
        raise ModelLoadError(
            f"{theirs!r} of {base.name!r} or of {tuned.name!r} cannot be compared ({error})"
        ) from error


def _of_adapter(
    base: Stored, adapter: Stored, report: Report | None
) -> tuple[list[TensorDiff], list[str]]:
    """Differences that an adapter makes, from its factors."""
    config = json.loads((adapter.folder / _ADAPTER).read_text("utf-8"))
    known = {_bare(name): name for name in base.tensors}
    diffs = []
    changes = list(factored(config, adapter.tensors, adapter.read, adapter.name))
    for change in told(changes, "comparing tensors", report):
        name = known.get(_bare(f"{change.module}.weight"))
        if name is None:
            raise ModelLoadError(
                f"the adapter {adapter.name!r} changes {change.module!r}, which {base.name!r} has "
                f"not: it was trained over {config.get('base_model_name_or_path') or 'another'!r}"
            )
        weight = base.read(name)
        shape = tuple(weight.shape)
        if change.values is not None:
            diffs.append(_of_tensors(base, name, adapter, change.values))
            continue
        if change.shape not in (shape, shape[::-1]):
            raise ModelLoadError(
                f"the adapter {adapter.name!r} changes {change.module!r} as a matrix of "
                f"{change.shape}, which in {base.name!r} is {shape}: it was trained over "
                f"{config.get('base_model_name_or_path') or 'another model'!r}"
            )
        sizes = change.singular_values()
        energy = sizes.square()
        size = math.sqrt(float(energy.sum()))
        if not size:
            diffs.append(TensorDiff(name, "same", shape=shape, dtypes=(_kind(weight),) * 2))
            continue
        share = energy / energy.sum()
        diffs.append(
            TensorDiff(
                name,
                "trained",
                shape=shape,
                dtypes=(_kind(weight), change.dtype),
                size=size,
                relative=size / float(torch.linalg.vector_norm(weight.float())),
                changed=1.0,
                rank=int((sizes > sizes[0] * 1e-5).sum()),
                effective_rank=float(torch.special.entr(share).sum().exp()),
                top_share=float(share[0]),
            )
        )
    touched = {diff.name for diff in diffs}
    diffs += [
        TensorDiff(name, "same", shape=base.shape(name))
        for name in base.tensors
        if name not in touched
    ]
    return sorted(diffs, key=_in_order), []


def _paired(
    base: Stored, tuned: Stored
) -> tuple[list[tuple[str, str]], tuple[list[str], list[str]]]:
    """Tensors of both that belong together, and those that are left over."""
    known = {_bare(name): name for name in base.tensors}
    pairs = [(known[bare], name) for name in tuned.tensors if (bare := _bare(name)) in known]
    ours = [name for name in base.tensors if name not in {first for first, _ in pairs}]
    theirs = [name for name in tuned.tensors if name not in {second for _, second in pairs}]
    if ours and theirs:
        prints = {_fingerprint(base, name): name for name in ours}
        for name in list(theirs):
            namesake = prints.pop(_fingerprint(tuned, name), None)
            if namesake is not None:
                pairs.append((namesake, name))
                ours.remove(namesake)
                theirs.remove(name)
    return pairs, (ours, theirs)


def _fingerprint(of: Stored, name: str) -> object:
    """Shape and a few numbers of a tensor, as far as a short number type keeps them."""
    tensor = of.read(name)
    first = tensor.reshape(-1)[:_FINGERPRINT]
    return tuple(tensor.shape), tuple(first.bfloat16().float().tolist())


def _bare(name: str) -> str:
    """A name without the prefixes that only some checkpoints have."""
    name = names.plain(name).replace("embed_out.", "lm_head.")
    return re.sub(r"^(?:base_model\.model\.)?(?:model|transformer|gpt_neox)\.", "", name)


def _kind(tensor: Tensor | Numbers) -> str:
    return str(tensor.dtype).removeprefix("torch.")


def _in_order(diff: TensorDiff) -> tuple[int, int, str]:
    layer = diff.layer
    return (0, layer, diff.name) if layer is not None else (1, 0, diff.name)
