"""Many prompts: data in, attributions to Parquet, statistics, one report out.

>>> from twinlens.studies import study, write_report, write_tables
>>> store = study(pair, "prompts.jsonl", out="study")         # runs the models, can be continued
>>> page = write_report(store, "study/report.html")           # does not
>>> write_tables(page.analysis, page.outcomes, "study/tables", pair=store.pair)
>>> page.save_figures("study/figures")                        # SVG and PNG, by a browser

Answers are known after the run, so are ratings of them: `rate` adds these. `weight_tables` answers
the paper's questions about heads and concepts, and `write_changes` puts that into the study, where
the report finds it.
`import_published` gives the published attributions of the paper in place of a study of one's own.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from twinlens.measures.density import DensityParameters
    from twinlens.studies.analysis.chain_analysis import analyse_chain
    from twinlens.studies.analysis.scoring import Settings
    from twinlens.studies.analysis.statistics import analyse
    from twinlens.studies.analysis.tables import write_tables
    from twinlens.studies.analysis.variants import robustness
    from twinlens.studies.analysis.weight_changes import weight_tables
    from twinlens.studies.data.change_tables import write_changes
    from twinlens.studies.data.published import import_published
    from twinlens.studies.data.ratings import rate
    from twinlens.studies.data.rows import collect_rows, read_rows
    from twinlens.studies.data.store import Store
    from twinlens.studies.report.chain_report import write_chain_report
    from twinlens.studies.report.report import write_report
    from twinlens.studies.run.chain import Chain
    from twinlens.studies.run.study import study

_HOMES = {
    "Chain": "twinlens.studies.run.chain",
    "analyse_chain": "twinlens.studies.analysis.chain_analysis",
    "write_chain_report": "twinlens.studies.report.chain_report",
    "DensityParameters": "twinlens.measures.density",
    "Settings": "twinlens.studies.analysis.scoring",
    "Store": "twinlens.studies.data.store",
    "analyse": "twinlens.studies.analysis.statistics",
    "collect_rows": "twinlens.studies.data.rows",
    "import_published": "twinlens.studies.data.published",
    "rate": "twinlens.studies.data.ratings",
    "read_rows": "twinlens.studies.data.rows",
    "robustness": "twinlens.studies.analysis.variants",
    "study": "twinlens.studies.run.study",
    "weight_tables": "twinlens.studies.analysis.weight_changes",
    "write_changes": "twinlens.studies.data.change_tables",
    "write_report": "twinlens.studies.report.report",
    "write_tables": "twinlens.studies.analysis.tables",
}

__all__ = [
    "Chain",
    "DensityParameters",
    "Settings",
    "Store",
    "analyse",
    "analyse_chain",
    "collect_rows",
    "import_published",
    "rate",
    "read_rows",
    "robustness",
    "study",
    "weight_tables",
    "write_chain_report",
    "write_changes",
    "write_report",
    "write_tables",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'twinlens.studies' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
