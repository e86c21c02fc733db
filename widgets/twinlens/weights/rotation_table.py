"""Tables of how far tuning turned the feed-forward concepts, and of both models' components.

`twinlens.compute.concepts.rotation` and `compare` measure, `twinlens.figures.layer_charts` draws,
`twinlens.commands.result_files` writes them.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np

from twinlens.contract.wire import Array
from twinlens.errors import HeadIndexError
from twinlens.traces.frames import DataFrame, frame_of

RotationRow: TypeAlias = dict[str, Any]


@dataclass(frozen=True)
class Added:
    """A leading direction of the weight difference.

    Attributes
    ----------
    share : float
        Of the squared norm of the difference.
    words : tuple of (str, float)
        Words of tuned's output embeddings along it, with the signed cosine, by falling magnitude.
    """

    share: float
    words: tuple[tuple[str, float], ...]


@dataclass(frozen=True)
class LayerRotation:
    """Base against tuned in one layer; K leading components of each.

    Attributes
    ----------
    layer : int
    angles : float32 array, shape [K, K], degrees
        Row k - 1 holds the k principal angles between the leading k-dimensional subspaces, the
        smallest first, then NaN.
    inside : float array, shape [K]
        Share of base's variance inside the subspace of tuned's k leading components.
    own : float array, shape [K]
        The same inside base's own, the largest share possible.
    null_inside : float array, shape [draws, K]
        The same inside the leading subspaces of base after a random rotation.
    difference : float
        Frobenius norm of tuned's value vectors less base's, divided by that of base's.
    null_difference : float
        The same for base against its random rotations: root of the mean square, in closed form.
    added : tuple of Added
        Leading directions of the weight difference; none where there is no difference.
    """

    layer: int
    angles: Array = field(repr=False)
    inside: Array = field(repr=False)
    own: Array = field(repr=False)
    null_inside: Array = field(repr=False)
    difference: float
    null_difference: float
    added: tuple[Added, ...] = field(repr=False)


@dataclass(frozen=True)
class Rotation:
    """How far the feed-forward components of a pair are turned, layer by layer.

    Attributes
    ----------
    base, tuned : str
        Names of the models.
    layers : tuple of LayerRotation
    null_angles : float32 array, shape [draws, K, K], degrees
        As `LayerRotation.angles`, of random rotations. They depend on the hidden size and K alone,
        so that all layers share them.
    parameters : dict
        Every setting, plain JSON values.
    """

    base: str
    tuned: str
    layers: tuple[LayerRotation, ...] = field(repr=False)
    null_angles: Array = field(repr=False)
    parameters: dict[str, Any] = field(repr=False)

    @property
    def components(self) -> int:
        """K, the largest number of leading components that was looked at."""
        return int(self.null_angles.shape[1])

    @property
    def measured(self) -> tuple[int, ...]:
        """Values of k that were looked at."""
        chosen = self.parameters.get("counts")
        return tuple(chosen) if chosen else tuple(range(1, self.components + 1))

    def rows(self, counts: Iterable[int] | None = None) -> list[RotationRow]:
        """One row per layer and number of leading components k.

        Parameters
        ----------
        counts : iterable of int, optional
            Values of k; by default all that were measured.

        Returns
        -------
        list of dict
            ``layer``, ``k``; ``smallest``, ``mean`` and ``largest`` principal angle in degrees;
            ``null_mean`` and ``null_sd`` of the mean angle over the draws (n - 1; None for one
            draw); ``inside``, ``own`` and ``null_inside`` (mean over the draws); ``difference``
            and ``null_difference``, which do not depend on k.

        Raises
        ------
        HeadIndexError
            If a k is not between 1 and K.
        """
        counts = list(self.measured if counts is None else counts)
        for k in counts:
            self._check(k)
        rows: list[RotationRow] = []
        for layer in self.layers:
            for k in counts:
                angles, null = layer.angles[k - 1, :k], self.null_means(k)
                rows.append(
                    {
                        "layer": layer.layer,
                        "k": k,
                        "smallest": float(angles[0]),
                        "mean": float(angles.mean(dtype=np.float64)),
                        "largest": float(angles[-1]),
                        "null_mean": float(null.mean()),
                        "null_sd": float(null.std(ddof=1)) if len(null) > 1 else None,
                        "inside": float(layer.inside[k - 1]),
                        "own": float(layer.own[k - 1]),
                        "null_inside": float(layer.null_inside[:, k - 1].mean()),
                        "difference": layer.difference,
                        "null_difference": layer.null_difference,
                    }
                )
        return rows

    def to_frame(self, counts: Iterable[int] | None = None) -> DataFrame:
        """`rows` as a table; the settings are in its ``attrs``."""
        frame = frame_of(self.rows(counts))
        frame.attrs.update(self.parameters, base=self.base, tuned=self.tuned)
        return frame

    def added_rows(self) -> list[RotationRow]:
        """Words of what the tuning added: ``layer``, ``direction``, ``share``, ``words``."""
        return [
            {
                "layer": layer.layer,
                "direction": index,
                "share": direction.share,
                "words": ", ".join(word for word, _ in direction.words),
            }
            for layer in self.layers
            for index, direction in enumerate(layer.added)
        ]

    def null_means(self, k: int) -> Array:
        """Mean of the k angles per random rotation, degrees, shape [draws]."""
        return np.asarray(self.null_angles[:, k - 1, :k].mean(axis=1, dtype=np.float64))

    def block(self, k: int) -> list[RotationRow]:
        """A ``rotation`` block, see `twinlens.contract.blocks`, for k leading components.

        Raises
        ------
        HeadIndexError
            If that k was not looked at.
        """
        self._check(k)
        null, rows = self.null_means(k), []
        for layer, row in zip(self.layers, self.rows([k]), strict=True):
            rows.append(
                {
                    "layer": row["layer"],
                    "k": k,
                    "angle": row["mean"],
                    "null": row["null_mean"],
                    "null_low": float(null.min()),
                    "null_high": float(null.max()),
                    "inside": row["inside"],
                    "own": row["own"],
                    "null_inside": row["null_inside"],
                    "weights": row["difference"],
                    "null_weights": row["null_difference"],
                    "added": [list(word) for word in layer.added[0].words] if layer.added else [],
                }
            )
        return rows

    def _check(self, k: int) -> None:
        if k not in self.measured:
            raise HeadIndexError(
                f"there is no subspace of {k} leading components: between {min(self.measured)} and "
                f"{max(self.measured)} were looked at"
            )


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
