"""What pages hold of BokehJS knows every model of their charts, and leaves another Bokeh alone."""

from __future__ import annotations

import pytest
from playwright.sync_api import Page
from twinlens.figures.charts import MODELS
from twinlens.pages.bokehjs import bokeh_in_pieces, bokeh_script


@pytest.mark.parametrize(
    "scripts", [[bokeh_script()], bokeh_in_pieces()], ids=["at once", "in pieces"]
)
def test_every_model_of_a_chart_is_known(page: Page, scripts: list[str]) -> None:
    page.goto("about:blank")
    page.evaluate("globalThis.Bokeh = { version: 'of the host' }")
    for script in scripts:
        page.add_script_tag(content=script)
    page.evaluate("for (const _ of globalThis.runBokeh?.() ?? []) {}")
    known = page.evaluate(
        "names => names.filter(name => name in twinlensBokeh.Models)", [*MODELS, "NoSuchModel"]
    )
    assert set(known) == MODELS
    assert page.evaluate("Bokeh.version") == "of the host"
