"""Word pairs of the heads of both models, ready to be shown, searched and counted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from twinlens.contract.wire import Array
from twinlens.errors import VocabularyError
from twinlens.support.calls import methods_called_rightly
from twinlens.traces.frames import DataFrame, frame_of
from twinlens.weights.vocabulary import general_verbs, instruction_verbs
from twinlens.weights.word_pair_table import GROUP, RiseTable, rise_table
from twinlens.weights.word_pairs import (
    PairTableRow,
    WordPairs,
    overlap,
    pair_changes,
    word_changes,
)

#: Word pairs of one head that its block lists.
LISTED = 200


@methods_called_rightly
@dataclass(frozen=True)
class HeadWords:
    """Word pairs of the heads of both models (paper, section on self-attention heads).

    Attributes
    ----------
    base, tuned : WordPairs
        Found with the same words and settings.
    """

    base: WordPairs
    tuned: WordPairs

    @property
    def parameters(self) -> dict[str, Any]:
        """Every setting that influences the pairs."""
        return self.base.parameters

    def head(self, layer: int, head: int) -> list[PairTableRow]:
        """Gained, kept and lost pairs of one head, see `pair_changes`."""
        return pair_changes(self.base, self.tuned, layer, head)

    def word(self, word: str) -> list[PairTableRow]:
        """Heads whose number of pairs with a word differs, see `word_changes`."""
        return word_changes(self.base, self.tuned, word)

    def overlap(self) -> Array:
        """Share of the pairs of either model that both have, shape [layers, heads]."""
        return overlap(self.base, self.tuned)

    def table(
        self, lists: Mapping[str, Sequence[str]] | None = None, *, group: int = GROUP
    ) -> RiseTable:
        """How often the words of some lists rise (paper's table 3), see `rise_table`.

        Parameters
        ----------
        lists : mapping of str to sequence of str, optional
            By default the paper's instruction verbs, and general verbs to test them against.
        group : int
            Layers per group.
        """
        if lists is None:
            lists = {"instruction verbs": instruction_verbs(), "general verbs": general_verbs()}
        return rise_table(self.base, self.tuned, lists, group=group)

    def to_frame(self) -> DataFrame:
        """Tidy table with one row per head and pair."""
        rows = [
            {"layer": layer, "head": head, **row}
            for layer in self.base.layers
            for head in range(self.base.heads)
            for row in self.head(layer, head)
        ]
        columns = ["layer", "head", "word", "partner", "base", "tuned", "change"]
        return frame_of(rows, columns)

    @cached_property
    def heads_changed(self) -> int:
        """Number of heads whose pairs differ between the models."""
        return sum(
            not np.array_equal(before[0], after[0])
            for layer, heads in self.base.counted.items()
            for before, after in zip(heads, self.tuned.counted[layer], strict=True)
        )

    def info_block(self) -> dict[str, Any]:
        """The block ``word_pairs/info``."""
        return {
            "parameters": self.parameters,
            "words": len(self.base.words),
            "missing": len(self.parameters["words_without_vectors"])
            + self.parameters["words_without_cooccurrence"],
            "heads_changed": self.heads_changed,
        }

    def counts_block(self) -> Array:
        """The block ``word_pairs/counts``, float32 [layers, heads, 3]."""
        counts = np.zeros((len(self.base.layers), self.base.heads, 3), np.float32)
        for row, (layer, heads) in enumerate(self.base.counted.items()):
            for head, (before, _) in enumerate(heads):
                after = self.tuned.counted[layer][head][0]
                common = len(np.intersect1d(before, after, assume_unique=True))
                counts[row, head] = len(after) - common, common, len(before) - common
        return counts

    def head_block(self, layer: int, head: int) -> dict[str, Any]:
        """The block ``word_pairs/l/h``."""
        rows = self.head(layer, head)
        listed = [[row["word"], row["partner"], row["base"], row["tuned"]] for row in rows[:LISTED]]
        return {"rows": listed, "left_out": len(rows) - len(listed)}

    def find_block(self, word: str) -> list[list[int]]:
        """The block ``word_pairs/find/WORD``."""
        if self.base.word_id(word) is None:
            raise VocabularyError(
                f"{word!r} is not among the {len(self.base.words):,} words of this analysis"
            )
        before, after = (model.counts([word])[..., 0] for model in (self.base, self.tuned))
        layers = list(self.base.layers)
        rows = [
            [layers[row], head, int(before[row, head]), int(after[row, head])]
            for row, head in np.argwhere(before + after > 0).tolist()
        ]
        return sorted(rows, key=lambda row: row[2] - row[3])
