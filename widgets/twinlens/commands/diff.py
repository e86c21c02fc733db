"""Command ``twinlens diff``: what differs between the files of two models."""

from __future__ import annotations

import json
from pathlib import Path

import click

from twinlens.commands.options import bar, json_option, output_file
from twinlens.commands.result_files import write_table


@click.command()
@click.argument("base")
@click.argument("tuned", required=False)
@output_file(".csv", about=".csv: one row per tensor.")
@click.option("--base-revision", help="Branch, tag or commit of BASE on the hub.")
@click.option("--tuned-revision", help="Branch, tag or commit of TUNED on the hub.")
@json_option
@click.pass_context
def diff(
    ctx: click.Context,
    /,
    base: str,
    tuned: str | None,
    output: Path | None,
    as_json: bool,
    **revisions: str | None,
) -> None:
    """Say whether TUNED is BASE, trained: from their files, without a prompt.

    Reads the weights of two models (hub ids, folders or safetensors files) pair by pair and says
    which tensors differ, by how much and in how many directions, and what differs in tokenizer,
    chat template, special tokens and generation settings. A LoRA adapter alone is compared with
    the model that it names.

    \b
    Exit codes:
      0  the same weights
      3  the same in another precision
      4  the same but for quantisation
      5  trained
      6  not two states of one model
      1  an error; 2  wrong usage
    """
    from twinlens.compute.update.stored_diff import diff_of_files

    with bar("comparing tensors") as report:
        diff_result = diff_of_files(base, tuned, **revisions, report=report)
    if output is not None:
        write_table(output, diff_result.rows())
    if as_json:
        click.echo(json.dumps(diff_result.to_json(), ensure_ascii=False, indent=2))
    else:
        click.echo(str(diff_result))
    ctx.exit(diff_result.exit_code)
