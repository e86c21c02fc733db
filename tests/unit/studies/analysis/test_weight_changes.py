"""Questions 2 and 3 in the report: tables from weights and labels, kept in the study's folder."""

from __future__ import annotations

import dataclasses
import re

import pytest

pytest.importorskip("pyarrow")

from pyarrow import parquet
from twinlens.compute.concepts.rotation import RotationSettings, pair_rotation
from twinlens.compute.pair import load_pair
from twinlens.errors import StudyError
from twinlens.labels.questions import Annotation, Component
from twinlens.studies.analysis.sentences import find
from twinlens.studies.analysis.statistics import analyse
from twinlens.studies.analysis.tables import write_tables
from twinlens.studies.analysis.variants import Grid
from twinlens.studies.analysis.weight_changes import rotation_tables, weight_tables
from twinlens.studies.data.change_tables import ChangeTable, read_changes, write_changes
from twinlens.studies.data.store import Store
from twinlens.studies.report.html_tables import CaseSets
from twinlens.studies.report.report import write_report
from twinlens.studies.report.weight_sections import weight_figures, weight_sections
from twinlens.weights.vocabulary import vocabulary

from tests.support import tiny
from tests.unit.studies.planted import METHOD, PAIR, Planted

pytestmark = pytest.mark.slow

WORDS = vocabulary(size=300)
LISTS = {"frequent": WORDS.words[:60], "less frequent": WORDS.words[60:120]}


def annotations():
    """Half of base's concepts are about coding, three quarters of tuned's; one is not named."""
    made = []
    for model, share in (("base", 2), ("tuned", 3)):
        for seed in range(2):
            for number in range(5):
                coding = number < share or (model == "tuned" and seed and number == 3)
                made.append(
                    Annotation(
                        Component(model, number % 2, number, ("word",)),
                        seed,
                        None if number == 4 else "a name",
                        None if number == 4 else (("coding",) if coding else ()),
                        None if number == 4 else "syntax",
                        {"name": "cannot tell" if number == 4 else "told"},
                    )
                )
    return made


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    return load_pair(*tiny.save_pair(tmp_path_factory.mktemp("models")))


@pytest.fixture(scope="module")
def changes(pair):
    return weight_tables(
        pair,
        words=WORDS,
        lists=LISTS,
        top=40,
        z=0.0,
        frequent=100,
        annotations=annotations(),
        cache=False,
    )


def test_tables_agree_with_what_they_are_made_of(pair, changes):
    assert set(changes) == {"heads", "words", "task", "level", "rotation", "added"}
    rotation = pair_rotation(pair, settings=RotationSettings(cache=False))
    assert {row["k"] for row in changes["rotation"].rows} == {8, 32}
    assert list(changes["rotation"].rows) == rotation.rows([8, 32])
    by_list = {
        name: [row["share"] for row in changes["words"].rows if row["list"] == name]
        for name in LISTS
    }
    for name, shares in by_list.items():
        known = [share for share in shares if share is not None]
        together = [row for row in changes["heads"].rows if row["list"] == name][-1]
        assert together["words"] == len(known) > 0
        assert together["share"] == pytest.approx(sum(known) / len(known))
    coding = next(
        row for row in changes["task"].rows if (row["label"], row["layers"]) == ("coding", "0-1")
    )
    assert (coding["mean_base"], coding["mean_tuned"]) == (0.5, (0.75 + 1.0) / 2)


def test_tables_come_back_from_the_folder_as_they_were(changes, tmp_path):
    assert read_changes(tmp_path) == {}
    write_changes(tmp_path, changes)
    again = read_changes(tmp_path)
    assert set(again) == set(changes)
    for name, table in changes.items():
        assert again[name].parameters == table.parameters
        assert again[name].hypothesis == table.hypothesis
        assert [list(row.items()) for row in again[name].rows] == [
            list(row.items()) for row in table.rows
        ]
    (tmp_path / "changes" / "heads.parquet").write_bytes(b"nothing")
    with pytest.raises(StudyError, match=r"heads\.parquet is damaged"):
        read_changes(tmp_path)


def test_figures_and_sections_belong_together(changes):
    text = "".join(weight_sections(changes, CaseSets(())))
    named = re.findall('data-figure="([^"]+)"', text)
    assert sorted(named) == sorted(weight_figures(changes))
    assert "p tests that the mean share of changed heads" in text
    assert "top 40" in text
    hostile = ChangeTable("words", ({**changes["words"].rows[0], "word": "<b>bold"},), {})
    text = "".join(weight_sections({**changes, "words": hostile}, CaseSets(())))
    assert "&lt;b&gt;bold" in text
    assert "<b>bold" not in text


def test_no_layers_give_no_tables(pair):
    settings = RotationSettings(cache=False)
    table = rotation_tables(dataclasses.replace(pair_rotation(pair, settings=settings), layers=()))
    assert "added" not in table
    assert "rotation" not in table


def test_the_report_of_a_study_holds_what_lies_in_its_folder(changes, tmp_path):
    store = Store.create(tmp_path / "s", PAIR, [METHOD], {})
    write_changes(store.folder, changes)
    assert Store(store.folder).changes["heads"].rows == changes["heads"].rows
    cases = Planted(6)
    grid = Grid(levels=(10,), thresholds=(7,), norms=(4.0,), normalisations=("raw",))
    page = write_report(cases, tmp_path / "r.html", grid=grid, budget_mb=0, changes=store.changes)
    text = page.path.read_text()
    for title in ("word pairs with instruction verbs?", "user tasks", "concepts turned?"):
        assert title in text
    analysis = analyse(cases)
    claims = [one.claim for one in find(analysis, page.outcomes, changes)]
    assert claims[-1] == "How far the feed-forward concepts are turned"
    files = write_tables(analysis, page.outcomes, tmp_path / "t", changes=changes)
    written = parquet.read_table(next(f for f in files if f.name == "weights_heads.parquet"))
    assert set(written.column("setting_top").to_pylist()) == {40}
    assert "hypothesis" in written.column_names
