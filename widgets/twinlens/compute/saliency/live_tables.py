"""Saliency tables of a live trace: filled on demand, compared with the exact effect."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import numpy as np
from transformers import PreTrainedModel

from twinlens.compute.models.models import Models
from twinlens.compute.passes.reading import Reading
from twinlens.compute.passes.subject import Subject
from twinlens.compute.saliency.estimates import knockout_by_head
from twinlens.compute.saliency.methods import METHODS
from twinlens.compute.saliency.occlusion import deletion_curve
from twinlens.compute.saliency.registry import complete
from twinlens.compute.text.cutting import pieces
from twinlens.contract.forms import DeletionCurve, Faithfulness
from twinlens.contract.wire import Array
from twinlens.contract.words import EXACT, PUBLISHED, SIDES, Side
from twinlens.measures.differences import faithfulness
from twinlens.support.progress import Report
from twinlens.traces.marks import groups

#: Methods every recording keeps; others only when they were computed.
RECORDED = (PUBLISHED, EXACT, "attention_knockout")
#: The method that puts other tokens in place.
REPLACED = "occlusion_replace"
_SEED = 0


class SaliencyTables:
    """Effects of prompt tokens on answer tokens, of both models, by any method.

    Attributes
    ----------
    tables : dict of (side, method) to float32 array [N, M]
        NaN where a cell is not computed yet.
    """

    def __init__(self, subject: Subject) -> None:
        self.tables: dict[tuple[Side, str], Array] = {}
        self._subject, self._models, self._manifest = subject, subject.models, subject.manifest
        self._orders: dict[Side, Array] = {}

    def so_far(self, side: Side, name: str) -> Array:
        """The table with NaN in the cells that are not there yet; computes nothing."""
        shape = (self._manifest.prompt_length, self._manifest.answer_length(side))
        table = self.tables.get((side, name))
        return np.full(shape, np.nan, dtype=np.float32) if table is None else table.copy()

    def table(
        self,
        side: Side,
        name: str,
        columns: Sequence[int] | None = None,
        report: Report | None = None,
    ) -> Array:
        """The table [N, M], complete in the columns asked for.

        Raises
        ------
        NotFiniteError, Interrupted
            See `complete`; what was finished is kept.
        """
        table = self.tables.setdefault((side, name), self.so_far(side, name))
        columns = range(table.shape[1]) if columns is None else columns
        if np.isnan(table[:, columns]).any():
            if name == EXACT and side not in self._orders:
                self._orders[side] = self._order(side)
            held = self._models.held(side)
            with self._models.pieces(side) as model:
                complete(
                    METHODS[name],
                    self._reading(side, model, name),
                    table,
                    columns,
                    side=side,
                    guard=held,
                    report=report,
                )
        return table.copy()

    def faithfulness(self, side: Side, name: str, report: Report | None = None) -> Faithfulness:
        """Agreement of a method with exact occlusion, on the cells that are exact so far."""
        values = self.table(side, name, report=report)
        scored = self._manifest.segment_positions("instruction", "context", "other")
        return faithfulness(values, self.so_far(side, EXACT), scored)

    def deletion(
        self, side: Side, name: str, steps: int = 10, report: Report | None = None
    ) -> DeletionCurve:
        """Deletion curve of a method summed over the answer, see `deletion_curve`."""
        importance = self.table(side, name, report=report).sum(axis=1)
        with self._models.model(side) as model:
            reading = self._reading(side, model, name)
            curves = deletion_curve(reading, importance, steps)
        return DeletionCurve(*(curve.tolist() for curve in curves))

    def heads(self, side: Side, columns: Sequence[int] | None = None) -> Array:
        """Knock-out gradient by head [layers, heads, N], see `knockout_by_head`."""
        with self._models.model(side) as model:
            return knockout_by_head(self._reading(side, model, "attention_knockout"), columns)

    def recorded(self, side: Side, everything: bool) -> list[str]:
        """Names of the methods a recording keeps: the usual ones, and what is complete.

        Of a large pair the exact one only, and what is complete.
        """
        usual = RECORDED if everything or self._models.sizes.small else (EXACT,)
        return [
            method.name
            for method in self._manifest.methods
            if method.name in usual or not np.isnan(self.so_far(side, method.name)).any()
        ]

    def _order(self, side: Side) -> Array:
        """Attention to each prompt token from where the answer is predicted: a guess, for free."""
        captured, n = self._subject.captures[side], self._manifest.prompt_length
        order = np.zeros(n)
        for layer in captured.attending:
            order += captured.attention[layer][:, n - 1 : -1, :n].float().mean(dim=(0, 1)).numpy()
        return order

    def _reading(self, side: Side, model: PreTrainedModel, name: str) -> Reading:
        tokens = self._manifest.prompt_tokens
        return self._subject.reading(
            side,
            model,
            rivals=self._rivals(side),
            replacements=stand_ins(self._models, len(tokens)) if name == REPLACED else None,
            groups=partial(groups, tokens),
            order=self._orders.get(side),
        )

    def _rivals(self, side: Side) -> list[int] | None:
        """What the other model would have said; known only where it read the same answer."""
        if not self._manifest.shared:
            return None
        logprobs = self._subject.captures[SIDES[1 - SIDES.index(side)]].logprobs[
            :, : self._models.vocabulary
        ]
        return [int(token) for token in logprobs.argmax(dim=-1)]


def stand_ins(models: Models, length: int) -> list[int]:
    """A random word token for each prompt token, the same for both models."""
    show = pieces(models.tokenizers["base"])
    words = [
        token
        for token in range(models.vocabulary)
        if (text := show(token)).startswith(" ") and len(text) > 2 and text[1:].isalpha()
    ]
    candidates = np.array(words or range(models.vocabulary))
    chosen = np.random.default_rng(_SEED).choice(candidates, size=length)
    return [int(token) for token in chosen]
