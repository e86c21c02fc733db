"""What axe-core finds in a page."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page

_AXE = Path(__file__).parents[2] / "js" / "node_modules" / "axe-core" / "axe.min.js"
#: Sizes of targets are not among the rules that axe applies by itself.
_RUN = """async (within) => (await axe.run(within,
    {resultTypes: ["violations"], rules: {"target-size": {enabled: true}}})).violations
  .filter(({impact}) => impact === "serious" || impact === "critical")
  .map(({id, nodes}) => [id, nodes.length, nodes[0].html.slice(0, 160), nodes[0].failureSummary])"""


def serious(page: Page, within: str = "html") -> list[Any]:
    """What is serious or critical in the elements that a selector matches."""
    if not _AXE.exists():
        pytest.skip("axe-core is not installed: run `make setup`")
    page.evaluate(_AXE.read_text())
    return list(page.evaluate(_RUN, within))
