"""Studies on disk: nothing lost, nothing twice, recomputed without the models."""

from __future__ import annotations

import dataclasses
import gc
import subprocess
import sys
import tracemalloc

import numpy as np
import pytest

pytest.importorskip("pyarrow")

import pyarrow as pa
from twinlens.compute.live.live import trace_pair
from twinlens.compute.models import models as models_module
from twinlens.compute.models.loading import load_weights
from twinlens.compute.pair import load_pair
from twinlens.errors import DataError, Interrupted, PromptError, StudyError, UnknownBlockError
from twinlens.measures.density import DensityParameters
from twinlens.measures.summary import trace_score
from twinlens.studies.analysis.scoring import Settings, scores
from twinlens.studies.analysis.statistics import analyse
from twinlens.studies.data import store as store_module
from twinlens.studies.data.cases import paired
from twinlens.studies.data.rows import Problem, StudyRow
from twinlens.studies.data.store import Store
from twinlens.studies.run import study as run
from twinlens.studies.run.work import case_of

from tests.support import tiny
from tests.support.places import ROOT
from tests.unit.studies.planted import METHOD, PAIR, PlantedTrace, open_planted, planted, traced
from tests.unit.studies.planted import prompts as rows

SETTINGS = {"response": "own"}


def create(folder):
    return Store.create(folder, PAIR, [METHOD], SETTINGS)


def by(tracer):
    return run.here(traced(tracer, [METHOD.name]))


def case(row, trace, side):
    read, name = trace.manifest, METHOD.name
    values = trace.saliency(side, name).values
    return case_of(
        row, read.prompt, read.prompt_tokens, side, read.answers[side], values, method=name
    )


def same(first, second):
    pairs = list(zip(first, second, strict=True))
    for one, other in pairs:
        np.testing.assert_array_equal(one.values, other.values)
        assert dataclasses.replace(one, values=0) == dataclasses.replace(other, values=0)
    return len(pairs)


def test_cases_come_back_as_they_were(tmp_path):
    store = create(tmp_path / "s")
    made = []
    for row in rows(5):
        trace = PlantedTrace(row)
        cases = [case(row, trace, side) for side in ("base", "tuned")]
        store.append(store_module.as_table({row.number: cases}))
        made += cases
    read = list(Store(tmp_path / "s"))
    assert len(read) == 10
    for one, other in zip(made, read, strict=True):
        np.testing.assert_array_equal(one.values, other.values)
        assert one.values.dtype == other.values.dtype == np.float32
        for name in ("id", "side", "answer", "answer_tokens", "scored", "instruction", "fragments"):
            assert getattr(one, name) == getattr(other, name)
    assert read[0].scored[0] == 1
    assert [score.score for score in scores(made)] == [score.score for score in scores(read)]


def test_many_prompts_are_merged_and_read_in_order(tmp_path, monkeypatch):
    monkeypatch.setattr(store_module, "MERGE", 8)
    store = create(tmp_path / "s")
    run.fill(store, iter(rows(19)), planted)
    files = sorted(path.name for path in (tmp_path / "s" / "rows").iterdir())
    assert len(files) == 2 + 19 - 16
    assert [case.id for case in store] == [f"p{i}" for i in range(19) for _ in range(2)]
    assert store.finished() == {f"p{i}" for i in range(19)}


def test_prompts_finished_in_any_order_are_read_in_the_order_of_the_data(tmp_path, monkeypatch):
    monkeypatch.setattr(store_module, "MERGE", 8)
    store = create(tmp_path / "s")
    order = [*rows(31)[10:], *rows(10)]
    for row in [*order[::2], *order[1::2]]:
        store.append(next(open_planted()([row], print)))
    assert 1 < len(list((tmp_path / "s" / "rows").glob("*-*"))) < 31 / 8
    assert [(case.id, case.side) for case in store] == [
        (f"p{i}", side) for i in range(31) for side in ("base", "tuned")
    ]


def test_batches_hold_prompts_of_similar_length_and_look_little_ahead():
    taken = []

    def reading():
        for i in range(400):
            taken.append(i)
            yield StudyRow(i + 1, f"p{i}", "x" * (1 + i * 37 % 101))

    made = run.batches(reading(), 4)
    first = next(made)
    assert len(taken) == 4 * run.SORTED
    everything = [first, *made]
    assert sorted(row.number for batch in everything for row in batch) == list(range(1, 401))
    spread = [max(len(r.prompt) for r in b) - min(len(r.prompt) for r in b) for b in everything]
    assert {len(batch) for batch in everything} == {4}
    assert np.mean(spread) < 101 / run.SORTED


def test_rows_of_changed_data_do_not_replace_each_other(tmp_path, monkeypatch):
    monkeypatch.setattr(store_module, "MERGE", 4)
    store = create(tmp_path / "s")
    run.fill(store, iter(rows(5)), planted)
    moved = [dataclasses.replace(row, id=f"new {row.id}") for row in rows(5)]
    run.fill(store, iter(moved), planted)
    assert len(store.finished()) == 10
    assert len(list(store)) == 20


@pytest.mark.parametrize("die_after", [4, 9])
def test_killed_in_the_middle_nothing_is_lost_and_nothing_is_there_twice(tmp_path, die_after):
    """Dies before a row's file appears (4), and before the merged file does (9)."""
    command = [
        sys.executable,
        "-m",
        "tests.unit.studies.run.killed_study",
        str(tmp_path / "s"),
        "12",
    ]
    died = subprocess.run([*command, str(die_after)], cwd=ROOT, check=False)
    assert died.returncode == -9
    kept = Store(tmp_path / "s").finished()
    assert len(kept) == die_after - 1
    subprocess.run([*command, "0"], cwd=ROOT, check=True)
    whole = create(tmp_path / "whole")
    run.fill(whole, iter(rows(12)), planted)
    assert same(Store(tmp_path / "s"), whole) == 24


def test_a_merge_that_died_before_removing_is_read_once(tmp_path, monkeypatch):
    monkeypatch.setattr(store_module, "MERGE", 8)
    store = create(tmp_path / "s")
    run.fill(store, iter(rows(7)), planted)
    kept = {path: path.read_bytes() for path in (tmp_path / "s" / "rows").iterdir()}
    run.fill(store, iter(rows(8)), planted)
    assert len(list((tmp_path / "s" / "rows").iterdir())) == 1
    for path, data in kept.items():
        path.write_bytes(data)
    assert [case.id for case in store] == [f"p{i}" for i in range(8) for _ in range(2)]


def test_finished_prompts_are_not_traced_again(tmp_path):
    asked = []

    def tracer(row):
        asked.append(row.id)
        return PlantedTrace(row)

    store = create(tmp_path / "s")
    run.fill(store, iter(rows(3)), by(tracer))
    run.fill(store, iter(rows(5)), by(tracer))
    assert asked == ["p0", "p1", "p2", "p3", "p4"]


def test_rows_that_fail_are_set_aside_and_the_rest_goes_on(tmp_path):
    def tracer(row):
        if row.id == "p1":
            raise PromptError("the prompt is too long: shorten it")
        return PlantedTrace(row)

    store = create(tmp_path / "s")
    items = [
        *rows(2),
        Problem(3, "it has no text"),
        StudyRow(4, "p3", "prompt 3", ((0, 6),), ((0, 6),)),
    ]
    run.fill(store, iter(items), by(tracer))
    assert store.problems == [
        Problem(2, "the prompt is too long: shorten it"),
        Problem(3, "it has no text"),
    ]
    assert store.finished() == {"p0", "p3"}


def test_an_interrupt_keeps_what_is_finished_and_progress_says_the_time(tmp_path):
    said = []

    def report(done, total, what):
        said.append((done, total, what))
        if done == 3:
            raise Interrupted("stopped")

    store = create(tmp_path / "s")
    with pytest.raises(Interrupted):
        run.fill(store, iter(rows(9)), planted, total=9, report=report)
    assert store.finished() == {"p0", "p1", "p2"}
    assert said[0][:2] == (1, 9)
    assert "min left" in said[0][2]


def test_memory_does_not_grow_with_the_prompts(tmp_path):
    """What stays per prompt is a small part of what is stored for it, in writing and in reading.

    What stays is what is left after a collection: a peak also depends on when garbage was
    collected, which other tests and their modules have a say in.
    """
    text = "word " * 400
    warm, store = create(tmp_path / "warm"), create(tmp_path / "s")
    run.fill(warm, iter(rows(1)), planted)  # whatever is imported late
    assert list(warm)
    made = (StudyRow(i + 1, f"p{i}", text, ((0, 6),), ((0, 6),)) for i in range(24))
    held, stored = {}, {}

    def look(what, done, nbytes=0):
        stored[what] = stored.get(what, 0) + nbytes
        if done in (8, 24):
            gc.collect()
            traced = tracemalloc.get_traced_memory()[0]
            held[what, done] = traced + pa.total_allocated_bytes(), stored[what]

    tracemalloc.start()
    try:
        run.fill(store, made, planted, report=lambda done, total, what: look("write", done))
        for place, case in enumerate(store):
            look("read", (place + 1) / 2, case.values.nbytes)
    finally:
        tracemalloc.stop()
    (few, before), (many, after) = held["read", 8], held["read", 24]
    assert after - before > 500_000
    assert many - few < 0.05 * (after - before)
    assert held["write", 24][0] - held["write", 8][0] < 0.05 * (after - before)


def test_a_folder_of_another_study_is_refused(tmp_path):
    create(tmp_path / "s")
    with pytest.raises(StudyError, match="other settings"):
        Store.create(tmp_path / "s", PAIR, [METHOD], {"response": "base"})
    other = dataclasses.replace(PAIR, layers=9)
    with pytest.raises(StudyError, match="other pair"):
        Store.create(tmp_path / "s", other, [METHOD], SETTINGS)
    with pytest.raises(StudyError, match="holds no study"):
        Store(tmp_path / "nowhere")
    with pytest.raises(StudyError, match="not occlusion"):
        Store(tmp_path / "s").with_method("occlusion")
    (tmp_path / "s" / "study.json").write_text("{}")
    with pytest.raises(StudyError, match="damaged"):
        Store(tmp_path / "s")


def test_a_damaged_file_is_named(tmp_path):
    store = create(tmp_path / "s")
    run.fill(store, iter(rows(2)), planted)
    next((tmp_path / "s" / "rows").glob("000000002_*")).write_bytes(b"PAR1")
    with pytest.raises(StudyError, match=r"000000002_\w+\.parquet of s is damaged"):
        list(store)


def test_a_case_is_a_trace(tmp_path):
    store = create(tmp_path / "s")
    run.fill(store, iter(rows(3)), planted)
    trace = store.trace("p1")
    expected = PlantedTrace(rows(3)[1]).saliency("tuned", "gradient_x_input").values
    np.testing.assert_array_equal(trace.saliency("tuned").values, expected)
    with pytest.raises(UnknownBlockError, match="no prompt p9"):
        store.trace("p9")


DATA = [
    {"prompt": tiny.PROMPT, "instruction": tiny.INSTRUCTION, "group": "g", "rating": 4},
    {"prompt": "The small dog sleeps. Write it.", "instruction": "Write it.", "rating": 1},
    {"prompt": "Write the word dog.", "answer": " The dog", "group": "g"},
    {"text": "no prompt"},
    {"prompt": "word " * 200},
]


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    return load_pair(*tiny.save_pair(tmp_path_factory.mktemp("pair")))


MIXED = [
    {"prompt": "Write the word dog in the garden and then again." * (1 + i % 3), "answer": " a dog"}
    for i in range(6)
]


@pytest.mark.parametrize("response", ["own", "tuned", "given"])
def test_batches_find_what_one_prompt_at_a_time_finds(tmp_path, pair, response):
    data = [*MIXED[:3], {"prompt": "word " * 200, "answer": " dog"}, *MIXED[3:]]
    options = {"response": response, "max_new_tokens": 8}
    said = []
    together = run.study(
        pair, data, tmp_path / "s", batch_size=4, report=lambda *now: said.append(now), **options
    )
    assert [problem.number for problem in together.problems] == [4]
    assert said[-1][:2] == (7, 7)
    for row, both in zip([*data[:3], *data[4:]], paired(together), strict=True):
        reads = row["answer"] if response == "given" else response
        alone = trace_pair(pair, row["prompt"], response=reads, max_new_tokens=8)
        for one in both:
            expected = alone.saliency(one.side, "gradient_x_input").values
            assert one.answer == alone.manifest.answers[one.side].text
            np.testing.assert_allclose(one.values, expected, rtol=1e-3, atol=1e-6)


def test_with_one_model_at_a_time_models_are_loaded_by_batch(tmp_path, monkeypatch):
    """Twice for what the study is of; then each batch begins with the model the last one left."""
    loaded = []

    def load(source, *rest):
        loaded.append(source.name)
        return load_weights(source, *rest)

    monkeypatch.setattr(models_module, "load_weights", load)
    folders = tiny.save_pair(tmp_path)
    alone = load_pair(*folders, memory="sequential")
    store = run.study(alone, MIXED, tmp_path / "s", batch_size=3, max_new_tokens=4)
    known, first, second = ["base", "tuned"], ["base", "tuned", "base"], ["tuned", "base"]
    assert loaded == [*known, *first, *second]
    both = load_pair(*folders)
    assert same(store, run.study(both, MIXED, tmp_path / "b", batch_size=3, max_new_tokens=4)) == 12


@pytest.mark.parametrize("methods", [("gradient_x_input",), ("gradient_x_input", "occlusion")])
def test_panel_and_study_give_one_score(tmp_path, pair, methods):
    """Blanks and line breaks inside a span count, those at its ends do not."""
    prompt = "Rewrite the sentence.\n\nSay: it  now. The committee concurred.\n\nOutput:"
    span = (0, len("Rewrite the sentence.\n\nSay: it  now. "))
    row = {"id": "one", "prompt": prompt, "instruction": [list(span)]}
    store = run.study(pair, [row], tmp_path / "s", methods=methods, max_new_tokens=8)
    trace = trace_pair(pair, prompt, instruction=[span], response="own", max_new_tokens=8)
    found = {score.side: score.score for score in scores(store)}
    marked = trace.manifest.segment_positions("instruction")
    text = [trace.manifest.prompt_tokens[place].text for place in marked]
    assert {"\n", "\n\n"} & set(text)
    assert not text[-1].isspace()
    kept = store.trace("one")
    for case in store:
        assert list(case.instruction) == marked
        panel = trace_score(trace, case.side, "gradient_x_input")
        assert panel == pytest.approx(found[case.side], abs=1e-5)
        assert trace_score(kept, case.side) == pytest.approx(found[case.side], abs=1e-5)


def test_a_study_of_a_pair(tmp_path, pair):
    methods = ("gradient_x_input", "occlusion")
    store = run.study(pair, DATA, tmp_path / "s", methods=methods, max_new_tokens=12)
    assert [problem.number for problem in store.problems] == [4, 5]
    cases = list(store)
    assert [(case.id, case.side) for case in cases] == [
        (str(i), side) for i in (1, 2, 3) for side in ("base", "tuned")
    ]
    direct = trace_pair(pair, tiny.PROMPT, instruction=tiny.INSTRUCTION, max_new_tokens=12)
    for method in methods:
        tuned = list(store.with_method(method))[1]
        expected = direct.saliency("tuned", method).values
        np.testing.assert_allclose(tuned.values, expected, rtol=1e-4, atol=1e-5)
    first = cases[1]
    # What hiding segments costs: both models on both answers, here and from the folder.
    segments = {"instruction", "rest"}
    for case in cases[:2]:
        answers = {"base", "tuned"}
        assert set(case.hidden) == {(part, answer) for part in segments for answer in answers}
        assert len(case.hidden["instruction", case.side]) == case.answer_length
    shown = "".join(first.prompt_tokens[i].text for i in first.instruction)
    assert shown.strip() == tiny.INSTRUCTION
    assert 0 not in first.scored
    assert (first.rating, first.followed, cases[0].rating) == (4, True, None)

    again = Store(tmp_path / "s")
    wide = Settings(DensityParameters(threshold=0, normalisation="raw", answer_cut=4))
    assert [s.score for s in scores(again, wide)] == [s.score for s in scores(cases, wide)]
    assert analyse(again).comparison("tuned against base", "all prompts")


@pytest.mark.parametrize("response", ["base", "tuned", "given"])
def test_shared_answers_and_templates(tmp_path, pair, response):
    store = run.study(
        pair, DATA[2:3], tmp_path / "s", response=response, max_new_tokens=6, template=True
    )
    assert not store.problems
    base, tuned = store
    assert base.answer == tuned.answer
    assert (response == "given") == (base.answer == " The dog")
    shown = "".join(base.prompt_tokens[i].text for i in base.instruction)
    assert shown.strip() == "Write the word dog."
    assert len(base.scored) < len(base.prompt_tokens)


@pytest.mark.parametrize(
    "methods", [("gradient_x_input",), ("gradient_x_input", "attention_rollout")]
)
def test_a_prompt_that_the_template_says_too(tmp_path, pair, methods):
    rows = [{"prompt": text, "answer": "base"} for text in ("User", "Assistant", " User: a ")]
    options = {"template": True, "response": "given", "max_new_tokens": 2}
    store = run.study(pair, rows, tmp_path / "s", methods=methods, **options)
    assert not store.problems
    for case in store:
        assert case.answer == "base", "the word, not base's answer"
        first = min(case.prompt_tokens[i].start for i in case.instruction)
        last = max(case.prompt_tokens[i].end for i in case.instruction)
        assert first >= len("### User: ")
        assert case.prompt[first:last].strip() in ("User", "Assistant", "User: a")
        assert not case.prompt[last:].removeprefix(" ").removeprefix("\n").startswith("User")


def test_missing_answers_are_set_aside(tmp_path, pair):
    with pytest.raises(DataError, match="none of the 1 rows can be used; row 1: it has no answer"):
        run.study(pair, DATA[:1], tmp_path / "s", response="given")
    data = [DATA[0], DATA[2]]
    store = run.study(pair, data, tmp_path / "t", response="given", max_new_tokens=4)
    assert [case.answer for case in store] == [" The dog"] * 2
    assert "has no answer" in store.problems[0].message


def test_a_study_and_its_analysis_have_tables(tmp_path, pair):
    store = run.study(pair, [DATA[0]], tmp_path / "s", max_new_tokens=4)
    table = store.to_frame()
    assert list(table["side"]) == ["base", "tuned"]
    assert list(table["answer"]) == [case.answer for case in store]
    assert list(table["answer_length"]) == [case.values.shape[1] for case in store]
    analysis = analyse(store)
    assert list(analysis.to_frame()["score"]) == [score.score for score in analysis.scores]
    for name, records in analysis.records().items():
        assert len(analysis.to_frame(name)) == len(records)
    with pytest.raises(StudyError, match="no table 'cases': one of scores, comparisons"):
        analysis.to_frame("cases")
    assert (
        repr(store)
        == f"<Store s of {store.pair.base.name} | {store.pair.tuned.name}: gradient_x_input>"
    )
    assert max(len(repr(shown)) for shown in (analysis, *store)) < 600


def test_nothing_is_written_for_data_without_a_row(tmp_path, pair):
    with pytest.raises(DataError, match="the data hold no row"):
        run.study(pair, [], tmp_path / "s")
    assert not (tmp_path / "s").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"engine": "cluster"}, "no engine 'cluster': use local or ray"),
        ({"workers": 2}, "set workers= with engine='ray'"),
        ({"batch_size": 0}, "batch_size must be at least 1, not 0"),
        ({"response": "mine"}, "no response 'mine'"),
        ({"methods": ("guess",)}, "no method guess"),
        ({"methods": ()}, "none given"),
    ],
)
def test_unknown_options(tmp_path, pair, options, message):
    with pytest.raises(StudyError, match=message):
        run.study(pair, DATA, tmp_path / "s", **options)
    assert not (tmp_path / "s").exists()
