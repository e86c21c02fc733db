"""Questions 2 and 3 of the paper as tidy tables: what tuning changed in heads and concepts.

They depend on the weights (and on who labels), not on the prompts of a study, but belong into the
same report.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from twinlens.labels.questions import Annotation
from twinlens.labels.shares import label_shares
from twinlens.studies.data.change_tables import Changes, ChangeTable, plain
from twinlens.support.progress import Report
from twinlens.weights.rotation_table import Rotation
from twinlens.weights.word_pair_table import RiseTable, rise_shares, rise_table
from twinlens.weights.word_pairs import WordPairs

if TYPE_CHECKING:
    from twinlens.compute.pair import Pair

ChangeRow: TypeAlias = dict[str, Any]


#: K of the rotation, as in the paper, where the rank is not smaller.
COMPONENTS = 300


def weight_tables(
    pair: Pair,
    *,
    lists: Mapping[str, Sequence[str]] | None = None,
    annotations: Sequence[Annotation] = (),
    group: int | None = None,
    cache: bool | str | Path = True,
    report: Report | None = None,
    **search: Any,
) -> Changes:
    """Word pairs of heads, rotation of concepts, and shares of labels where there are any.

    Parameters
    ----------
    pair : Pair
    lists : mapping, optional
        Word lists by name, each tested against the first; general verbs and the paper's 38
        instruction verbs by default.
    annotations : sequence of Annotation
        From `twinlens.labels`, of both models.
    group : int, optional
        Layers per group; a quarter of the layers by default, which is the paper's 8 for 32.
    cache : bool or path
        Whether, or in which folder, finished layers are kept on disk.
    report : callable, optional
        Told the layers done; may raise `Interrupted`.
    **search
        Words and settings of `Pair.word_pairs`.

    Returns
    -------
    dict of ChangeTable
        ``heads``, ``words``, ``rotation`` (angles in degrees), ``added``, and with annotations
        ``task`` and ``level``.

    Raises
    ------
    VocabularyError, PairMismatchError, HeadIndexError
        As the functions behind it.

    Examples
    --------
    >>> import twinlens as tl
    >>> from twinlens.studies import weight_tables
    >>> sorted(weight_tables(tl.demo_pair()))
    ['added', 'heads', 'rotation', 'words']
    """
    from twinlens.compute.concepts.rotation import RotationSettings, pair_rotation
    from twinlens.weights.vocabulary import general_verbs, instruction_verbs

    if lists is None:
        lists = {"general verbs": general_verbs(), "instruction verbs": instruction_verbs()}
    size = group or max(1, pair.info.layers // 4)
    search_result = pair.word_pairs(cache=cache, report=report, **search)
    tables = heads_tables(search_result.base, search_result.tuned, lists, group=size)
    rank = pair.sizes.rank
    chosen = RotationSettings(counts=(_shown(COMPONENTS, rank), min(COMPONENTS, rank)), cache=cache)
    tables |= rotation_tables(pair_rotation(pair, chosen, report))
    return tables | label_tables(annotations, group=size)


def heads_tables(
    base: WordPairs, tuned: WordPairs, lists: Mapping[str, Sequence[str]], *, group: int
) -> Changes:
    """Table 3 of the paper, and the same per word over all heads."""
    rise: RiseTable = rise_table(base, tuned, lists, group=group)
    rows: list[ChangeRow] = []
    for name, chosen in lists.items():
        known = [word for word in chosen if base.word_id(word) is not None]
        before, after = base.counts(known), tuned.counts(known)
        shares = rise_shares(before, after)
        changed = (before != after).sum(axis=(0, 1))
        rose = (after > before).sum(axis=(0, 1))
        rows += [
            {
                "list": name,
                "word": word,
                "heads_changed": int(changed[place]),
                "heads_rose": int(rose[place]),
                "share": float(shares[place]) if changed[place] else None,
                "pairs_base": int(before[..., place].sum()),
                "pairs_tuned": int(after[..., place].sum()),
            }
            for place, word in enumerate(known)
        ]
    return {
        "heads": ChangeTable("heads", rise.rows, plain(rise.parameters), rise.hypothesis),
        "words": ChangeTable("words", tuple(rows), plain(rise.parameters)),
    }


def rotation_tables(rotation: Rotation) -> Changes:
    """Angles and shares for every number of components, and the words of what was added."""
    parameters = plain({"base": rotation.base, "tuned": rotation.tuned, **rotation.parameters})
    tables: Changes = {
        "rotation": ChangeTable("rotation", tuple(rotation.rows()), parameters),
        "added": ChangeTable("added", tuple(rotation.added_rows()), parameters),
    }
    return {name: table for name, table in tables.items() if table.rows}


def label_tables(annotations: Sequence[Annotation], *, group: int) -> Changes:
    """Shares of tasks and of linguistic levels (table 5, figure 3); nothing without labels."""
    if not annotations:
        return {}
    models = list(dict.fromkeys(annotation.component.model for annotation in annotations))
    parameters: ChangeRow = {
        "models": models,
        "rounds": sorted({annotation.round for annotation in annotations}),
        "components": len({annotation.component for annotation in annotations}),
        "group": group,
    }
    tables: Changes = {}
    kinds: tuple[Literal["task", "level"], ...] = ("task", "level")
    for kind in kinds:
        shares = label_shares(annotations, kind, group=group)
        tables[kind] = ChangeTable(kind, shares.summary, parameters, shares.hypothesis)
    return tables


def shown_components(rotation: ChangeTable) -> int:
    """Number of leading components the report looks at.

    K, but at most a quarter of the rank: subspaces that nearly fill the space agree whatever
    they are.
    """
    components: int = rotation.parameters["components"]
    rank: int = rotation.parameters["rank"]
    return _shown(components, rank)


def _shown(components: int, rank: int) -> int:
    return max(1, min(components, rank // 4))
