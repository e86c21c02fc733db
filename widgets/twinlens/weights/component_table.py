"""Feed-forward components of two models beside each other, as a table.

`twinlens.compute.concepts.compare` computes them, `twinlens.commands.result_files` writes them.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from twinlens.traces.frames import DataFrame, frame_of
from twinlens.weights.rotation_table import Rotation


@dataclass(frozen=True)
class ConceptComparison:
    """Components of both models, layer by layer, and how far they are turned.

    Attributes
    ----------
    blocks : dict of int to list
        ``components`` blocks by layer, see `twinlens.contract.blocks`.
    rotation : Rotation
    parameters : dict
        Every setting, plain JSON values.
    """

    blocks: dict[int, list[dict[str, Any]]] = field(repr=False)
    rotation: Rotation
    parameters: dict[str, Any] = field(repr=False)

    def rows(self) -> list[dict[str, Any]]:
        """One row per component of base with its match in tuned."""
        return [
            {
                "layer": layer,
                "component": k,
                "explained_base": entry["base"]["explained"],
                "words_base": _listed(entry["base"]["words"]),
                "component_tuned": entry["tuned"]["index"],
                "explained_tuned": entry["tuned"]["explained"],
                "words_tuned": _listed(entry["tuned"]["words"]),
                "cosine": entry["cosine"],
                "angle": entry["angle"],
                "doubt": entry["doubt"],
            }
            for layer, block in self.blocks.items()
            for k, entry in enumerate(block)
        ]

    def to_frame(self) -> DataFrame:
        """`rows` as a table; the settings are in its ``attrs``."""
        frame = frame_of(self.rows())
        frame.attrs.update(self.parameters)
        return frame


def _listed(words: Iterable[Sequence[Any]]) -> str:
    return ", ".join(f"{word} {score:+.3f}" for word, score in words)
