"""Options that several commands share, and what is checked before models run."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable
from dataclasses import dataclass, fields
from functools import partial, wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click

from twinlens.errors import PromptError, TwinlensError
from twinlens.pages.page import DEFAULT_BUDGET_MB
from twinlens.support.files import check_file
from twinlens.support.progress import progress

if TYPE_CHECKING:
    from twinlens.compute.pair import Pair

Command = Callable[..., Any]
Option = Callable[[Command], Command]

PATH = click.Path(path_type=Path)
COUNT = click.IntRange(min=1)
MEGABYTES = click.FloatRange(min=0, min_open=True)
#: What ``--response`` says in every command.
WHOSE = "Whose answer is explained: own, shared (tuned's for both), base, tuned"
DTYPES = ("auto", "float32", "bfloat16", "float16")
# What no text on a command line or in a file has: half characters, and NUL.
_NO_TEXT = re.compile("[\0\ud800-\udfff]")


class _Text(click.ParamType):  # type: ignore[type-arg]
    """Text of any characters."""

    name = "text"

    def convert(self, value: Any, param: Any, ctx: Any) -> str:
        if _NO_TEXT.search(value):
            raise PromptError(
                f"{_named(param)} is no UTF-8 text: give it in the terminal's encoding, or in "
                "UTF-8 on standard input"
            )
        return str(value)


TEXT = _Text()


class _Output(click.Option):
    """An option known by an older name, too, which help does not show."""

    def get_help_record(self, ctx: click.Context) -> tuple[str, str] | None:
        names = self.opts
        try:
            self.opts = [name for name in names if name != "--out"]
            return super().get_help_record(ctx)
        finally:
            self.opts = names


class _New(click.Path):
    """A file or folder to write, which can be written."""

    def __init__(self, check: Callable[[Path], None]) -> None:
        super().__init__(path_type=Path)
        self.check = check

    def convert(self, value: Any, param: Any, ctx: Any) -> Path:
        target = Path(super().convert(value, param, ctx))  # type: ignore[arg-type]
        self.check(target)
        return target


def _check_folder(target: Path) -> None:
    """Make sure that a folder to write into is there or can be made."""
    places = (target.absolute(), *target.absolute().parents)
    nearest = next(place for place in places if place.exists())
    if not nearest.is_dir():
        raise TwinlensError(f"{nearest} is a file: name a folder to write into")


def _output(kind: _New, about: str, **settings: Any) -> Option:
    names = ("-o", "--output", "--out", "output")
    return click.option(*names, cls=_Output, type=kind, help=about, **settings)


def output_file(*suffixes: str, about: str, **settings: Any) -> Option:
    """``-o``, a file to write: checked before anything runs."""
    return _output(_New(partial(check_file, suffixes=suffixes)), about, **settings)


def output_folder(about: str = "Folder to write into; made if need be.", **settings: Any) -> Option:
    """``-o``, a folder to write into: checked before anything runs."""
    return _output(_New(_check_folder), about, **settings)


def valued(*names: str, kind: Any, default: Any, about: str, **settings: Any) -> Option:
    """An option with a value where none is given, which help shows."""
    kind = click.Choice(kind) if isinstance(kind, list) else kind
    return click.option(
        *names, type=kind, default=default, show_default=True, help=about, **settings
    )


def together(*options: Option) -> Option:
    """Several options, as help lists them."""

    def decorate(command: Command) -> Command:
        for option in reversed(options):
            command = option(command)
        return command

    return decorate


json_option = click.option(
    "--json", "as_json", is_flag=True, help="Print the summary as JSON, for machines."
)
device_option = click.option("--device", help="Such as cuda:0; the CPU by default.")


def length_option(default: int) -> Option:
    """``--max-new-tokens``."""
    about = "Longest answer of a model, in tokens."
    return valued("--max-new-tokens", kind=COUNT, default=default, about=about)


def budget_option(default: float, what: str) -> Option:
    """``--budget-mb``."""
    about = f"Largest size of the {what}."
    return valued("--budget-mb", kind=MEGABYTES, default=default, about=about)


#: Options of every command that writes a page.
page_options = together(
    click.option("--title", type=TEXT, help="Title of the page."),
    budget_option(DEFAULT_BUDGET_MB, "page"),
    click.option("--open/--no-open", "show", default=None, help="Open the page in a browser."),
    json_option,
)
#: Options of every command that runs models on a prompt.
prompt_options = together(
    click.option(
        "--instruction",
        type=TEXT,
        multiple=True,
        help="Part of the prompt that is the instruction.",
    ),
    click.option("--context", type=TEXT, multiple=True, help="Part of the prompt that is context."),
    valued(
        "--response", kind=TEXT, default="shared", about=f"{WHOSE}, or a text both models read."
    ),
    click.option(
        "--answer", type=TEXT, help="Text both models read as the answer, whatever it says."
    ),
    length_option(64),
    click.option(
        "--save",
        type=_New(partial(check_file, suffixes=(".twl",))),
        help="Also record a .twl file.",
    ),
)


def template_option(*, own: bool = False) -> Option:
    """``--template`` and whose it is; alone it is tuned's. `own` adds each model's own."""
    each = "own is each model's own, " if own else ""
    return click.option(
        "--template",
        is_flag=False,
        flag_value="tuned",
        type=click.Choice(["tuned", "base", *(["own"] if own else []), "plain"]),
        help=f"Whose chat template both models read the prompt in; {each}plain is none, and "
        "without a value it is tuned's.  [default: tuned for a chat, else plain]",
    )


@dataclass(frozen=True)
class ModelFiles:
    """Two models that are read from files, as `file_options` names them."""

    base: str
    tuned: str
    tokenizer: str | None
    base_revision: str | None
    tuned_revision: str | None


@dataclass(frozen=True)
class ModelOptions:
    """A pair that is run, as `model_options` names it."""

    base: str
    tuned: str | None
    tokenizer: str | None
    base_revision: str | None
    tuned_revision: str | None
    device: str | None
    device_map: str | None
    dtype: str | None
    memory: Literal["both", "sequential"]
    trust_remote_code: bool

    def load(self) -> Pair:
        """The pair; ``demo demo`` is the embedded one."""
        from twinlens.compute.pair import demo_pair, load_pair

        named = (self.base, self.tuned) == ("demo", "demo")
        return demo_pair() if named else load_pair(**vars(self))


def model_options(*, tuned: bool) -> Option:
    """Arguments and options of every command that runs two models, as ``models``.

    Parameters
    ----------
    tuned : bool
        Whether TUNED must be there.
    """
    return _as_record(
        ModelOptions,
        click.argument("base"),
        click.argument("tuned", required=tuned),
        *_FILES,
        device_option,
        click.option("--device-map", help="Spread each model over devices, such as auto."),
        click.option(
            "--dtype",
            type=click.Choice(DTYPES),
            help="Floating-point type.  [default: float32 on the CPU, else as stored]",
        ),
        valued(
            "--memory",
            kind=["both", "sequential"],
            default="both",
            about="Keep both models loaded, or never more than one.",
        ),
        click.option(
            "--trust-remote-code",
            is_flag=True,
            help="Run code that comes with a model; only for models you trust.",
        ),
    )


_FILES = (
    click.option("--tokenizer", help="Tokenizer of both models: a folder or hub id."),
    click.option("--base-revision", help="Branch, tag or commit of BASE on the hub."),
    click.option("--tuned-revision", help="Branch, tag or commit of TUNED on the hub."),
)


def _as_record(record: type, *options: Option) -> Option:
    """Options that a command is given in one record, ``models``."""
    names = [field.name for field in fields(record)]

    def decorate(command: Command) -> Command:
        @wraps(command)
        def given(**values: Any) -> Any:
            return command(models=record(**{name: values.pop(name) for name in names}), **values)

        return together(*options)(given)

    return decorate


#: Arguments and options of every command that reads two models, as ``models``.
file_options = _as_record(ModelFiles, click.argument("base"), click.argument("tuned"), *_FILES)


def read_prompt_text(prompt: str) -> str:
    """A prompt as it was given, or from standard input where it is ``-``.

    Raises
    ------
    PromptError
        If it is empty, or standard input is no UTF-8 text.
    """
    if prompt == "-":
        try:
            prompt = sys.stdin.buffer.read().decode("utf-8-sig")
        except UnicodeDecodeError as error:
            raise PromptError(
                f"standard input is no UTF-8 text (byte {error.start}): convert it, for example "
                "with iconv -f latin1 -t utf8"
            ) from error
        if _NO_TEXT.search(prompt):
            raise PromptError("standard input holds NUL, so it is no UTF-8 text: convert it")
    if not prompt.strip():
        raise PromptError("the prompt is empty: write one")
    return prompt


def read_chat(path: Path) -> list[Any]:
    """Messages of a JSON file: a list of them, or an object with ``messages``.

    Raises
    ------
    PromptError
        If it cannot be read or holds no messages.
    """
    try:
        data = json.loads(path.read_text("utf-8-sig"))
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        said = error.strerror if isinstance(error, OSError) else error
        raise PromptError(f"{path} is no JSON file of messages ({said})") from error
    messages = data.get("messages") if isinstance(data, dict) else data
    if not isinstance(messages, list):
        raise PromptError(
            f'{path} holds no chat: write a list of {{"role": ..., "content": ...}} messages'
        )
    return messages


def bar(title: str) -> Any:
    """`progress` as terminals show it."""
    from tqdm import tqdm

    return progress(title, tqdm)


def _named(parameter: Any) -> str:
    return parameter.opts[-1] if parameter is not None else "the text"
