"""What a key asks for, and what its row in the table of blocks says of it."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

from twinlens.contract import blocks, forms
from twinlens.contract.block import Block, Values
from twinlens.contract.blocks import BLOCKS
from twinlens.contract.manifest import Manifest
from twinlens.contract.words import SIDES
from twinlens.errors import UnknownBlockError


@dataclass(frozen=True)
class Asked:
    """A block and the values of its parameters."""

    block: Block[Any]
    values: dict[str, Any]


def find(key: str) -> tuple[Block[Any], dict[str, str]] | None:
    """The block that a key has the form of, and what stands for its parameters."""
    for candidate in _candidates(key.split("/")[0]):
        texts = candidate.texts(key)
        if texts is not None:
            return candidate, texts
    return None


@lru_cache(maxsize=256)
def _candidates(first_part: str) -> list[Block[Any]]:
    """Blocks whose keys begin like this; what is written out goes before what may be anything."""
    alike = [block for block in BLOCKS.values() if block.parts[0] == first_part]
    return sorted(alike, key=lambda block: -block.literals)


def read(key: str, manifest: Manifest) -> Asked:
    """What a key asks for.

    Raises
    ------
    UnknownBlockError
        If there is no such block, or a parameter is out of range in this trace: the message names
        the choices.
    """
    if not isinstance(key, str):
        raise UnknownBlockError(f"a block is named by a text such as 'disagreement', not {key!r}")
    match = find(key)
    if match is None or match[0].page:
        first_part = key.split("/")[0]
        alike = [b.pattern for b in BLOCKS.values() if b.parts[0] == first_part and not b.page]
        hint = f": known are {', '.join(alike)}" if alike else ""
        raise UnknownBlockError(f"there is no block {key!r}{hint}")
    block, texts = match
    return Asked(block, block.read(texts, manifest))


def is_causal(key: str) -> bool:
    """Whether the block of this key is a lower-triangular matrix."""
    match = find(key)
    return match is not None and match[0].causal


def is_exact(key: str) -> bool:
    """Whether the numbers of this key stay as they are where others are rounded to 8 bits."""
    match = find(key)
    return match is not None and match[0].exact


def twin(key: str) -> str | None:
    """The block of base's that an array of tuned's is much like; None where there is none."""
    match = find(key)
    if match is None or match[0].dtype is None:
        return None
    block, texts = match
    if block is blocks.base_component_activations:
        return blocks.component_activations("base", int(texts["layer"]))
    return block(**{**texts, "side": SIDES[0]}) if texts.get("side") == SIDES[1] else None


def grows(key: str) -> bool:
    """Whether a block says how far a computation has come, so that it is no answer for good."""
    match = find(key)
    return match is not None and match[0].grows


def shape(request: Asked, manifest: Manifest) -> tuple[int, ...]:
    """Shape of an array block; see `Block.shape`."""
    values: Values = request.values
    return request.block.shape(manifest, values)


def with_methods(manifest: Manifest, keys: Collection[str]) -> Manifest:
    """The manifest with only the saliency methods whose blocks are among the keys."""
    methods = (
        m for m in manifest.methods if any(blocks.saliency(s, m.name) in keys for s in SIDES)
    )
    return replace(manifest, methods=tuple(methods))


def documentation() -> str:
    """A Markdown table of all blocks: key, form, meaning."""
    rows = ["| key | form | meaning |", "|---|---|---|"]
    for block in BLOCKS.values():
        form = block.form if isinstance(block.form, str) else forms.name_of(block.form)
        said = {"causal": block.causal, "exact": block.exact, "grows": block.grows}
        said |= {"one answer": block.shared, "of pages": block.page}
        said |= {"on request": not block.recorded, "costly": block.costly}
        notes = [word for word, applies in said.items() if applies]
        meaning = " ".join(block.meaning.split()) + (f" *({', '.join(notes)})*" if notes else "")
        pattern = block.pattern.replace("|", "\\|")
        rows.append(f"| `{pattern}` | `{form}` | {meaning} |".replace(" || ", " \\|\\| "))
    return "\n".join(rows) + "\n"
