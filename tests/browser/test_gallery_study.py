"""The gallery's study of the embedded pair: the notebook runs, and its report works."""

from __future__ import annotations

from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient
from playwright.sync_api import Page, expect

from tests.browser.conftest import Watch
from tests.support.places import ROOT

pytest.importorskip("pyarrow")

NOTEBOOK = ROOT / "gallery" / "02_a_study.ipynb"


def test_the_study_runs_and_its_report_leads_to_a_case(
    page: Page, watch: Watch, tmp_path: Path
) -> None:
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    NotebookClient(notebook, timeout=600, resources={"metadata": {"path": str(tmp_path)}}).execute()
    page.goto((tmp_path / "a_study.html").as_uri())
    page.wait_for_selector("body[data-state=ready]")
    assert page.locator("#cases tbody tr").count() == 24
    titles = page.locator("h2").all_inner_texts()
    for words in ("rest more on the instruction", "attention heads", "concepts turned"):
        assert any(words in title for title in titles)
    assert page.locator("figure[data-figure=heads] canvas").count() > 0
    page.locator("#cases button.open", has_text="question 3").click()
    panel = page.frame_locator("#case iframe").locator("[data-panel=saliency]")
    expect(panel).to_have_attribute("data-state", "ready")
    assert watch.errors == []
    assert watch.outside() == []
