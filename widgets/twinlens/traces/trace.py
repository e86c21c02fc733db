"""Traces: everything computed for one pair and one prompt, as blocks behind keys.

A trace is live (`twinlens.compute.live.live.LiveTrace`, computed on demand from the models) or
recorded (`twinlens.traces.recording.RecordedTrace`). Both answer `block`; the typed accessors here
are written once on top of it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from twinlens.contract import blocks
from twinlens.contract.forms import DeletionCurve, Faithfulness
from twinlens.contract.manifest import Manifest
from twinlens.contract.wire import Array, Value
from twinlens.contract.words import EXACT, Side
from twinlens.support.progress import Report
from twinlens.traces.marks import Mark

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Attribution:
    """Effect of every prompt token on every answer token.

    Attributes
    ----------
    values : float32 array, shape [N, M]
        In the unit its method states. `numpy.asarray` of the object gives the same.
    prompt_tokens, answer_tokens : tuple of str
    side : Side
    method : str
    """

    values: Array
    prompt_tokens: tuple[str, ...]
    answer_tokens: tuple[str, ...]
    side: Side
    method: str

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Array:
        return np.array(self.values, dtype=dtype, copy=True if copy is None else copy)

    def to_frame(self) -> pd.DataFrame:
        """Tidy table with one row per cell: position and text of both tokens, and the value."""
        import pandas as pd

        rows, columns = np.indices(self.values.shape)
        return pd.DataFrame(
            {
                "prompt_position": rows.ravel(),
                "prompt_token": np.repeat(
                    np.array(self.prompt_tokens, object), len(self.answer_tokens)
                ),
                "answer_position": columns.ravel(),
                "answer_token": list(self.answer_tokens) * len(self.prompt_tokens),
                "value": self.values.ravel(),
            }
        )


class Trace(ABC):
    """One pair, one prompt, and the blocks computed for them."""

    manifest: Manifest
    #: Whether what is not there yet is computed when it is asked for.
    computes = False
    #: Spans marked anew before it was recorded; None for the manifest's own.
    marks: list[Mark] | None = None

    @abstractmethod
    def block(self, key: str, report: Report | None = None) -> Value:
        """Return the value behind a key (see `twinlens.contract.blocks` for keys and shapes).

        Raises
        ------
        UnknownBlockError
            If the key is malformed, out of range, or not in this trace.
        Interrupted
            If `report` asked to stop.
        """

    @abstractmethod
    def keys(self) -> Iterable[str]:
        """Keys of a complete recording, the most useful first, so that a cut keeps the best."""

    def array(self, key: str, report: Report | None = None) -> Array:
        """A block that is an array."""
        return cast(Array, self.block(key, report))

    def own_answer(self, side: Side, report: Report | None = None) -> str:
        """What a model answers by itself, whatever answer is read; generated if need be."""
        known = self.manifest.answers[side].own_text
        if known is not None:
            return known
        return str(cast(dict[str, Any], self.block(blocks.own_answer(side), report))["text"])

    def saliency(
        self, side: Side, method: str | None = None, report: Report | None = None
    ) -> Attribution:
        """Effect of every prompt token on every answer token, shape [N, M]."""
        method = method or self.manifest.first_method
        return Attribution(
            values=self.array(blocks.saliency(side, method), report),
            prompt_tokens=tuple(token.text for token in self.manifest.prompt_tokens),
            answer_tokens=tuple(token.text for token in self.manifest.answers[side].tokens),
            side=side,
            method=method,
        )

    def faithfulness(
        self, side: Side, method: str | None = None, report: Report | None = None
    ) -> Faithfulness:
        """Agreement of a method with exact occlusion in all cells, which is computed if need be.

        The block ``faithfulness/S/METHOD`` tells the same for the cells that are exact so far.
        """
        method = method or self.manifest.first_method
        key = blocks.faithfulness(side, method)
        self.array(blocks.saliency(side, EXACT), report)
        return Faithfulness(**cast(dict[str, Any], self.block(key, report)))

    def deletion(
        self, side: Side, method: str | None = None, report: Report | None = None
    ) -> DeletionCurve:
        """Loss of the answer as the tokens are hidden that matter most, or least, by a method."""
        key = blocks.deletion(side, method or self.manifest.first_method)
        return DeletionCurve(**cast(dict[str, Any], self.block(key, report)))

    def attention(self, side: Side, layer: int, head: int) -> Array:
        """Attention pattern of one head, shape [T, T], rows are queries."""
        return self.array(blocks.attention(side, layer, head))

    def head_change(self) -> Array:
        """Jensen-Shannon divergence (bits) per head, averaged over positions, shape [L, H]."""
        return np.asarray(self.array(blocks.head_change()).astype(np.float32).mean(axis=0))

    def head_effect(
        self,
        side: Side,
        answer_token: int | None = None,
        *,
        exact: str | None = None,
        report: Report | None = None,
    ) -> Array:
        """What every head adds to the log-probability of the answer, nats, shape [L, H].

        Parameters
        ----------
        side : Side
        answer_token : int, optional
            One answer token, 0 .. M - 1; by default the sum over the whole answer.
        exact : {"zero", "mean", "other"}, optional
            Replace the heads of largest estimate, one after the other, by zero, by their mean
            over the text, or by the other model's, and measure; NaN for all other heads. By
            default the first-order estimate for all heads. Where a model is nearly certain of
            its answer gradients vanish: there, measure.
        report : callable, optional
            Told how many heads are measured; may raise `Interrupted`.
        """
        key = (
            blocks.head_effect(side, answer_token)
            if exact is None
            else blocks.head_ablation(side, exact, answer_token)
        )
        return self.array(key, report)
