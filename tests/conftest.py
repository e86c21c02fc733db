from __future__ import annotations

import os

# Set before numpy or torch is imported: threads of many libraries fight over few cores.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
# Nothing in a test asks the hub for anything.
os.environ.setdefault("HF_HUB_OFFLINE", "1")

import atexit
import tempfile

# Nothing is left in, or found in, the user's own cache; kernels that tests start inherit it.
if "TWINLENS_CACHE" not in os.environ:
    _cache = tempfile.TemporaryDirectory(prefix="twinlens-cache-")
    os.environ["TWINLENS_CACHE"] = _cache.name
    atexit.register(_cache.cleanup)

import pytest
from hypothesis import settings

from tests.support.made_up import MadeUpTrace

# How long an example takes depends on what else the cores do.
settings.register_profile("twinlens", deadline=None)
settings.load_profile("twinlens")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files with slow tests first, so that of two workers none is left with them at the end."""
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in slow)


@pytest.fixture
def trace() -> MadeUpTrace:
    return MadeUpTrace()
