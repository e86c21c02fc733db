"""Commands for many prompts: ``study``, ``report`` and ``published`` (see `COMMANDS`)."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click

from twinlens.commands.options import (
    COUNT,
    PATH,
    WHOSE,
    ModelOptions,
    bar,
    budget_option,
    json_option,
    length_option,
    model_options,
    output_folder,
    template_option,
    together,
    valued,
)

if TYPE_CHECKING:
    from twinlens.studies.run.work import Response


#: Options of the analysis, the same for every source of cases.
report_options = together(
    click.option("--figures", is_flag=True, help="Save every figure as SVG and PNG too."),
    valued(
        "--spans",
        kind=["widened", "marked"],
        default="widened",
        about="The instruction widened to sentences, or as it was marked.",
    ),
    click.option("--answer-cut", type=COUNT, help="Use so many answer tokens."),
    valued(
        "--aggregation",
        kind=["sum / log2", "mean"],
        default="sum / log2",
        about="How the densities of the instruction make one score.",
    ),
    valued(
        "--normalisation",
        kind=["prompt maximum", "raw"],
        default="prompt maximum",
        about="What densities are divided by.",
    ),
    valued(
        "--norm",
        kind=click.FloatRange(min=1),
        default=4.0,
        about="p of the norm that importance is summed up with.",
    ),
    valued(
        "--threshold",
        kind=click.IntRange(min=0),
        default=7,
        about="Level below which importance does not count.",
    ),
    valued("--levels", kind=COUNT, default=10, about="Levels that importance is divided into."),
    budget_option(8.0, "report"),
    json_option,
)


@click.command()
@output_folder(required=True)
@valued(
    "--method",
    "methods",
    kind=str,
    multiple=True,
    default=("gradient_x_input",),
    about="Saliency method; may be given several times.",
)
@valued(
    "--response",
    kind=["own", "shared", "base", "tuned", "given"],
    default="own",
    about=f"{WHOSE}, or given (those in DATA).",
)
@length_option(300)
@template_option()
@click.option(
    "--column",
    "columns",
    type=(str, str),
    multiple=True,
    metavar="NAME COLUMN",
    help="Name of a column in DATA, such as: prompt question.",
)
@model_options(tuned=True)
@click.argument("data", type=PATH)
@click.option("--batch-size", type=COUNT, help="Prompts at once.  [default: 32, 128 or 256]")
@valued(
    "--engine",
    kind=["local", "ray"],
    default="local",
    about="This process, or a Ray cluster (RAY_ADDRESS, or this machine).",
)
@click.option(
    "--workers",
    type=COUNT,
    help="Workers of the cluster.  [default: one for each GPU, or each machine]",
)
@click.option(
    "--then",
    "later",
    multiple=True,
    metavar="MODEL",
    help="A checkpoint after TUNED, studied against BASE and against the one before it; may be "
    "given several times.",
)
@click.option(
    "--weights", is_flag=True, help="Also compare heads and concepts, from the weights alone."
)
@click.option(
    "--labels", type=PATH, help="File of labelled concepts (see twinlens.labels), compared too."
)
@report_options
def study(
    models: ModelOptions,
    data: Path,
    output: Path,
    methods: tuple[str, ...],
    response: Response | Literal["shared"],
    max_new_tokens: int,
    template: str | None,
    columns: tuple[tuple[str, str], ...],
    batch_size: int | None,
    engine: Literal["local", "ray"],
    workers: int | None,
    later: tuple[str, ...],
    weights: bool,
    labels: Path | None,
    **options: Any,
) -> None:
    """Run the prompts in DATA through BASE and TUNED; continues where it stopped.

    Models are hub ids, folders or .gguf files, or "demo demo".
    """
    from twinlens.labels.annotate import read_annotations
    from twinlens.studies.data.rows import read_rows, usable
    from twinlens.studies.run.study import check_options
    from twinlens.studies.run.study import study as run_study

    if later and (weights or labels):
        raise click.UsageError("--weights and --labels compare two models: leave out --then")
    if later and options.pop("figures"):
        raise click.UsageError("--figures saves those of two models: leave out --then")
    whose: Response = "tuned" if response == "shared" else response
    # Whatever can be wrong with them is said before models are loaded.
    names = dict(columns) or None
    check_options(methods, whose, engine, workers, batch_size, max_new_tokens)
    with warnings.catch_warnings(record=True) as notes:
        warnings.simplefilter("always")
        usable(read_rows(data, columns=names))
    for note in notes:
        click.echo(f"twinlens: {note.message}", err=True)
    annotations = read_annotations(labels) if labels else ()
    run: dict[str, Any] = {
        "methods": methods,
        "response": whose,
        "max_new_tokens": max_new_tokens,
        "template": template or False,
        "columns": names,
        "batch_size": batch_size,
        "engine": engine,
        "workers": workers,
    }
    if later:
        _chain(models, later, data, output, run, **options)
        return
    pair = models.load()
    with bar("prompts") as report, warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # said above
        store = run_study(pair, data, output, **run, report=report)
    if weights or labels:
        from twinlens.studies.analysis.weight_changes import weight_tables
        from twinlens.studies.data.change_tables import write_changes

        with bar("weights") as report:
            write_changes(output, weight_tables(pair, annotations=annotations, report=report))
    for problem in store.problems:
        click.echo(f"row {problem.number} set aside: {problem.message}", err=True)
    _report(store, output, problems=store.problems, **options)


@click.command()
@click.argument("folder", type=PATH)
@output_folder(about="Folder to write into.  [default: FOLDER]")
@click.option("--method", help="Saliency method; the first by default.")
@click.option(
    "--ratings",
    type=PATH,
    help="File with the columns id and rating (1 to 4) or followed, of tuned's answers.",
)
@report_options
def report(
    folder: Path, output: Path | None, method: str | None, ratings: Path | None, **options: Any
) -> None:
    """Analyse the study in FOLDER again, with other settings; needs no models."""
    from twinlens.studies.data.ratings import rate
    from twinlens.studies.data.store import Store

    store = Store(folder, method)
    cases = rate(store, ratings) if ratings else store
    _report(cases, output or folder, problems=store.problems, **options)


@click.command()
@click.argument("folder", type=PATH)
@output_folder(required=True)
@report_options
def published(folder: Path, output: Path, **options: Any) -> None:
    """Report on the authors' published result files in FOLDER; needs no models."""
    from twinlens.studies.data.published import import_published

    _report(import_published(folder), output, problems=(), **options)


COMMANDS = (study, report, published)


def _chain(
    models: ModelOptions,
    later: tuple[str, ...],
    data: Path,
    out: Path,
    run: dict[str, Any],
    *,
    as_json: bool,
    budget_mb: float,
    spans: Literal["widened", "marked"],
    **parameters: Any,
) -> None:
    from twinlens.measures.density import DensityParameters
    from twinlens.studies.analysis.chain_analysis import analyse_chain
    from twinlens.studies.analysis.scoring import Settings
    from twinlens.studies.report.chain_report import write_chain_report
    from twinlens.studies.run.study import study as run_study

    load = {name: value for name, value in vars(models).items() if value is not None}
    chain = [load.pop("base"), load.pop("tuned"), *later]
    if {"base_revision", "tuned_revision"} & set(load):
        raise click.UsageError("revisions are those of two models: name folders of a chain")
    with bar("prompts") as report, warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # said before
        studied = run_study(chain, data, out, load=load, report=report, **run)
    settings = Settings(DensityParameters(**parameters), spans)
    page = write_chain_report(studied, settings=settings, budget_mb=budget_mb)
    analysis = analyse_chain(studied, settings)
    if as_json:
        summary = {"findings": analysis.found, "report": str(page), **analysis.records()}
        click.echo(json.dumps(_plain(summary)))
        return
    click.echo("\n\n".join(analysis.found))
    click.echo(f"\n{page} ({page.stat().st_size / 1e6:.1f} MB)")


def _report(
    cases: Any,
    out: Path,
    *,
    problems: Any,
    as_json: bool,
    budget_mb: float,
    spans: Literal["widened", "marked"],
    figures: bool,
    **parameters: Any,
) -> None:
    from twinlens.measures.density import DensityParameters
    from twinlens.studies.analysis.scoring import Settings
    from twinlens.studies.analysis.sentences import findings
    from twinlens.studies.analysis.tables import write_tables
    from twinlens.studies.report.report import write_report

    out.mkdir(parents=True, exist_ok=True)
    page = write_report(
        cases,
        out / "report.html",
        settings=Settings(DensityParameters(**parameters), spans),
        problems=problems,
        budget_mb=budget_mb,
    )
    tables = write_tables(
        page.analysis, page.outcomes, out / "tables", changes=page.changes, pair=cases.pair
    )
    figure_paths = page.save_figures(out / "figures") if figures else []
    statements = findings(page.analysis, page.outcomes, page.changes)
    if as_json:
        summary = {
            "findings": statements,
            "comparisons": page.analysis.records()["comparisons"],
            "set_aside": len(problems),
            "report": str(page.path),
            "tables": [str(path) for path in tables],
            "figures": [str(path) for path in figure_paths],
        }
        click.echo(json.dumps(_plain(summary)))
        return
    click.echo("\n\n".join(statements))
    click.echo(f"\n{page.path} ({page.size / 1e6:.1f} MB), tables in {out / 'tables'}")


def _plain(value: Any) -> Any:
    """NaN as null: JSON knows no NaN."""
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_plain(item) for item in value]
    return None if isinstance(value, float) and value != value else value
