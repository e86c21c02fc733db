"""The code base itself: what imports what, and what must not be in it."""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from twinlens.traces import recording

from tests.support.made_up import MadeUpTrace
from tests.support.places import ROOT

HEAVY = ("torch", "transformers", "bokeh", "pandas")


def loaded_by(code: str) -> set[str]:
    """Top-level modules that are loaded after running some code in a fresh process."""
    show = "import sys, json; print(json.dumps(sorted({n.split('.')[0] for n in sys.modules})))"
    done = subprocess.run(
        [sys.executable, "-c", f"{code}\n{show}"], capture_output=True, text=True, check=True
    )
    return set(json.loads(done.stdout.splitlines()[-1]))


def test_importing_twinlens_loads_nothing_heavy():
    loaded = loaded_by("import twinlens; dir(twinlens)")
    assert not loaded & {*HEAVY, "anywidget", "ipywidgets", "numpy"}


@pytest.mark.parametrize(
    "code",
    [
        "import twinlens.traces.recording",
        "import twinlens.measures.summary, twinlens.measures.density",
        "import twinlens.commands.main",
        "import twinlens.figures.charts",
        "import twinlens.pages.page",
        "import twinlens.view.explorer, twinlens.view.panel",
        "import twinlens; twinlens.open, twinlens.explore, twinlens.Explorer",
    ],
)
def test_replay_code_loads_nothing_heavy(code):
    assert not loaded_by(code) & set(HEAVY)


@pytest.mark.slow
def test_a_recording_is_opened_saved_and_exported_without_models(tmp_path):
    recording.write(MadeUpTrace(), tmp_path / "a.twl")
    loaded = loaded_by(
        "import twinlens as tl\n"
        f"folder = {str(tmp_path)!r}\n"
        "ex = tl.open(folder + '/a.twl')\n"
        "ex.select(token=3, layer=1, head=2)\n"
        "ex.heads()\n"
        "ex.trace.head_change()\n"
        "ex.save(folder + '/b.twl')\n"
        "ex.to_html(folder + '/c.html')\n"
    )
    assert "bokeh" in loaded
    assert not loaded & {"torch", "transformers", "safetensors", "pandas"}
    assert (tmp_path / "c.html").stat().st_size > 100_000


@pytest.mark.slow
def test_public_names_stay_what_they_are():
    """No submodule takes the place of a function, whatever is imported."""
    code = (
        "import importlib, pkgutil, twinlens\n"
        "before = {name: getattr(twinlens, name) for name in twinlens.__all__}\n"
        "for module in pkgutil.iter_modules(twinlens.__path__):\n"
        "    if module.name != '__main__': importlib.import_module('twinlens.' + module.name)\n"
        "for name, value in before.items():\n"
        "    assert getattr(twinlens, name) is value, name\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_importing_twinlens_is_quick():
    """Counted in modules: seconds depend on what else the machine does."""
    count = (
        "import sys; before = set(sys.modules); import twinlens; "
        "print(len(set(sys.modules) - before))"
    )
    done = subprocess.run([sys.executable, "-c", count], capture_output=True, text=True, check=True)
    assert 0 < int(done.stdout) < 60


def committed_texts() -> list[Path]:
    listed = subprocess.run(
        ["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    if listed.returncode:
        pytest.skip("not a git checkout")
    suffixes = {".py", ".md", ".toml", ".ts", ".css", ".txt", ".ipynb", ".json", ".yml", ""}
    files = (ROOT / name for name in listed.stdout.split("\0") if name)
    return [file for file in files if file.suffix in suffixes and file.is_file()]


def test_no_module_is_too_long():
    code = [p for p in committed_texts() if p.suffix in (".py", ".ts") and "tests" not in p.parts]
    code = [path for path in code if path.name != "contract.ts"]  # generated
    long = {p.name: n for p in code if (n := len(p.read_text().splitlines())) > 450}
    assert not long


def test_nothing_names_a_private_place():
    private = re.compile(
        r"(?<![\w.])/(?:work|root|opt/(?:wheels|pypi))/|find-links|"
        r"extra-index(?!-url https://download\.pytorch\.org/)"  # PyTorch's own, with CPU builds
    )
    guilty = [
        str(path.relative_to(ROOT))
        for path in committed_texts()
        if path != Path(__file__) and private.search(path.read_text(encoding="utf-8"))
    ]
    assert not guilty


def test_constraints_name_only_packages_and_versions():
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pins = [line for line in lines if line and not line.startswith("#")]
    assert [pin for pin in pins if not re.fullmatch(r"[A-Za-z0-9._-]+==[0-9A-Za-z.]+", pin)] == []
    assert "torch==2.13.0" in pins


def test_the_lock_of_the_front_end_names_no_private_registry():
    lock = (ROOT / "js/package-lock.json").read_text()
    hosts = re.findall(r'"resolved": "https?://([^/"]+)', lock)
    assert set(hosts) <= {"registry.npmjs.org"}


def test_notebooks_are_committed_without_outputs():
    notebooks = [path for path in committed_texts() if path.suffix == ".ipynb"]
    for path in notebooks:
        for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]:
            assert not cell.get("outputs"), path.name
            assert cell.get("execution_count") is None, path.name


def test_no_two_modules_have_one_name():
    """But for those that every room of `compute` has."""
    modules = (ROOT / "widgets" / "twinlens").rglob("*.py")
    named = Counter(path.name for path in modules if path.name not in ("__init__.py", "blocks.py"))
    assert [name for name, count in named.items() if count > 1] == []


def test_no_two_public_classes_have_one_name():
    named = Counter(
        node.name
        for path in (ROOT / "widgets" / "twinlens").rglob("*.py")
        for node in ast.parse(path.read_text(encoding="utf-8")).body
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_")
    )
    assert [name for name, count in named.items() if count > 1] == []


def test_types_of_arrays_are_no_values():
    """NumPy 2.5, which Python 3.11 does not get, has no class behind the name ``Array``."""
    used = re.compile(r"(?<![\w.])(?:Float)?Array\.\w|isinstance\(.*[ ,(]Array\b")
    modules = (ROOT / "widgets").rglob("*.py")
    assert not [path.name for path in modules if used.search(path.read_text("utf-8"))]


#: Words that say nothing of what a name holds.
EMPTY = ("found", "kept", "there", "one")


def test_names_of_python_say_what_they_hold():
    """Of arguments and variables; fields of records and of what travels keep theirs."""
    empty = []
    for path in (ROOT / "widgets" / "twinlens").rglob("*.py"):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        fields = {
            id(line.target)
            for node in ast.walk(tree)
            if isinstance(node, ast.ClassDef)
            for line in node.body
            if isinstance(line, ast.AnnAssign)
        }
        for node in ast.walk(tree):
            stored = isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)
            if isinstance(node, ast.arg):
                name = node.arg
            elif stored and id(node) not in fields:
                name = node.id
            else:
                continue
            if name in EMPTY:
                empty.append(f"{path.name}:{node.lineno} {name}")
    assert empty == []


def test_names_of_the_front_end_say_what_they_hold():
    word = f"(?:{'|'.join(EMPTY)})"
    declared = re.compile(
        rf"\b(?:const|let|var|function) {word}\b"  # variables
        rf"|[(,]\s*{word}(?:\??: [^,()=]+)?(?:, [^()]*)?\)(?:: [^=(){{}}]+)? =>"  # last of several
        rf"|\({word}(?:\??: [^,()=]+)?, [^()]*\)(?:: [^=(){{}}]+)? =>"  # first of several
        rf"|(?<![.\w]){word} =>"
        rf"|\bfunction \w+\([^)]*\b{word}\??:"
    )
    empty = [
        f"{path.name}: {match[0]}"
        for folder in ("src", "wasm")
        for path in (ROOT / "js" / folder).rglob("*.ts")
        for match in declared.finditer(path.read_text(encoding="utf-8"))
    ]
    assert empty == []
