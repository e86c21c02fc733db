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

from tests.support.made_up import MadeUpTrace


@pytest.fixture
def trace() -> MadeUpTrace:
    return MadeUpTrace()
