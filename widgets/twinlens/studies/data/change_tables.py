"""Tables about the weights, in the folder of a study."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeAlias

import numpy as np

from twinlens.errors import StudyError
from twinlens.support.files import replacing

TableName: TypeAlias = Literal["heads", "words", "rotation", "added", "task", "level"]
#: In the order of the report.
NAMES: tuple[TableName, ...] = ("heads", "words", "task", "level", "rotation", "added")
FOLDER = "changes"


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
    rows: tuple[dict[str, Any], ...]
    parameters: dict[str, Any]
    hypothesis: str = ""

    def records(self) -> list[dict[str, Any]]:
        """Rows with the settings in each, for files that are read by others."""
        flat = {
            f"setting_{key}": value if isinstance(value, str | int | float) else json.dumps(value)
            for key, value in self.parameters.items()
        }
        if self.hypothesis:
            flat["hypothesis"] = self.hypothesis
        return [{**row, **flat} for row in self.rows]


Changes: TypeAlias = dict[TableName, ChangeTable]


def write_changes(folder: str | Path, tables: Changes) -> None:
    """Put tables into the folder of a study; those of the same name are replaced.

    Parameters
    ----------
    folder : path
        Of the study; made if it is not there.
    tables : mapping
        From `weight_tables`.

    Raises
    ------
    OutputError
        If they cannot be written there.

    Examples
    --------
    >>> import twinlens as tl
    >>> from twinlens.studies import weight_tables, write_changes
    >>> write_changes("opposites", weight_tables(tl.demo_pair()))
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    root = Path(folder) / FOLDER
    root.mkdir(parents=True, exist_ok=True)
    for name, table in tables.items():
        about = {"parameters": table.parameters, "hypothesis": table.hypothesis}
        rows = pa.Table.from_pylist([plain(row) for row in table.rows])
        with replacing(root / f"{name}.parquet") as stream:
            pq.write_table(rows.replace_schema_metadata({"twinlens": json.dumps(about)}), stream)


def read_changes(folder: str | Path) -> Changes:
    """Tables in the folder of a study, none if there are none.

    Raises
    ------
    StudyError
        If a file is damaged.
    """
    tables: Changes = {}
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
            tables[name] = ChangeTable(name, rows, about["parameters"], about["hypothesis"])
        except (pa.ArrowException, OSError, KeyError, ValueError) as error:
            raise StudyError(
                f"{FOLDER}/{path.name} is damaged ({error}): remove it and make the tables again"
            ) from error
    return tables


def plain(value: Any) -> Any:
    """As it comes back from JSON: lists, and numbers of Python."""
    if isinstance(value, Mapping):
        return {key: plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [plain(inner) for inner in value]
    return value.item() if isinstance(value, np.generic) else value
