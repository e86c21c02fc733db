"""Do the words of one list rise more often than those of another? The paper's table 3."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from twinlens.contract.wire import Array
from twinlens.traces.frames import DataFrame, frame_of
from twinlens.weights.word_pairs import PairTableRow, WordPairs, check_comparable

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
