"""Files written from the contract are those that the contract would write."""

from __future__ import annotations

import pytest
from twinlens.contract.generate import FILES

from tests.support.places import ROOT


@pytest.mark.parametrize("name", FILES)
def test_generated_files_are_up_to_date(name):
    written = (ROOT / name).read_text(encoding="utf-8")
    assert written == FILES[name](), f"{name} is stale: run `make contract`"
