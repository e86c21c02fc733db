"""Figures as files: what happens where no browser can draw."""

from __future__ import annotations

import sys

import pytest
from twinlens.errors import BrowserError
from twinlens.studies.report import report_page
from twinlens.support import browser

from tests.unit.studies.planted import Planted


def figures():
    from twinlens.studies.analysis.statistics import analyse
    from twinlens.studies.report.figures import profile_figures

    return profile_figures(analyse(Planted(2)).profiles)


def test_without_a_browser_one_sentence_says_what_to_do(monkeypatch, tmp_path):
    monkeypatch.setattr(browser, "_NAMES", ("no-such-browser",))
    monkeypatch.delenv(browser.BROWSER, raising=False)
    with pytest.raises(BrowserError, match="install one or name it in TWINLENS_BROWSER"):
        report_page.save({}, tmp_path)


def test_a_program_that_draws_nothing_is_named(monkeypatch, tmp_path):
    monkeypatch.setenv(browser.BROWSER, sys.executable)
    with pytest.raises(BrowserError, match="could not draw"):
        report_page.save(figures(), tmp_path)
    assert list(tmp_path.iterdir()) == []
