"""Commands for many prompts: ``study``, ``report`` and ``published`` (see `COMMANDS`)."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click

from twinlens.commands.options import (
    PATH,
    WHOSE,
    ModelOptions,
    bar,
    json_option,
    length_option,
    model_options,
    output_folder,
    template_option,
)

if TYPE_CHECKING:
    from twinlens.studies.run.work import Response


def report_options(command: Any) -> Any:
    """Options of the analysis, the same for every source of cases."""
    for option in (
        json_option,
        click.option(
            "--budget-mb",
            type=click.FloatRange(min=0, min_open=True),
            default=8.0,
            show_default=True,
            help="Largest size of the report.",
        ),
        click.option(
            "--levels",
            type=click.IntRange(min=1),
            default=10,
            show_default=True,
            help="Levels that importance is divided into.",
        ),
        click.option(
            "--threshold",
            type=click.IntRange(min=0),
            default=7,
            show_default=True,
            help="Level below which importance does not count.",
        ),
        click.option(
            "--norm",
            type=click.FloatRange(min=1),
            default=4.0,
            show_default=True,
            help="p of the norm that importance is summed up with.",
        ),
        click.option(
            "--normalisation",
            type=click.Choice(["prompt maximum", "raw"]),
            default="prompt maximum",
            show_default=True,
            help="What densities are divided by.",
        ),
        click.option(
            "--aggregation",
            type=click.Choice(["sum / log2", "mean"]),
            default="sum / log2",
            show_default=True,
            help="How the densities of the instruction make one score.",
        ),
        click.option("--answer-cut", type=click.IntRange(min=1), help="Use so many answer tokens."),
        click.option(
            "--spans",
            type=click.Choice(["widened", "marked"]),
            default="widened",
            show_default=True,
            help="The instruction widened to sentences, or as it was marked.",
        ),
        click.option("--figures", is_flag=True, help="Save every figure as SVG and PNG too."),
    ):
        command = option(command)
    return command


@click.command()
@output_folder(required=True)
@click.option(
    "--method",
    "methods",
    multiple=True,
    default=("gradient_x_input",),
    show_default=True,
    help="Saliency method; may be given several times.",
)
@click.option(
    "--response",
    type=click.Choice(["own", "shared", "base", "tuned", "given"]),
    default="own",
    show_default=True,
    help=f"{WHOSE}, or given (those in DATA).",
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
@click.option(
    "--batch-size", type=click.IntRange(min=1), help="Prompts at once.  [default: 32, or 256]"
)
@click.option(
    "--engine",
    type=click.Choice(["local", "ray"]),
    default="local",
    show_default=True,
    help="This process, or a Ray cluster (RAY_ADDRESS, or this machine).",
)
@click.option(
    "--workers",
    type=click.IntRange(min=1),
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
        store = run_study(
            pair,
            data,
            output,
            **run,
            report=report,
        )
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
