"""twinlens: a pre-trained language model and its tuned twin, side by side."""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from twinlens._version import __version__

if TYPE_CHECKING:
    from twinlens.api import diff, explore, live_page, open, viewer_page, word_pairs
    from twinlens.compute.concepts.components import ConceptSettings
    from twinlens.compute.models.families import Architecture, register_architecture
    from twinlens.compute.pair import Pair, demo_pair, load_pair
    from twinlens.studies.data.published import import_published
    from twinlens.studies.run.study import study
    from twinlens.studies.run.training import StudyCallback
    from twinlens.view.explorer import Explorer

_HOMES = {
    "load_pair": "twinlens.compute.pair",
    "demo_pair": "twinlens.compute.pair",
    "Pair": "twinlens.compute.pair",
    "ConceptSettings": "twinlens.compute.concepts.components",
    "Architecture": "twinlens.compute.models.families",
    "register_architecture": "twinlens.compute.models.families",
    "diff": "twinlens.api",
    "explore": "twinlens.api",
    "live_page": "twinlens.api",
    "open": "twinlens.api",
    "viewer_page": "twinlens.api",
    "word_pairs": "twinlens.api",
    "study": "twinlens.studies.run.study",
    "StudyCallback": "twinlens.studies.run.training",
    "import_published": "twinlens.studies.data.published",
    "Explorer": "twinlens.view.explorer",
}

#: What reads results, or files, without running a model.
_WITHOUT_MODELS = ("Explorer", "import_published", "open", "viewer_page")

__all__ = [
    "Architecture",
    "ConceptSettings",
    "Explorer",
    "Pair",
    "StudyCallback",
    "__version__",
    "demo_pair",
    "diff",
    "explore",
    "import_published",
    "live_page",
    "load_pair",
    "open",
    "register_architecture",
    "study",
    "viewer_page",
    "word_pairs",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'twinlens' has no attribute {name!r}")
    try:
        if name not in _WITHOUT_MODELS:
            for library in ("torch", "transformers"):
                if find_spec(library) is None:
                    raise ModuleNotFoundError(name=library)
        return getattr(import_module(_HOMES[name]), name)
    except ModuleNotFoundError as error:
        from twinlens.errors import MissingLibraryError

        raise MissingLibraryError(
            f"twinlens.{name} needs {error.name}, which is not installed here: run it where "
            "`pip install twinlens` has installed all it needs; twinlens.open works without models"
        ) from error


def __dir__() -> list[str]:
    return sorted(__all__)
