"""Word pairs of the heads of both models, ready to be shown, searched and counted.

And the paper's table 3: do the words of one list rise more often than those of another?
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from twinlens.contract.wire import Array
from twinlens.errors import VocabularyError
from twinlens.support.calls import methods_called_rightly
from twinlens.traces.frames import DataFrame, frame_of
from twinlens.weights.vocabulary import general_verbs, instruction_verbs
from twinlens.weights.word_pairs import (
    PairTableRow,
    WordPairs,
    check_comparable,
    overlap,
    pair_changes,
    word_changes,
)

#: Word pairs of one head that its block lists.
LISTED = 200
#: Layers per group in the paper (LLaMA-7B has 32).
GROUP = 8


@dataclass(frozen=True)
class RiseTable:
    """How often words rise between the models, by word list and layer group (paper's table 3).

    Attributes
    ----------
    rows : tuple of dict
        One per group of layers and list, the last group being all layers: ``layers``,
        ``first_layer``, ``last_layer`` (counted from 0), ``list``; ``words`` (of the list, with at
        least one changed head), ``absent`` (of the list, not in the vocabulary), ``share`` (mean
        over these words of the share of changed heads in which the word rose), ``sd`` (over
        words, n - 1); and for every list but the first ``t``, ``df``, ``p`` of the test against
        the first one. Numbers that do not exist are None.
    hypothesis : str
        What `p` tests.
    parameters : dict
        Of the word pairs, and the size of the layer groups.
    """

    rows: tuple[PairTableRow, ...] = field(repr=False)
    hypothesis: str
    parameters: dict[str, Any] = field(repr=False)

    def to_frame(self) -> DataFrame:
        """The rows as a table; the hypothesis is in its ``attrs``."""
        frame = frame_of(list(self.rows))
        frame.attrs["hypothesis"] = self.hypothesis
        return frame


def rise_shares(base: Array, tuned: Array) -> Array:
    """Share of changed heads in which each word rose.

    Parameters
    ----------
    base, tuned : int array, shape [..., words]
        Counts per head.

    Returns
    -------
    float array, shape [words]
        NaN where no head changed.
    """
    axes = tuple(range(base.ndim - 1))
    changed = (tuned != base).sum(axis=axes)
    rose = (tuned > base).sum(axis=axes)
    return np.asarray(np.where(changed > 0, rose / np.maximum(changed, 1), np.nan))


def rise_table(
    base: WordPairs,
    tuned: WordPairs,
    lists: Mapping[str, Sequence[str]],
    *,
    group: int = GROUP,
) -> RiseTable:
    """Compare word lists by how often their words rise between the models (paper's table 3).

    Parameters
    ----------
    base, tuned : WordPairs
    lists : mapping of str to sequence of str
        Word lists by name; every later one is tested against the first with Welch's t over
        words, two-sided.
    group : int
        Layers per group; the last group may be smaller.

    Raises
    ------
    ValueError
        If there is no list, or `group` is less than 1.
    PairMismatchError
        If the models' pairs were found with different words or settings.
    """
    check_comparable(base, tuned)
    if not lists or group < 1:
        raise ValueError("rise_table needs at least one word list and one layer per group")
    layers = list(base.layers)
    counts = {name: (base.counts(words), tuned.counts(words)) for name, words in lists.items()}
    rows: list[PairTableRow] = []
    bounds = [(start, min(start + group, len(layers))) for start in range(0, len(layers), group)]
    for start, end in bounds if bounds == [(0, len(layers))] else [*bounds, (0, len(layers))]:
        low, high = layers[start], layers[end - 1]
        reference_shares: Array | None = None
        for name, words in lists.items():
            before, after = counts[name]
            shares = rise_shares(before[start:end], after[start:end])
            shares = shares[~np.isnan(shares)]
            test = {} if reference_shares is None else _welch(reference_shares, shares)
            rows.append(
                {
                    "layers": f"{low}-{high}" if low < high else str(low),
                    "first_layer": low,
                    "last_layer": high,
                    "list": name,
                    "words": len(shares),
                    "absent": sum(base.word_id(word) is None for word in words),
                    "share": float(shares.mean()) if len(shares) else None,
                    "sd": float(shares.std(ddof=1)) if len(shares) > 1 else None,
                    **(test or {"t": None, "df": None, "p": None}),
                }
            )
            reference_shares = shares if reference_shares is None else reference_shares
    reference, *others = lists
    hypothesis = (
        f"the mean share of changed heads in which a word rose is the same for {reference!r} as "
        f"for {' and for '.join(map(repr, others))} (two-sided Welch t over words)"
        if others
        else "nothing is tested: there is one list"
    )
    return RiseTable(tuple(rows), hypothesis, {**base.parameters, "group": group})


def _welch(first: Array, second: Array) -> PairTableRow:
    """Welch's t, two-sided; nothing where one side has fewer than two words."""
    from scipy.stats import ttest_ind

    if min(len(first), len(second)) < 2 or not (first.std() or second.std()):
        return {}
    test = ttest_ind(first, second, equal_var=False)
    return {"t": float(test.statistic), "df": float(test.df), "p": float(test.pvalue)}


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
