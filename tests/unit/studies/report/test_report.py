"""The report: its sentences, tables, files and page."""

from __future__ import annotations

import base64
import csv
import gzip
import json
import re
from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip("pyarrow")

from click.testing import CliRunner
from pyarrow import parquet
from twinlens.commands import study_commands as command
from twinlens.contract import wire
from twinlens.contract.manifest import Method
from twinlens.contract.palette import PALETTES
from twinlens.contract.words import THEMES
from twinlens.errors import TwinlensError
from twinlens.measures.density import DensityParameters
from twinlens.studies.analysis.scoring import Settings
from twinlens.studies.analysis.sentences import findings
from twinlens.studies.analysis.statistics import analyse
from twinlens.studies.analysis.tables import write_tables
from twinlens.studies.analysis.variants import FORMULA_ALONE, Grid, other_methods, robustness
from twinlens.studies.data.rows import Problem, StudyRow
from twinlens.studies.data.store import Store
from twinlens.studies.report import case_packs
from twinlens.studies.report.report import write_report
from twinlens.studies.run import study as run

from tests.unit.studies.planted import METHOD, PAIR, Planted, PlantedTrace, traced
from tests.unit.studies.published_data import PUBLISHED, needs_published

SMALL = Grid(levels=(10,), thresholds=(7,), norms=(4.0,))
RAW = Settings(DensityParameters(normalisation="raw", aggregation="mean"))


def said(cases, settings=None):
    analysis = analyse(cases, settings)
    return findings(analysis, robustness(cases, SMALL))


def test_the_sentences_count_combinations_and_say_what_length_does():
    robust = next(t for t in said(Planted(20, effect=1.5)) if "combinations" in t)
    assert "Of 16 combinations of settings the score of tuned is higher in" in robust
    cases = Planted(20, effect=1.5)
    outcomes = [
        replace(outcome, difference=-1.0, verdict="turns")
        if outcome.variant == FORMULA_ALONE
        else outcome
        for outcome in robustness(cases, SMALL)
    ]
    robust = next(t for t in findings(analyse(cases), outcomes) if "combinations" in t)
    assert "the mean difference is -1.0000" in robust
    assert "length turns it, not the missing division" in robust


def study_data(text):
    """What the scripts of the page read."""
    packed = re.search(r'id="study-data">(.*?)</script>', text, re.S)[1]
    return json.loads(gzip.decompress(base64.b64decode(packed)))


def test_a_pack_holds_every_number():
    """Read by its description, as the page does: `case_panel.ts` is tested against the same."""

    class Odd(Planted):
        def both(self, index):
            # Levels in base, other numbers in tuned.
            base, tuned = super().both(index)
            return [replace(base, values=np.rint(base.values * 5) % 11, kind="levels"), tuned]

    cases = Odd(3)
    ids = list(dict.fromkeys(case.id for case in cases))
    shared = case_packs.shared_state(cases, ids[0])
    data = gzip.decompress(base64.b64decode(case_packs.packed_group(cases, ids, shared)))
    at = 4 + int.from_bytes(data[:4], "little")
    for case_id, (own, index) in zip(ids, json.loads(data[4:at]), strict=True):
        trace = cases.trace(case_id)
        assert own.get("title", shared["title"]) == case_id
        columns = own["manifest"]["prompt_tokens"]
        assert columns["count"] == len(trace.manifest.prompt_tokens)
        assert not columns["own"]
        for key, entry in index.items():
            expected = trace.block(key).astype(np.float32).ravel()
            halves = entry["halves"]
            if halves:
                size = (expected.size + 1) // 2
                both = np.frombuffer(data, np.uint8, size, at)
                found = np.stack([both & 15, both >> 4], axis=1).ravel()[: expected.size]
            else:
                size = entry["length"]
                width = np.dtype(entry["dtype"]).itemsize
                rows = np.frombuffer(data, np.uint8, size, at).reshape(width, -1)
                found = wire.decode(entry, rows.T.tobytes()).ravel()
            np.testing.assert_allclose(found, expected, atol=0 if halves else expected.max() / 250)
            at += size
        assert [entry["halves"] for entry in index.values()] == [True, False]
    assert at == len(data)


def test_the_page_carries_everything_and_nothing_from_outside(tmp_path):
    problems = [Problem(7, "it has <no> text")]
    written = write_report(
        Planted(8, effect=1.0), tmp_path / "r.html", grid=SMALL, problems=problems
    )
    text = written.path.read_text()
    assert written.panels == 8
    assert "it has &lt;no&gt; text" in text
    outside = re.findall(
        r"""(?:src|href)\s*=\s*["']?(?!data:)(https?:|//)""", text.split("<script")[0]
    )
    assert not outside
    data = study_data(text)
    for theme in ("light", "dark"):
        assert set(data["figures"][theme]["roots"]) == {
            "first-tuned-against-base",
            "first-followed-against-unfollowed",
            "scores",
            "lengths",
            "robustness-tuned-against-base",
            "robustness-followed-against-unfollowed",
            "profile-prompt",
            "profile-answer",
        }
    colours = [set(re.findall("#[0-9a-f]{6}", json.dumps(data["figures"][t]))) for t in THEMES]
    assert PALETTES["light"].base in colours[0] - colours[1]
    assert PALETTES["dark"].base in colours[1] - colours[0]
    for variant in data["variants"]:
        assert len(variant["base"]) == len(variant["tuned"]) == 8
    plain = [score.score for score in written.analysis.scores if score.side == "tuned"]
    assert data["variants"][0]["tuned"] == pytest.approx(plain, abs=1e-4)
    shown = re.findall(r'data-set="(\d+)" data-words="([^"]*)"', text)
    led = {int(number) for number in re.findall(r'data-variant="(\d+)"', text)}
    assert led == set(range(len(data["variants"])))
    assert shown
    assert {int(number) for number, _ in shown} == set(range(len(data["sets"])))
    parts = re.findall(r'data-profile="(\d+)" data-part="(\d+)"', text)
    assert {int(n) for n, _ in parts} == set(range(len(data["profiles"])))
    for profile, known in zip(data["profiles"], written.analysis.profiles, strict=True):
        kept = [values for values in profile if values is not None]
        assert len(kept) == len(known.ids)
        assert np.mean(kept, axis=0) == pytest.approx(known.values.mean(axis=0), abs=1e-3)
    assert len(written.to_frame("robustness")) == len(written.outcomes)
    assert list(written.to_frame()["group"]) == [c.group for c in written.analysis.comparisons]
    assert "8 prompts, each with an answer of base" in written._repr_html_()
    everything = next(data["sets"][int(n)] for n, words in shown if words == "all prompts")
    assert everything == list(range(8))


@pytest.mark.slow
def test_cases_beyond_the_budget_come_without_their_panel(tmp_path):
    written = write_report(Planted(6), tmp_path / "r.html", grid=SMALL, budget_mb=0.1)
    assert written.panels == 0
    whole = write_report(Planted(6), tmp_path / "r.html", grid=SMALL)
    assert whole.panels == 6
    budget = (whole.size - 1) / 1e6
    written = write_report(Planted(6), tmp_path / "r.html", grid=SMALL, budget_mb=budget)
    assert written.size < whole.size
    assert 0 < written.panels < 6


@pytest.mark.slow
def test_prompts_without_an_instruction_have_no_score(tmp_path):
    class Some(Planted):
        def both(self, index):
            kept = super().both(index)
            if index % 3:
                return kept
            return [replace(case, instruction=(), fragments=()) for case in kept]

    written = write_report(Some(12), tmp_path / "r.html", grid=SMALL, budget_mb=0)
    text = written.path.read_text()
    data = study_data(text)
    for variant in data["variants"]:
        assert [value is None for value in variant["tuned"]] == [i % 3 == 0 for i in range(12)]
    assert "nan" not in text[text.index("<main>") : text.index("</main>")].lower()


def test_a_study_without_instructions_has_a_report(tmp_path):
    class Bare(Planted):
        def both(self, index):
            return [replace(case, instruction=(), fragments=()) for case in super().both(index)]

    written = write_report(Bare(3), tmp_path / "r.html", grid=SMALL, budget_mb=0)
    assert written.analysis.comparisons == ()
    assert "What is compared, and what is missing" in written.path.read_text()


@pytest.mark.slow
def test_hostile_names_stay_text(tmp_path):
    cases = Planted(6, groups=("</script><script>window.hacked=1</script>", "<b>"))
    text = write_report(cases, tmp_path / "r.html", grid=SMALL).path.read_text()
    assert "<script>window.hacked" not in text
    assert "&lt;/script&gt;&lt;script&gt;window.hacked=1" in text


def test_no_cases_make_no_report(tmp_path):
    with pytest.raises(TwinlensError, match="no finished prompt"):
        write_report(Planted(0), tmp_path / "r.html")
    assert not (tmp_path / "r.html").exists()


def test_tables_are_tidy_and_carry_their_settings(tmp_path):
    cases = Planted(8)
    outcomes = robustness(cases, SMALL)
    analysis = analyse(cases, RAW)
    files = write_tables(analysis, outcomes, tmp_path / "tables", pair=cases.pair)
    names = {path.name for path in files}
    assert len(names) == 14
    for path in files:
        rows = (
            parquet.read_table(path).to_pylist()
            if path.suffix == ".parquet"
            else list(csv.DictReader(path.open()))
        )
        assert rows
        assert {row["tuned_model"] for row in rows} == {PAIR.tuned.name}
        assert {row["base_revision"] for row in rows} == {PAIR.base.revision}
        if path.stem not in ("robustness", "robustness_shares"):
            assert {row["normalisation"] for row in rows} == {"raw"}
    tests = parquet.read_table(tmp_path / "tables" / "tests.parquet").to_pylist()
    assert all(row["hypothesis"] and row["name"] for row in tests)
    scores = parquet.read_table(tmp_path / "tables" / "scores.parquet")
    assert scores.num_rows == 16


def stored(folder, methods=(METHOD,)):
    store = Store.create(folder, PAIR, methods, {"response": "own"})
    prompt = "a prompt with several words in it"
    rows = [
        StudyRow(
            i + 1,
            f"p{i}",
            prompt,
            ((0, 8),),
            ((0, 8),),
            rating=1 + 3 * (i % 2),
            followed=i % 2 == 1,
        )
        for i in range(12)
    ]
    run.fill(store, iter(rows), run.here(traced(PlantedTrace, [one.name for one in methods])))
    return store


@pytest.mark.slow
def test_other_methods_are_variants_of_their_own(tmp_path):
    second = Method("occlusion", "o", "m", "s", True, "c")
    store = stored(tmp_path / "s", (METHOD, second))
    outcomes = other_methods(store)
    assert {outcome.variant for outcome in outcomes} == {"method: occlusion"}
    assert {outcome.method for outcome in outcomes} == {"occlusion"}
    written = write_report(store, tmp_path / "r.html", grid=SMALL)
    assert "method: occlusion" in written.path.read_text()


@pytest.mark.slow
def test_the_command_reports_again_without_models(tmp_path):
    stored(tmp_path / "s")
    result = CliRunner().invoke(
        command.report,
        [str(tmp_path / "s"), "--threshold", "0", "--normalisation", "raw", "--json"],
        catch_exceptions=False,
    )
    assert result.exit_code == 0
    summary = json.loads(result.output)
    assert {(group["threshold"], group["normalisation"]) for group in summary["comparisons"]} == {
        (0, "raw")
    }
    assert (tmp_path / "s" / "report.html").exists()
    assert (tmp_path / "s" / "tables" / "comparisons.csv").exists()


@pytest.mark.slow
def test_the_command_runs_a_study(tmp_path):
    from tests.support import tiny

    base, tuned = tiny.save_pair(tmp_path)
    lines = [{"prompt": tiny.PROMPT}, {"prompt": "Write the word dog."}, {"text": ""}]
    (tmp_path / "d.jsonl").write_text("\n".join(map(json.dumps, lines)))
    arguments = [str(base), str(tuned), str(tmp_path / "d.jsonl"), "-o", str(tmp_path / "s")]
    result = CliRunner().invoke(
        command.study, [*arguments, "--max-new-tokens", "8"], catch_exceptions=False
    )
    assert result.exit_code == 0
    assert "row 3 set aside" in result.stderr
    assert "2 prompts" in result.stdout
    assert Store(tmp_path / "s").finished() == {"1", "2"}
    assert (tmp_path / "s" / "report.html").stat().st_size > 4e5


@pytest.mark.slow
def test_the_sentence_on_other_methods_says_what_is_not_known(tmp_path):
    page = write_report(stored(tmp_path / "s"), tmp_path / "r.html", grid=SMALL)
    assert "Only one attribution method is stored (gradient_x_input)" in page.path.read_text()


@pytest.mark.slow
@needs_published
def test_the_command_reports_published_results(tmp_path):
    result = CliRunner().invoke(
        command.published, [str(PUBLISHED), "-o", str(tmp_path)], catch_exceptions=False
    )
    assert result.exit_code == 0
    assert "Mean score 1.1006 (base) and 1.3531 (tuned), 40 prompts" in result.output
    assert "by Holm over the table" in result.output
    assert "In 20 of 40 the instruction is a part of the prompt" in result.output
    text = (tmp_path / "report.html").read_text()
    table = "Tables 1 and 2 of the paper (632 prompts) beside this computation of 40 of them:"
    assert text.index(table) < text.index("What was found")
    assert all(f">{printed}<" in text for printed in ("0.9394", "1.1302", "2.5e-14"))
    for printed in ("0.8282 (0.4804)", "1.1129 (0.6282)", "0.9729 (0.6757)", "1.4635 (0.4763)"):
        assert printed in text
