"""What README and the documentation show can be run as it stands there, and their links lead on."""

from __future__ import annotations

import doctest
import inspect
import pickle
import re
import shlex
from functools import wraps
from importlib import import_module
from pathlib import Path
from typing import Any

import click
import pytest
import twinlens as tl
import twinlens.api
from twinlens import studies
from twinlens.commands.main import twinlens
from twinlens.traces import recording

from tests.support.made_up import MadeUpTrace
from tests.support.places import ROOT
from tests.support.published import made_up_case, release_like

DOCS = ROOT / "gallery" / "docs"
PAGES = [ROOT / "README.md", *sorted(DOCS.rglob("*.md"))]
TEXTS = {page.relative_to(ROOT).as_posix(): page.read_text("utf-8") for page in PAGES}
BLOCK = re.compile(r"^( *)```(\w+)\n(.*?)^\1```", re.DOTALL | re.MULTILINE)
#: What needs a cluster or many seconds; there are tests of it elsewhere.
ELSEWHERE = re.compile(r"^.*(engine=.ray|ex\.save|ex\.to_html).*$", re.MULTILINE)
HUB = ("HuggingFaceTB/SmolLM2-135M", "HuggingFaceTB/SmolLM2-135M-Instruct")


def blocks(text: str, *languages: str) -> list[str]:
    """Blocks of code in some languages, in their order."""
    return [code for _, language, code in BLOCK.findall(text) if language in languages]


#: Traces of the embedded pair, by what was asked.
TRACES: dict[str, Any] = {}
CODE = [name for name, text in TEXTS.items() if blocks(text, "python", "pycon")]
COMMANDS = sorted(
    {
        line.partition("  #")[0].strip()
        for text in TEXTS.values()
        for block in blocks(text, "console")
        for line in block.splitlines()
        if line.startswith("twinlens ")
    }
)


@pytest.fixture(scope="module")
def pair() -> Any:
    return tl.demo_pair()


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What snippets leave to the reader, and folders in place of those that they name."""
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    from tests.support import tiny

    folder = tmp_path_factory.mktemp("snippets")
    base, tuned = tiny.save_pair(folder / "path" / "to", max_position_embeddings=512)
    (folder / "HuggingFaceTB").mkdir()
    for name, side in (*zip(HUB, (base, tuned), strict=True), ("path/to/third", tuned)):
        (folder / name).symlink_to(side)
    models = [AutoModelForCausalLM.from_pretrained(side) for side in (base, tuned, base)]
    lora = LoraConfig(r=2, target_modules=["q_proj"], init_lora_weights=False)
    get_peft_model(models[2], lora).save_pretrained(folder / "path" / "to" / "adapter")
    recording.write(MadeUpTrace(), folder / "rewrite.twl")
    release_like(folder / "path/to/their/results", pickle.dumps(made_up_case()))
    prompt = '{"prompt": "Name the opposite. hot", "instruction": "Name the opposite."}\n'
    (folder / "prompts.jsonl").write_text(prompt)
    return {
        "folder": folder,
        "model": models[0],
        "tuned_model": models[1],
        "tokenizer": tiny.tokenizer(),
    }


@pytest.fixture
def names(pair: Any, models: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Names at the start; what several pages ask of the embedded pair is computed once."""
    from twinlens.compute.models.families import ARCHITECTURES

    @wraps(tl.demo_pair)
    def demo_pair(concepts: Any = None) -> Any:
        return pair

    @wraps(tl.explore)
    def explore(*given: Any, **options: Any) -> tl.Explorer:
        key = repr((given, options))
        if key not in TRACES:
            TRACES[key] = tl.api.explore(*given, **options).trace
        return tl.Explorer(TRACES[key])

    monkeypatch.chdir(models["folder"])
    monkeypatch.setattr(tl, "demo_pair", demo_pair, raising=False)
    monkeypatch.setattr(tl, "explore", explore, raising=False)
    monkeypatch.setitem(ARCHITECTURES, "my_llama", ARCHITECTURES["llama"])
    return dict(models)


@pytest.mark.slow
@pytest.mark.parametrize("page", CODE)
def test_blocks_of_a_page_run_one_after_the_other(
    page: str, names: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for path in names["folder"].iterdir():
        (tmp_path / path.name).symlink_to(path)
    monkeypatch.chdir(tmp_path)
    for language, code in [(kind, code) for _, kind, code in BLOCK.findall(TEXTS[page])]:
        if language == "python":
            exec(ELSEWHERE.sub("", code), names)
        elif language == "pycon":
            run_examples(code, names, page)


def run_examples(text: str, names: dict[str, Any], name: str) -> None:
    """Run ``>>>`` examples and compare what they show."""
    examples = doctest.DocTestParser().get_doctest(text, names, name, name, 0)
    examples.globs = names  # what they define is there for the next ones
    told: list[str] = []
    failed, _ = doctest.DocTestRunner().run(examples, out=told.append, clear_globs=False)
    assert not failed, "".join(told)


#: Their examples take many seconds; a page or a test elsewhere calls them alike.
SLOW = ("live_page", "write_chain_report", "write_report")
#: What `import twinlens` and `import twinlens.studies` offer.
PUBLIC = [
    *(("twinlens", name) for name in tl.__all__ if name != "__version__"),
    *(("twinlens.studies", name) for name in studies.__all__),
]


@pytest.mark.slow
@pytest.mark.parametrize(("module", "name"), PUBLIC)
def test_examples_of_public_names_run(module: str, name: str, names: dict[str, Any]) -> None:
    text = inspect.getdoc(getattr(import_module(module), name)) or ""
    assert ">>> " in text, f"{module}.{name} has no example"
    if name not in SLOW:
        run_examples(text, names, name)


#: Sections of a docstring in NumPy style.
SECTION = re.compile(r"^(\w+)\n-+\n(.*?)(?=^\w+\n-+$|\Z)", re.DOTALL | re.MULTILINE)
REFERENCE = "\n".join(text for name, text in TEXTS.items() if name.startswith("gallery/docs/ref"))


def undocumented(function: Any, *wanted: str) -> list[str]:
    """Parameters and sections that a docstring lacks."""
    sections = dict(SECTION.findall(inspect.getdoc(function) or ""))
    described = re.findall(r"^\*{0,2}\w.*?(?= :|$)", sections.get("Parameters", ""), re.MULTILINE)
    named = {name.strip("* ") for line in described for name in line.split(",")}
    taken = inspect.signature(function).parameters
    missing = [name for name in taken if name not in ("self", "cls") and name not in named]
    return missing + [one for one in wanted if not sections.keys() & set(one.split("|"))]


def methods(made: type) -> dict[str, Any]:
    """Public methods of a class that are its own, not those of a library that calls them."""
    theirs = {
        name for one in made.__mro__ if "twinlens" not in one.__module__ for name in vars(one)
    }
    own = {
        name: getattr(made, name) for name in vars(made) if name[0] != "_" and name not in theirs
    }
    return {
        name: one for name, one in own.items() if inspect.isfunction(one) or inspect.ismethod(one)
    }


@pytest.mark.slow
@pytest.mark.parametrize(("module", "name"), PUBLIC)
def test_public_names_say_what_they_take_give_and_raise(module: str, name: str) -> None:
    value = getattr(import_module(module), name)
    assert re.search(rf"auto\w+:: (\S+\.)?{name}$", REFERENCE, re.MULTILINE), "not in the reference"
    if not inspect.isclass(value):
        gives = value.__annotations__["return"] not in (None, "None")
        assert undocumented(value, *["Returns|Yields"] * gives, "Raises", "Examples") == []
        return
    for method, function in methods(value).items():
        assert inspect.getdoc(function), f"{name}.{method} has no docstring"
        assert undocumented(function) == [], f"{name}.{method}"


@pytest.mark.parametrize("line", COMMANDS)
def test_commands_take_their_options(line: str, tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "study").mkdir()
    _, name, *arguments = shlex.split(line)
    command = twinlens.commands[name]
    assert isinstance(command, click.Command)
    assert command.make_context(name, arguments).params


def anchors(text: str) -> set[str]:
    """Addresses of headings, as MyST and code hosts make them."""
    headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    plain = (re.sub(r"[^\w\- ]", "", heading.lower()) for heading in headings)
    return {heading.strip().replace(" ", "-") for heading in plain}


@pytest.mark.parametrize("page", TEXTS)
def test_links_lead_to_what_is_there(page: str) -> None:
    text, here = BLOCK.sub("", TEXTS[page]), ROOT / page
    links = re.findall(r"\]\(([^)\s]+)\)|(?:src|srcset)=\"([^\"]+)\"", text)
    for target in filter(None, (one or other for one, other in links)):
        if re.match(r"https?://|mailto:", target):
            continue
        path, _, anchor = target.partition("#")
        file = (here.parent / path) if path else here
        assert file.exists(), f"{page} links to {target}"
        assert page == "README.md" or file.resolve().is_relative_to(DOCS), f"{target} is not built"
        if anchor:
            assert anchor in anchors(file.read_text("utf-8")), f"{page} links to {target}"


def test_every_page_is_in_the_contents() -> None:
    index = TEXTS["gallery/docs/index.md"]
    listed = {
        line
        for block in re.findall(r"```\{toctree\}(.*?)```", index, re.DOTALL)
        for line in block.splitlines()
        if line and line[0] != ":"
    }
    there = {page.relative_to(DOCS).with_suffix("").as_posix() for page in PAGES[1:]}
    assert listed == there - {"index"}
