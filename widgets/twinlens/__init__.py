"""twinlens: a pre-trained language model and its tuned twin, side by side."""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from twinlens._version import __version__

if TYPE_CHECKING:
    from twinlens.api import diff as diff
    from twinlens.api import explore as explore
    from twinlens.api import live_page as live_page
    from twinlens.api import open as open
    from twinlens.api import viewer_page as viewer_page
    from twinlens.api import word_pairs as word_pairs
    from twinlens.compute.concepts.components import ConceptSettings as ConceptSettings
    from twinlens.compute.models.families import Architecture as Architecture
    from twinlens.compute.models.families import register_architecture as register_architecture
    from twinlens.compute.pair import Pair as Pair
    from twinlens.compute.pair import demo_pair as demo_pair
    from twinlens.compute.pair import load_pair as load_pair
    from twinlens.studies.data.published import import_published as import_published
    from twinlens.studies.run.study import study as study
    from twinlens.studies.run.training import StudyCallback as StudyCallback
    from twinlens.view.explorer import Explorer as Explorer

#: Public names by the module that holds them; it is imported when one is first asked for.
_NAMES = {
    "api": ("diff", "explore", "live_page", "open", "viewer_page", "word_pairs"),
    "compute.concepts.components": ("ConceptSettings",),
    "compute.models.families": ("Architecture", "register_architecture"),
    "compute.pair": ("Pair", "demo_pair", "load_pair"),
    "studies.data.published": ("import_published",),
    "studies.run.study": ("study",),
    "studies.run.training": ("StudyCallback",),
    "view.explorer": ("Explorer",),
}
_HOMES = {name: f"twinlens.{module}" for module, names in _NAMES.items() for name in names}

#: What reads results, or files, without running a model.
_WITHOUT_MODELS = ("Explorer", "import_published", "open", "viewer_page")

__all__ = ["__version__", *_HOMES]


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
