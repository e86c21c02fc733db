"""What is committed of the front end but written from Python is what Python writes."""

from __future__ import annotations

import pytest
from twinlens.contract.generate import OUTPUTS, SOURCES


@pytest.mark.parametrize("path", OUTPUTS)
def test_a_written_file_is_not_stale(path):
    committed = (SOURCES / path).read_text(encoding="utf-8")
    assert committed == OUTPUTS[path](), "run `make generate`"
