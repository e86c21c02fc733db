"""Tidy tables of a study as Parquet and CSV, the settings in every row."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq

from twinlens.contract.manifest import PairInfo
from twinlens.contract.words import SIDES
from twinlens.studies.analysis.analysis import Analysis
from twinlens.studies.analysis.variants import VariantOutcome, shares
from twinlens.studies.data.change_tables import Changes


def all_records(
    analysis: Analysis, outcomes: Sequence[VariantOutcome], changes: Changes | None = None
) -> dict[str, list[dict[str, Any]]]:
    """Every tidy table of a study by name: those of the analysis, of robustness, of weights."""
    return {
        **analysis.records(),
        "robustness": [outcome.record() for outcome in outcomes],
        "robustness_shares": [dataclasses.asdict(share) for share in shares(outcomes)],
        **{f"weights_{name}": table.records() for name, table in (changes or {}).items()},
    }


def write_tables(
    analysis: Analysis,
    outcomes: Sequence[VariantOutcome],
    folder: str | Path,
    *,
    changes: Changes | None = None,
    pair: PairInfo | None = None,
) -> list[Path]:
    """Write every table of `all_records` as two files.

    Parameters
    ----------
    analysis, outcomes
        From `analyse` and `robustness`, or of a `ReportFile`.
    folder : path
        Made if it is not there.
    changes : mapping, optional
        Tables of heads and concepts, written too.
    pair : PairInfo, optional
        Its names and weights then stand in every row.

    Returns
    -------
    list of Path
        The files written.

    Raises
    ------
    OutputError
        If they cannot be written there.

    Examples
    --------
    >>> import twinlens as tl
    >>> prompts = [{"prompt": "Make this sentence negative: The cat swims."}]
    >>> store = tl.study(tl.demo_pair(), prompts, "opposites", template=True, max_new_tokens=12)
    >>> from twinlens.studies import analyse, robustness, write_tables
    >>> files = write_tables(analyse(store), robustness(store), "opposites/tables", pair=store.pair)
    """
    root = Path(folder)
    root.mkdir(parents=True, exist_ok=True)
    models: dict[str, str] = {}
    if pair is not None:
        for side in SIDES:
            model = getattr(pair, side)
            models |= {f"{side}_model": model.name, f"{side}_revision": model.revision}
    written = []
    for name, rows in all_records(analysis, outcomes, changes).items():
        if not rows:
            continue
        table = pa.Table.from_pylist([{**row, **models} for row in rows])
        pq.write_table(table, root / f"{name}.parquet")
        pyarrow.csv.write_csv(table, root / f"{name}.csv")
        written += [root / f"{name}.parquet", root / f"{name}.csv"]
    return written
