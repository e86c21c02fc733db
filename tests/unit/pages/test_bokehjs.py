from __future__ import annotations

import zlib
from pathlib import Path

import pytest
from bokeh.util import paths
from twinlens.pages import bokehjs
from twinlens.pages.bokehjs import bokeh_in_pieces, bokeh_script, models_of


@pytest.fixture(scope="module")
def whole():
    return (Path(paths.bokehjs_path()) / "js" / "bokeh.min.js").read_text(encoding="utf-8")


def test_pages_hold_what_charts_use_with_its_licence(whole):
    script = bokeh_script()
    small, large = (len(zlib.compress(text.encode(), 9)) for text in (script, whole))
    assert small < 0.75 * large
    licence = whole[: whole.index("*/")]
    assert "Redistribution and use" in licence
    assert script.startswith(licence)
    assert '.__name__="Scatter"' in script
    assert '.__name__="Whisker"' not in script
    assert '.__name__="Whisker"' in bokeh_script(["Whisker"])


def test_of_a_bokeh_without_one_of_the_models_it_is_all_of_it(whole):
    assert bokeh_script(["Figure", "NoSuchModel"]) == whole


def test_of_a_bokeh_that_looks_otherwise_it_is_all_of_it(whole, tmp_path, monkeypatch):
    other = whole.replace("\nfunction _(", "\nfunction __(")
    (tmp_path / "js").mkdir()
    (tmp_path / "js" / "bokeh.min.js").write_text(other, encoding="utf-8")
    monkeypatch.setattr(paths, "bokehjs_path", lambda: tmp_path)
    monkeypatch.setattr(bokehjs, "_script", bokehjs._script.__wrapped__)
    assert bokeh_script() == other
    assert bokeh_in_pieces() == [other]


def test_it_runs_piece_by_piece_where_no_task_may_be_long():
    *modules, script = bokeh_in_pieces()
    assert "root.runBokeh = function*()" in script
    together = "".join((*modules, script))
    assert together.count("\nfunction _(") == bokeh_script().count("\nfunction _(") > 500
    assert together.count("yield") == bokeh_script().count("yield") + 3
    assert together.count("new Promise(done") == 2
    assert max(map(len, (*modules, script))) < 250_000


def test_models_are_those_of_all_documents():
    line, span = ({"type": "object", "name": name, "attributes": {}} for name in ("Line", "Span"))
    inside = [line, {"type": "map", "entries": [["a", span]]}, {"type": "value", "name": "text"}]
    document = {"roots": [{"type": "object", "name": "Figure", "attributes": {"list": inside}}]}
    assert models_of({"a": document}) == {"Figure", "Line", "Span"}
