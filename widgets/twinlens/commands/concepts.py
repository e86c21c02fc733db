"""Command ``concepts``: feed-forward components of two models as tables, figures and labels."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from twinlens.commands.options import (
    COUNT,
    PATH,
    ModelFiles,
    bar,
    file_options,
    json_option,
    output_folder,
    valued,
)

if TYPE_CHECKING:
    from twinlens.labels.questions import Annotation
    from twinlens.weights.rotation_table import ConceptComparison


@click.command()
@output_folder(required=True)
@click.option(
    "--components",
    type=COUNT,
    help="Leading components per layer; the paper looks at 300.  [default: 50, or the rank]",
)
@valued("--words", kind=COUNT, default=15, about="Words per component.")
@valued(
    "--vocabulary",
    kind=str,
    default="tokens",
    about="tokens, words (20,000 English words), or a file with one word per line.",
)
@click.option("--layer", "layers", type=int, multiple=True, help="A layer; all by default.")
@click.option("--labels", type=PATH, help="Names and labels from a file.")
@click.option("--endpoint", help="Base URL of an OpenAI-compatible endpoint that names components.")
@click.option("--model", help="Model behind the endpoint; the key is in OPENAI_API_KEY.")
@valued(
    "--rounds", kind=COUNT, default=5, about="How often the endpoint is asked for each component."
)
@file_options
@json_option
def concepts(
    models: ModelFiles,
    output: Path,
    components: int | None,
    words: int,
    vocabulary: str,
    layers: tuple[int, ...],
    labels: Path | None,
    endpoint: str | None,
    model: str | None,
    rounds: int,
    as_json: bool,
) -> None:
    """Compare the feed-forward components of BASE and TUNED, from weights alone.

    They are hub ids, folders or safetensors files. Writes tables and figures into a folder;
    finished layers and answers are kept, so that stopped work goes on where it was.
    """
    from twinlens.commands.result_files import write_concepts
    from twinlens.compute.concepts.compare import compare_concepts
    from twinlens.compute.concepts.components import ConceptSettings
    from twinlens.compute.models.sources import load_tokenizer, tokenizer_source
    from twinlens.compute.models.weights import stored_weights
    from twinlens.labels.annotate import read_annotations
    from twinlens.weights.vocabulary import vocabulary as read_vocabulary

    if bool(endpoint) != bool(model):
        raise click.UsageError("--endpoint and --model go together")
    if labels and endpoint:
        raise click.UsageError("labels come from --labels or from --endpoint, not from both")
    settings = ConceptSettings(
        components=components,
        words=words,
        vocabulary="tokens" if vocabulary == "tokens" else _vocabulary(vocabulary, read_vocabulary),
    )
    annotations = read_annotations(labels) if labels else []
    with bar("components") as report:
        comparison = compare_concepts(
            stored_weights(models.base, models.base_revision),
            stored_weights(models.tuned, models.tuned_revision),
            load_tokenizer(tokenizer_source(models.tokenizer), False) if models.tokenizer else None,
            settings=settings,
            layers=layers or None,
            report=report,
        )
    written = write_concepts(comparison, output)
    if endpoint and model:
        annotations = _ask(comparison, endpoint, model, words, rounds)
    if annotations:
        written += _write_labels(output, annotations)
    summary = {
        **comparison.parameters,
        "layers": [
            {"layer": row["layer"], "angle": row["mean"], "random": row["null_mean"]}
            for row in comparison.rotation.rows()
        ],
        "files": [str(path) for path in written],
    }
    click.echo(json.dumps(summary, indent=2) if as_json else _as_text(summary))


def _vocabulary(source: str, read: Any) -> Any:
    return read() if source == "words" else read(Path(source))


def _ask(
    comparison: ConceptComparison, endpoint: str, model: str, words: int, rounds: int
) -> list[Annotation]:
    from twinlens.labels.annotate import annotate, components_of
    from twinlens.labels.endpoint import Endpoint

    components = [
        component
        for layer, block in comparison.blocks.items()
        for component in components_of(layer, block, words)
    ]
    with bar("naming components") as report:
        return annotate(components, Endpoint(model, endpoint), rounds=range(rounds), report=report)


def _write_labels(out: Path, annotations: list[Annotation]) -> list[Path]:
    from twinlens.commands.result_files import write_figure, write_table
    from twinlens.figures.paper_figures import label_figure
    from twinlens.labels.annotate import write_annotations
    from twinlens.labels.shares import label_shares

    write_annotations(out / "labels.csv", annotations)
    written = [out / "labels.csv"]
    for kind, name in (("task", "tasks"), ("level", "levels")):
        shares = label_shares(annotations, kind)  # type: ignore[arg-type]
        rows = [{**row, "hypothesis": shares.hypothesis} for row in shares.summary]
        written.append(write_table(out / f"{name}.csv", rows))
        written.append(write_figure(out / f"{name}.html", label_figure(shares), name.title()))
    return written


def _as_text(summary: dict[str, Any]) -> str:
    lines = [f"{summary['base']} and {summary['tuned']}: {summary['components']} components"]
    lines += [
        f"  layer {row['layer']:3}  mean angle {row['angle']:6.2f}°  (random {row['random']:.2f}°)"
        for row in summary["layers"]
    ]
    return "\n".join([*lines, *(f"Written  {path}" for path in summary["files"])])
