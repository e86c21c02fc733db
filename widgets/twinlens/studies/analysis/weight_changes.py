"""Questions 2 and 3 of the paper as tidy tables: what tuning changed in heads and concepts.

They depend on the weights (and on who labels), not on the prompts of a study, but belong into the
same report. `weight_tables` makes them, `write_changes` puts them into the folder of a study, and
`read_changes` finds them there again, so that a report is rewritten without the models.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import numpy as np

from twinlens.errors import StudyError
from twinlens.labels.annotate import Annotation
from twinlens.labels.shares import label_shares
from twinlens.support.files import replacing
from twinlens.support.progress import Report
from twinlens.weights.word_pair_table import RiseTable, rise_shares, rise_table

if TYPE_CHECKING:
    from twinlens.compute.pair import Pair
    from twinlens.weights.rotation import Rotation
    from twinlens.weights.word_pairs import WordPairs

ChangeRow: TypeAlias = dict[str, Any]
TableName: TypeAlias = Literal["heads", "words", "rotation", "added", "task", "level"]
#: In the order of the report.
NAMES: tuple[TableName, ...] = ("heads", "words", "task", "level", "rotation", "added")
FOLDER = "changes"
#: K of the rotation, as in the paper, where the rank is not smaller.
COMPONENTS = 300


@dataclass(frozen=True)
class ChangeTable:
    """One tidy table about the weights.

    Attributes
    ----------
    name : str
        ``heads``: how often words rise, by list and layers (table 3); ``words``: the same per
        word. ``task``, ``level``: shares of labels of the concepts (table 5, figure 3).
        ``rotation``: angles and shares by layer and number of components; ``added``: words of
        what tuning added.
    rows : tuple of dict
    parameters : dict
        Every setting, plain JSON values.
    hypothesis : str
        What ``p`` tests, if there is one.
    """

    name: TableName
    rows: tuple[ChangeRow, ...]
    parameters: ChangeRow
    hypothesis: str = ""

    def records(self) -> list[ChangeRow]:
        """Rows with the settings in each, for files that are read by others."""
        flat = {
            f"setting_{key}": value if isinstance(value, str | int | float) else json.dumps(value)
            for key, value in self.parameters.items()
        }
        if self.hypothesis:
            flat["hypothesis"] = self.hypothesis
        return [{**row, **flat} for row in self.rows]


Changes: TypeAlias = dict[TableName, ChangeTable]


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

    Raises
    ------
    VocabularyError, PairMismatchError, HeadIndexError
        As the functions behind it.
    """
    from twinlens.compute.concepts.rotation import Settings as RotationSettings
    from twinlens.compute.concepts.rotation import pair_rotation
    from twinlens.weights.vocabulary import general_verbs, instruction_verbs

    if lists is None:
        lists = {"general verbs": general_verbs(), "instruction verbs": instruction_verbs()}
    size = group or max(1, pair.info.layers // 4)
    found = pair.word_pairs(cache=cache, report=report, **search)
    tables = heads_tables(found.base, found.tuned, lists, group=size)
    rank = min(pair.info.intermediate - 1, pair.info.hidden)
    chosen = RotationSettings(counts=(_shown(COMPONENTS, rank), min(COMPONENTS, rank)), cache=cache)
    tables |= rotation_tables(pair_rotation(pair, settings=chosen, report=report))
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
        "heads": ChangeTable("heads", rise.rows, _plain(rise.parameters), rise.hypothesis),
        "words": ChangeTable("words", tuple(rows), _plain(rise.parameters)),
    }


def rotation_tables(rotation: Rotation) -> Changes:
    """Angles and shares for every number of components, and the words of what was added."""
    parameters = _plain({"base": rotation.base, "tuned": rotation.tuned, **rotation.parameters})
    tables: Changes = {
        "rotation": ChangeTable("rotation", tuple(rotation.rows()), parameters),
        "added": ChangeTable("added", tuple(rotation.added_rows()), parameters),
    }
    return {name: table for name, table in tables.items() if table.rows}


def label_tables(annotations: Sequence[Annotation], *, group: int) -> Changes:
    """Shares of tasks and of linguistic levels (table 5, figure 3); nothing without labels."""
    if not annotations:
        return {}
    models = list(dict.fromkeys(one.component.model for one in annotations))
    parameters: ChangeRow = {
        "models": models,
        "rounds": sorted({one.round for one in annotations}),
        "components": len({one.component for one in annotations}),
        "group": group,
    }
    found: Changes = {}
    kinds: tuple[Literal["task", "level"], ...] = ("task", "level")
    for kind in kinds:
        shares = label_shares(annotations, kind, group=group)
        found[kind] = ChangeTable(kind, shares.summary, parameters, shares.hypothesis)
    return found


def write_changes(folder: str | Path, tables: Changes) -> None:
    """Put tables into the folder of a study; those of the same name are replaced."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    root = Path(folder) / FOLDER
    root.mkdir(parents=True, exist_ok=True)
    for name, table in tables.items():
        about = {"parameters": table.parameters, "hypothesis": table.hypothesis}
        rows = pa.Table.from_pylist([_plain(row) for row in table.rows])
        with replacing(root / f"{name}.parquet") as stream:
            pq.write_table(rows.replace_schema_metadata({"twinlens": json.dumps(about)}), stream)


def read_changes(folder: str | Path) -> Changes:
    """Tables in the folder of a study, none if there are none.

    Raises
    ------
    StudyError
        If a file is damaged.
    """
    found: Changes = {}
    for name in NAMES:
        path = Path(folder) / FOLDER / f"{name}.parquet"
        if not path.exists():
            continue
        import pyarrow as pa
        import pyarrow.parquet as pq

        try:
            table = pq.read_table(path)
            about = json.loads((table.schema.metadata or {})[b"twinlens"])
            rows = tuple(table.to_pylist())
            found[name] = ChangeTable(name, rows, about["parameters"], about["hypothesis"])
        except (pa.ArrowException, OSError, KeyError, ValueError) as error:
            raise StudyError(
                f"{FOLDER}/{path.name} is damaged ({error}): remove it and make the tables again"
            ) from error
    return found


def _plain(value: Any) -> Any:
    """As it comes back from JSON: lists, and numbers of Python."""
    if isinstance(value, Mapping):
        return {key: _plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(inner) for inner in value]
    return value.item() if isinstance(value, np.generic) else value


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
