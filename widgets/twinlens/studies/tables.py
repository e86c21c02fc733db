"""Tidy tables of a study as Parquet and CSV, the settings in every row."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq

from twinlens.studies.robustness import Outcome, shares
from twinlens.studies.statistics import Analysis


def write_tables(analysis: Analysis, outcomes: Sequence[Outcome], folder: str | Path) -> list[Path]:
    """Write scores, groups, tests, profiles, robustness and shares, each as two files.

    Returns
    -------
    list of Path
        The files written.
    """
    root = Path(folder)
    root.mkdir(parents=True, exist_ok=True)
    records: dict[str, list[dict[str, Any]]] = analysis.records()
    records["robustness"] = [outcome.record() for outcome in outcomes]
    records["robustness_shares"] = [dataclasses.asdict(share) for share in shares(outcomes)]
    written = []
    for name, rows in records.items():
        if not rows:
            continue
        table = pa.Table.from_pylist(rows)
        pq.write_table(table, root / f"{name}.parquet")
        pyarrow.csv.write_csv(table, root / f"{name}.csv")
        written += [root / f"{name}.parquet", root / f"{name}.csv"]
    return written
