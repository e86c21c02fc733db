"""Where things lie in a checkout."""

from __future__ import annotations

import os
from pathlib import Path

ROOT = Path(__file__).parents[2]
DATA = ROOT / "tests" / "data"
#: The published results of two 7B models; tests that need them are skipped without it.
PUBLISHED = Path(os.environ.get("TWINLENS_PUBLISHED", ROOT.parent / "shared" / "paper"))
#: To stand first on the path of processes that shall start sooner.
LIGHT = Path(__file__).parent / "light"
