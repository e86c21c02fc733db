"""Where the published attributions lie, if they do (test data of their own)."""

import os
from pathlib import Path

import pytest

from tests.support.places import PUBLISHED

#: The complete release of the authors, result files and tables, where someone has it.
RELEASE = Path(os.environ.get("TWINLENS_PUBLISHED_RELEASE", "/nonexistent"))

needs_published = pytest.mark.skipif(
    not PUBLISHED.is_dir(), reason="the published matrices are not here"
)
needs_release = pytest.mark.skipif(
    not RELEASE.is_dir(), reason="TWINLENS_PUBLISHED_RELEASE names no folder"
)
