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
    from twinlens.measures.density import DensityParameters as DensityParameters
    from twinlens.studies.analysis.chain_analysis import analyse_chain as analyse_chain
    from twinlens.studies.analysis.scoring import Settings as Settings
    from twinlens.studies.analysis.statistics import analyse as analyse
    from twinlens.studies.analysis.tables import write_tables as write_tables
    from twinlens.studies.analysis.variants import robustness as robustness
    from twinlens.studies.analysis.weight_changes import weight_tables as weight_tables
    from twinlens.studies.data.change_tables import write_changes as write_changes
    from twinlens.studies.data.published import import_published as import_published
    from twinlens.studies.data.ratings import rate as rate
    from twinlens.studies.data.rows import collect_rows as collect_rows
    from twinlens.studies.data.rows import read_rows as read_rows
    from twinlens.studies.data.store import Store as Store
    from twinlens.studies.report.chain_report import write_chain_report as write_chain_report
    from twinlens.studies.report.report import write_report as write_report
    from twinlens.studies.run.chain import Chain as Chain
    from twinlens.studies.run.study import study as study

#: Public names by the module that holds them; it is imported when one is first asked for.
_NAMES = {
    "measures.density": ("DensityParameters",),
    "studies.analysis.chain_analysis": ("analyse_chain",),
    "studies.analysis.scoring": ("Settings",),
    "studies.analysis.statistics": ("analyse",),
    "studies.analysis.tables": ("write_tables",),
    "studies.analysis.variants": ("robustness",),
    "studies.analysis.weight_changes": ("weight_tables",),
    "studies.data.change_tables": ("write_changes",),
    "studies.data.published": ("import_published",),
    "studies.data.ratings": ("rate",),
    "studies.data.rows": ("collect_rows", "read_rows"),
    "studies.data.store": ("Store",),
    "studies.report.chain_report": ("write_chain_report",),
    "studies.report.report": ("write_report",),
    "studies.run.chain": ("Chain",),
    "studies.run.study": ("study",),
}
_HOMES = {name: f"twinlens.{module}" for module, names in _NAMES.items() for name in names}

__all__ = [*_HOMES]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'twinlens.studies' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
