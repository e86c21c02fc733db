"""Importance levels, importance density and the instruction score of Wu et al. (2310.00492).

Every step of the published computation is one function, so that each can be looked at and
varied: `levels` (section 3, "normalised importance"), `sparse` (threshold b), `raw_density`
(l1 / lp), `relative_density` (division by the prompt's largest density, found only in the
authors' analysis code, and decisive for their result), `instruction_score`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import numpy as np
import numpy.typing as npt

FloatArray: TypeAlias = npt.NDArray[np.float64]
Normalisation: TypeAlias = Literal["prompt maximum", "raw"]
Aggregation: TypeAlias = Literal["sum / log2", "mean"]


@dataclass(frozen=True)
class DensityParameters:
    """Settings of the published score; the defaults are the paper's.

    Attributes
    ----------
    levels : int
        L, the number of importance levels.
    threshold : int
        b: levels not above it count as 0. The paper uses 7 for numbers, 0 for pictures.
    norm : float
        p of the l1 / lp ratio.
    normalisation : {"prompt maximum", "raw"}
        Whether densities are divided by the largest density in the prompt.
    aggregation : {"sum / log2", "mean"}
        Sum over instruction tokens divided by log2(2 + their number), or their mean.
    answer_cut : int or None
        Use only so many answer tokens, to compare answers at one length.

    Examples
    --------
    >>> from twinlens.studies import DensityParameters, Settings
    >>> settings = Settings(DensityParameters(threshold=0, answer_cut=50), spans="marked")
    """

    levels: int = 10
    threshold: int = 7
    norm: float = 4.0
    normalisation: Normalisation = "prompt maximum"
    aggregation: Aggregation = "sum / log2"
    answer_cut: int | None = None


def levels(
    importance: npt.ArrayLike, count: int = 10, eps: float = 1e-7, scored: Any = None
) -> npt.NDArray[np.int64]:
    """Importance levels ``ceil(count * max(I, 0) / (column maximum + eps))``.

    Parameters
    ----------
    importance : array, shape [N, M]
        Effect of prompt token n on answer token m.
    count : int
        L, the largest level.
    eps : float
        Added to the column maximum; keeps columns without positive effect at 0.
    scored : index array of rows, optional
        Rows that set the column maximum; other rows are cut off at `count`. All by default.

    Returns
    -------
    int64 array, shape [N, M], values 0 .. count
    """
    positive = np.maximum(np.asarray(importance, dtype=np.float64), 0.0)
    reference = positive if scored is None else positive[scored]
    largest = reference.max(axis=0, initial=0.0)
    scaled = np.minimum(np.ceil(positive / (largest + eps) * count), count)
    return np.asarray(scaled, dtype=np.int64)


def sparse(level: npt.ArrayLike, threshold: int = 7) -> npt.NDArray[np.int64]:
    """Set levels not above the threshold to 0."""
    array = np.asarray(level, dtype=np.int64)
    sparse_levels: npt.NDArray[np.int64] = np.where(array <= threshold, 0, array)
    return sparse_levels


def raw_density(
    level: npt.ArrayLike, threshold: int = 7, norm: float = 4.0, eps: float = 1e-9
) -> FloatArray:
    """Importance density ``||S_n||_1 / (||S_n||_p + eps)`` of every prompt token, shape [N].

    It lies between 1 and M ** (1 - 1/p) where any level is above the threshold: it grows
    with the length of the answer.
    """
    sparse_levels = sparse(level, threshold).astype(np.float64)
    return np.asarray(
        sparse_levels.sum(axis=1) / ((sparse_levels**norm).sum(axis=1) ** (1 / norm) + eps)
    )


def relative_density(raw: npt.ArrayLike, scored: Any = None, eps: float = 1e-9) -> FloatArray:
    """Densities divided by the largest one among the scored prompt tokens, shape [N]."""
    array = np.asarray(raw, dtype=np.float64)
    reference = array if scored is None else array[scored]
    return np.asarray(array / (reference.max(initial=0.0) + eps))


def instruction_score(
    density: npt.ArrayLike, instruction: Any, aggregation: Aggregation = "sum / log2"
) -> float:
    """Score of the instruction: summed density over ``log2(2 + n)``, or the mean density.

    Parameters
    ----------
    density : array, shape [N]
    instruction : index array
        The n instruction tokens; with none the score is 0.
    """
    chosen = np.asarray(density, dtype=np.float64)[np.asarray(instruction, dtype=np.int64)]
    if chosen.size == 0:
        return 0.0
    if aggregation == "mean":
        return float(chosen.mean())
    return float(chosen.sum() / np.log2(2 + chosen.size))


def density_of_levels(
    level: npt.ArrayLike, parameters: DensityParameters | None = None, scored: Any = None
) -> FloatArray:
    """Density per prompt token from a level matrix [N, M], as `parameters` say, shape [N]."""
    settings = parameters or DensityParameters()
    cut = np.asarray(level)[:, : settings.answer_cut]
    raw = raw_density(cut, settings.threshold, settings.norm)
    return raw if settings.normalisation == "raw" else relative_density(raw, scored)


def density_of_importance(
    importance: npt.ArrayLike, parameters: DensityParameters | None = None, scored: Any = None
) -> FloatArray:
    """Density per prompt token from raw effects [N, M], as `parameters` say, shape [N]."""
    settings = parameters or DensityParameters()
    return density_of_levels(levels(importance, settings.levels, scored=scored), settings, scored)
