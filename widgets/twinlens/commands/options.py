"""Options that several commands share."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from twinlens.pages.page import DEFAULT_BUDGET_MB

Command = Callable[..., Any]


def page_options(command: Command) -> Command:
    """Options of every command that writes a page."""
    for option in (
        click.option("--json", "as_json", is_flag=True, help="Print the summary as JSON."),
        click.option("--open/--no-open", "show", default=None, help="Open the page in a browser."),
        click.option(
            "--budget-mb",
            type=click.FloatRange(min=0, min_open=True),
            default=DEFAULT_BUDGET_MB,
            show_default=True,
            help="Largest size of the page.",
        ),
        click.option("--title", help="Title of the page."),
    ):
        command = option(command)
    return command


def prompt_options(command: Command) -> Command:
    """Options of every command that runs models."""
    for option in (
        click.option("--save", type=click.Path(path_type=Path), help="Also record a .twl file."),
        click.option("--max-new-tokens", type=click.IntRange(min=1), default=64, show_default=True),
        click.option(
            "--response",
            default="shared",
            show_default=True,
            help="own, shared, base, tuned, or the text of an answer both models read.",
        ),
        click.option("--context", multiple=True, help="Part of the prompt that is context."),
    ):
        command = option(command)
    return command
