"""Command line: ``twinlens demo``, ``explain``, ``open``, ``diff``, ``concepts``, and many prompts.

Results go to standard output, progress and errors to standard error. Exit codes: 0 done, 1 an
error said in one line, 2 wrong usage, 130 stopped with Ctrl-C.
"""

from __future__ import annotations

import json
import os
import sys
import webbrowser
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from twinlens import __version__
from twinlens.commands.concepts import concepts
from twinlens.commands.head_commands import heads
from twinlens.commands.options import (
    PATH,
    TEXT,
    ModelOptions,
    bar,
    json_option,
    model_options,
    output_file,
    page_options,
    prompt_options,
    read_chat,
    read_prompt_text,
    template_option,
)
from twinlens.commands.result_files import write_table
from twinlens.commands.study_commands import COMMANDS
from twinlens.contract.words import EXACT, SIDES
from twinlens.errors import TwinlensError
from twinlens.measures.findings_text import Findings
from twinlens.measures.plain_text import findings_of
from twinlens.measures.summary import changed_heads, changed_layers, trace_score
from twinlens.pages.live_page import demo_prompts
from twinlens.pages.page import to_html
from twinlens.support.files import check_file
from twinlens.traces import recording
from twinlens.traces.trace import Trace

#: Raised by click 8.2 and later where a command has no arguments.
_HELP: Any = getattr(click.exceptions, "NoArgsIsHelpError", ())
DEMO_PAGE = "twinlens-demo.html"


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


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="twinlens")
def twinlens() -> None:
    """A language model and its instruction-tuned twin, side by side."""


@twinlens.command()
@click.option(
    "--prompt", type=TEXT, help="What both models read.  [default: the first prepared prompt]"
)
@output_file(".html", default=Path(DEMO_PAGE), show_default=True, about="Page to write.")
@click.option(
    "--live",
    is_flag=True,
    help="Write a page in which both models run on whatever its reader types, with --prompt first.",
)
@prompt_options
@page_options
def demo(
    prompt: str | None,
    live: bool,
    instruction: tuple[str, ...],
    context: tuple[str, ...],
    **options: Any,
) -> None:
    """Run the embedded pair on a prompt and write a page; needs no network."""
    from twinlens.compute.pair import demo_pair

    if live:
        _live(prompt, instruction, context, **options)
        return
    if prompt is None:
        prepared = demo_prompts()[0]
        prompt = prepared["prompt"]
        instruction = instruction or (prepared["instruction"],)
        context = context or (prepared["context"],)
    prompt = read_prompt_text(prompt)
    _explain(demo_pair, prompt, instruction, context=context, template=True, **options)


@twinlens.command()
@click.option("--prompt", type=TEXT, help="What both models read; - reads standard input.")
@click.option(
    "--messages",
    type=PATH,
    help="JSON file of a chat that both models read, instead of --prompt: a list of messages with "
    "role and content.",
)
@template_option(own=True)
@output_file(".html", required=True, about="Page to write.")
@prompt_options
@model_options(tuned=False)
@page_options
def explain(
    models: ModelOptions,
    prompt: str | None,
    messages: Path | None,
    instruction: tuple[str, ...],
    template: str | None,
    **options: Any,
) -> None:
    """Run BASE and TUNED (hub ids, folders or .gguf files) on a prompt and write a page.

    A PEFT adapter alone is run beside the model that it names as its base.
    """
    text: str | list[Any]
    if prompt is not None and messages is None:
        text = read_prompt_text(prompt)
    elif messages is not None and prompt is None:
        text = read_chat(messages)
    else:
        raise click.UsageError("Give either --prompt or --messages.")
    _explain(models.load, text, instruction, template=template, **options)


@twinlens.command("open")
@click.argument("recorded", metavar="FILE.twl", type=PATH)
@output_file(".html", about="Page to write.  [default: FILE.html]")
@page_options
def open_recording(recorded: Path, output: Path | None, as_json: bool, **options: Any) -> None:
    """Summarise a recording and write its page; needs no models."""
    trace = recording.read(recorded)
    page = output or recorded.with_suffix(".html")
    check_file(page)
    _finish(trace, page, as_json=as_json, saved=None, **options)


for command in (*COMMANDS, concepts, diff, heads):
    twinlens.add_command(command)


def main(arguments: list[str] | None = None) -> None:
    """Run the command line and exit."""
    if not sys.stderr.isatty():
        # Bars of the libraries: what is no terminal keeps every state of them.
        os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    try:
        code = twinlens.main(arguments, prog_name="twinlens", standalone_mode=False)
    except TwinlensError as error:
        click.echo(f"twinlens: {error}", err=True)
        code = 1
    except ImportError as error:
        extras = "twinlens[frames,labels,study,words]"
        click.echo(f"twinlens: {error}: install what it needs, such as {extras}", err=True)
        code = 1
    except OSError as error:
        where = f": {error.filename}" if error.filename else ""
        click.echo(f"twinlens: {error.strerror or error}{where}", err=True)
        code = 1
    except _HELP as error:
        error.show()
        code = error.exit_code
    except click.UsageError as error:
        path = error.ctx.command_path if error.ctx else "twinlens"
        message = " ".join(error.format_message().split())
        click.echo(f"twinlens: {message} (see {path} --help)", err=True)
        code = error.exit_code
    except click.ClickException as error:
        error.show()
        code = error.exit_code
    except (KeyboardInterrupt, click.Abort):
        click.echo("twinlens: stopped; files that were complete are kept", err=True)
        code = 130
    sys.exit(code if isinstance(code, int) else 0)


def _live(
    prompt: str | None,
    instruction: tuple[str, ...],
    context: tuple[str, ...],
    *,
    output: Path,
    max_new_tokens: int,
    title: str | None,
    show: bool | None,
    save: Path | None,
    as_json: bool,
    response: str,
    answer: str | None,
    **_: Any,
) -> None:
    """Write a page that runs the embedded pair."""
    from twinlens.api import live_page

    chosen = (save is not None, as_json, response != "shared", answer is not None)
    names = ("--save", "--json", "--response", "--answer")
    unused = [name for name, given in zip(names, chosen, strict=True) if given]
    if unused:
        raise click.UsageError(f"With --live the reader chooses: leave out {', '.join(unused)}.")
    examples: list[dict[str, str]] = demo_prompts()
    if prompt is not None:
        parts = {"instruction": " ".join(instruction), "context": " ".join(context)}
        examples.insert(0, {"title": "Given", "prompt": read_prompt_text(prompt), **parts})
    page = live_page(output, examples=examples, max_new_tokens=max_new_tokens, title=title)
    click.echo(f"Page       {page} ({page.stat().st_size / 1e6:.1f} MB)")
    if show or (show is None and _has_screen()):
        webbrowser.open(output.resolve().as_uri())


def _explain(
    load: Callable[[], Any],
    prompt: str | list[Any],
    instruction: tuple[str, ...],
    *,
    template: str | bool | None,
    context: tuple[str, ...],
    response: str,
    answer: str | None,
    max_new_tokens: int,
    save: Path | None,
    output: Path,
    as_json: bool,
    **options: Any,
) -> None:
    from twinlens.compute.live.aligned_trace import trace_of
    from twinlens.compute.text.arguments import read_response
    from twinlens.compute.text.prompt import check_marked

    # Before models are loaded, which takes long.
    check_marked(prompt, instruction=instruction, context=context)
    read_response(response, answer)
    with bar("loading the models") as report:
        pair = load()
        trace = trace_of(
            pair,
            prompt,
            instruction=instruction,
            context=context,
            response=response,
            answer=answer,
            max_new_tokens=max_new_tokens,
            template=template,
            report=report,
        )
    if save is not None:
        with bar("recording") as report:
            recording.write(trace, save, report)
    _finish(trace, output, as_json=as_json, saved=save, **options)


def _finish(
    trace: Trace,
    output: Path,
    *,
    as_json: bool,
    saved: Path | None,
    show: bool | None,
    budget_mb: float,
    title: str | None,
) -> None:
    with bar("summarising") as report:
        summary = summarise(trace, report)
    if not as_json:
        click.echo(as_text(summary))
    with bar("writing the page") as report:
        page = to_html(trace, output, title=title, budget_mb=budget_mb, report=report)
    summary["page"] = {
        "path": str(page.path),
        "bytes": page.size,
        "left_out": len(page.missing),
    }
    summary["recording"] = None if saved is None else str(saved)
    if as_json:
        click.echo(json.dumps(summary, ensure_ascii=False, indent=2))
    else:
        if saved is not None:
            click.echo(f"Recording  {saved}")
        click.echo(f"Page       {page}")
    if show or (show is None and not as_json and _has_screen()):
        webbrowser.open(output.resolve().as_uri())


def summarise(trace: Trace, report: Callable[[int, int, str], None]) -> dict[str, Any]:
    """What a trace shows, as plain JSON values: answers, scores, and what changed most."""
    manifest = trace.manifest
    marked = bool(manifest.segment_positions("instruction"))
    return {
        "base": manifest.pair.base.name,
        "tuned": manifest.pair.tuned.name,
        "prompt": manifest.prompt,
        "answers": {side: trace.own_answer(side, report) for side in SIDES},
        "response": manifest.response,
        "findings": findings_of(trace, report).to_json(),
        "instruction_density": {
            "score": "Wu et al. (2310.00492), section 3: summed density / log2(2 + n)",
            "method": manifest.score_method,
            **{side: trace_score(trace, side, report=report) if marked else None for side in SIDES},
            "exact": {
                side: trace_score(trace, side, trace.manifest.first_method, report=report)
                for side in SIDES
            }
            if marked and manifest.first_method == EXACT
            else None,
        },
        "changed_heads": [
            {"layer": layer, "head": head, "divergence_bits": value}
            for layer, head, value in changed_heads(trace)
        ],
        "changed_layers": [{"layer": layer, **shifts} for layer, shifts in changed_layers(trace)],
    }


def as_text(summary: dict[str, Any]) -> str:
    """Draw the summary for a terminal."""
    density = summary["instruction_density"]
    lines = []
    for side in SIDES:
        lines += [f"{side:6} {summary[side]}", f"       {_literal(summary['answers'][side])}"]
    lines += ["", "What tuning changed here", f"{Findings(summary['findings'])}", ""]
    if density["base"] is None:
        lines.append("Instruction density: no part of the prompt is marked as the instruction.")
    else:
        lines += [
            f"Instruction density  base {density['base']:.3f}   tuned {density['tuned']:.3f}",
            f"  {density['score']}, from {density['method']}",
            *_beside_exact(density),
        ]
    heads = ", ".join(
        f"{head['layer']}.{head['head']} ({head['divergence_bits']:.3f})"
        for head in summary["changed_heads"]
    )
    layers = ", ".join(
        f"{layer['layer']} ({layer['attention']:.3f}, {layer['feed_forward']:.3f})"
        for layer in summary["changed_layers"]
    )
    return "\n".join(
        [
            *lines,
            f"Heads that changed most   {heads}",
            "  layer.head (Jensen-Shannon divergence of the attention patterns, bits)",
            f"Layers that changed most  {layers}",
            "  layer (relative difference of the attention and feed-forward outputs)",
            "",
        ]
    )


def _beside_exact(density: dict[str, Any]) -> list[str]:
    """The same score of exact effects, and whether it goes the same way."""
    exact = density["exact"]
    if exact is None:
        return []
    lines = [f"  from {EXACT} (exact)  base {exact['base']:.3f}   tuned {exact['tuned']:.3f}"]
    if (density["tuned"] - density["base"]) * (exact["tuned"] - exact["base"]) < 0:
        lines.append(
            "  The two differ on which model scores higher: for this prompt it is not shown."
        )
    return lines


def _literal(text: str) -> str:
    """Text of a model on one line; control characters must not reach the terminal."""
    escaped = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
    return f"“{escaped}”"


def _has_screen() -> bool:
    return sys.platform in ("win32", "darwin") or any(
        os.environ.get(name) for name in ("DISPLAY", "WAYLAND_DISPLAY")
    )
