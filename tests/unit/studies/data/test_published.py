"""The published attributions: both forms, and every number printed about them."""

from __future__ import annotations

import json
import pickle
import time

import numpy as np
import pytest
from twinlens.errors import LevelsError, RecordingError, UnknownBlockError
from twinlens.measures.density import DensityParameters
from twinlens.studies.analysis import inference
from twinlens.studies.analysis.profiles import POSITION
from twinlens.studies.analysis.scoring import Settings, scores
from twinlens.studies.analysis.statistics import analyse
from twinlens.studies.data.pickles import read_pickle
from twinlens.studies.data.published import import_published, pieces_to_tokens

from tests.support.published import PIECES, PROMPT, made_up_case, release_like
from tests.unit.studies.published_data import PUBLISHED, RELEASE, needs_published, needs_release


@pytest.fixture(scope="module")
def published():
    return import_published(PUBLISHED)


@pytest.fixture(scope="module")
def analysis(published):
    return analyse(published)


@pytest.fixture(scope="module")
def expected():
    return json.loads((PUBLISHED / "expected.json").read_text())


@needs_published
@pytest.mark.parametrize(
    ("settings", "key"),
    [
        (Settings(), "score"),
        (Settings(DensityParameters(threshold=0)), "score_b0"),
        (
            Settings(DensityParameters(normalisation="raw", aggregation="mean")),
            "mean_raw_density_b7",
        ),
        (Settings(DensityParameters(aggregation="mean")), "mean_norm_density_b7"),
    ],
)
def test_every_case_to_six_digits(published, expected, settings, key):
    found = scores(published, settings)
    assert len(found) == 80
    for score in found:
        case = expected["cases"][score.id]
        numbers = case[{"base": "llama", "tuned": "vicuna"}[score.side]]
        assert score.score == pytest.approx(numbers[key], abs=1e-6)
        assert score.answer_length == numbers["n_output"]
        assert score.group == case["dataset"]


def groups(name):
    return "all prompts" if name == "all" else name


@needs_published
def test_table_2_of_the_40_cases(analysis, expected):
    assert set(expected["llama_vs_vicuna"]) == {"self-instruct", "lima", "mt-bench", "all"}
    for name, numbers in expected["llama_vs_vicuna"].items():
        found = analysis.comparison("tuned against base", groups(name))
        for sample, model in ((found.first, "llama"), (found.second, "vicuna")):
            assert sample.n == numbers[model]["n"]
            assert sample.mean == pytest.approx(numbers[model]["mean"], abs=1e-6)
            assert sample.sd == pytest.approx(numbers[model]["std_ddof0"], abs=1e-6)
        one, two = (found.test(f"Welch t, {sides}-sided") for sides in ("one", "two"))
        assert one.statistic == pytest.approx(numbers["test"]["t"], abs=1e-6)
        assert one.df == pytest.approx(numbers["test"]["df"], rel=1e-6)
        assert one.p == pytest.approx(numbers["test"]["p_one_sided"], abs=1e-6)
        assert two.p == pytest.approx(numbers["test"]["p_two_sided"], abs=1e-6)
        both = found.test("paired t, two-sided")
        assert both.statistic == pytest.approx(numbers["paired_t"]["t"], abs=1e-6)
        assert both.p == pytest.approx(numbers["paired_t"]["p_two_sided"], abs=1e-6)
        assert found.higher == numbers["vicuna_higher"]


@needs_published
def test_table_1_of_the_40_cases(analysis, expected):
    for name, numbers in expected["followed_vs_unfollowed_vicuna"].items():
        found = analysis.comparison("followed against unfollowed", groups(name))
        for sample in (found.first, found.second):
            printed = numbers[sample.label]
            assert sample.n == printed["n"]
            assert sample.mean == pytest.approx(printed["mean"], abs=1e-6)
            assert sample.sd == pytest.approx(printed["std_ddof0"], abs=1e-6)
        share = found.second.n / (found.first.n + found.second.n)
        assert share == pytest.approx(numbers["followed_share"], abs=1e-6)
        one = found.test("Welch t, one-sided")
        assert one.hypothesis == "mean of unfollowed < mean of followed"
        assert one.statistic == pytest.approx(numbers["test"]["t"], abs=1e-6)
        assert one.df == pytest.approx(numbers["test"]["df"], rel=1e-6)
        assert one.p == pytest.approx(numbers["test"]["p_one_sided"], abs=1e-6)


@needs_published
def test_every_line_of_the_readme(analysis, published):
    """The tables as printed, line by line."""
    text = (PUBLISHED / "README.md").read_text().splitlines()
    printed = 0
    by_case = {(score.id, score.side): score for score in analysis.scores}
    for line in (line for line in text if line.startswith("| ")):
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if cells[0] in published.ids:
            base, tuned = by_case[cells[0], "base"], by_case[cells[0], "tuned"]
            assert cells[1:] == [
                str(tuned.rating),
                str(base.prompt_length),
                str(base.instruction_length),
                str(base.answer_length),
                f"{base.score:.4f}",
                str(tuned.answer_length),
                f"{tuned.score:.4f}",
            ]
            printed += 1
        elif len(cells) == 9:
            if cells[0] in ("dataset", "---"):
                continue
            found = analysis.comparison("tuned against base", groups(cells[0]))
            one, both = found.test("Welch t, one-sided"), found.test("paired t, two-sided")
            assert cells[1:] == [
                str(found.first.n),
                f"{found.first.mean:.4f} ({found.first.sd:.4f})",
                f"{found.second.mean:.4f} ({found.second.sd:.4f})",
                str(found.higher),
                f"{one.statistic:.4f}",
                f"{one.p:#.4g}",
                f"{both.statistic:.4f}",
                f"{both.p:#.4g}",
            ]
            printed += 1
        elif len(cells) == 7 and cells[0] in ("self-instruct", "lima", "mt-bench", "all"):
            found = analysis.comparison("followed against unfollowed", groups(cells[0]))
            one = found.test("Welch t, one-sided")
            assert cells[1:] == [
                str(found.second.n),
                f"{found.second.mean:.4f} ({found.second.sd:.4f})",
                str(found.first.n),
                f"{found.first.mean:.4f} ({found.first.sd:.4f})",
                f"{one.statistic:.4f}",
                f"{one.p:#.4g}",
            ]
            printed += 1
    assert printed == 48


@needs_published
def test_a_case_is_a_trace_for_the_saliency_panel(published):
    trace = published.trace("mtbench_coding_125")
    case = published.case("mtbench_coding_125", "tuned")
    attribution = trace.saliency("tuned")
    np.testing.assert_array_equal(attribution.values, case.values)
    assert attribution.values.dtype == np.float32
    column = trace.array("saliency/tuned/published_levels/3")
    np.testing.assert_array_equal(column, case.values[:, 3])
    assert trace.manifest.segment_positions("instruction") == list(case.instruction)
    assert trace.manifest.answer_length("base") == 299
    assert "".join(attribution.prompt_tokens) == f" {trace.manifest.prompt}"
    for key in (
        "saliency/tuned/occlusion",
        "attention/base/0/0",
        "saliency/tuned/published_levels/157",
    ):
        with pytest.raises(UnknownBlockError):
            trace.block(key)


@needs_published
def test_finished_levels_cannot_be_counted_anew(published):
    with pytest.raises(LevelsError, match="leave the number of levels at 10"):
        scores(published, Settings(DensityParameters(levels=20)))


@pytest.mark.parametrize("protocol", [3, 4])
def test_the_authors_form_is_read(tmp_path, protocol):
    case = made_up_case()
    release_like(tmp_path, pickle.dumps(case, protocol=protocol))
    cases = import_published(tmp_path)
    base, tuned = cases
    assert cases.ids == ("lima_author_1",)
    assert tuned.prompt == PROMPT
    assert tuned.instruction == (0, 1, 2)
    assert tuned.fragments == (0, 1)
    assert (base.followed, tuned.followed, tuned.rating, tuned.group) == (None, True, 3, "lima")
    np.testing.assert_array_equal(tuned.levels(), case["Explain"])
    assert tuned.answer == "A b\ufffd"


def test_pieces_carry_offsets():
    tokens, text = pieces_to_tokens(PIECES)
    assert text == PROMPT
    spelled = [text[token.start : token.end] for token in tokens]
    assert spelled[:9] == ["Say", " it", ".", " A", " d", "\u00f6", "\u00f6", "g", "."]
    assert spelled[9:] == ["\n", "Output", ":"]
    assert tokens[5].text == "\\xc3"


class Bomb:
    def __reduce__(self):
        return eval, ("1 / 0",)


@pytest.mark.parametrize(
    "value",
    [
        Bomb(),
        {"a": [Bomb()]},
        np.array([Bomb()], dtype=object),
        np.array(["text"]),
        {1, 2},
        complex(1),
        np.float64(1.0),
        len,
    ],
)
def test_anything_but_plain_data_is_refused(tmp_path, value):
    path = tmp_path / "x.pkl"
    path.write_bytes(pickle.dumps(value))
    with pytest.raises(RecordingError, match=r"x\.pkl is damaged or holds more"):
        read_pickle(path)


def test_a_few_bytes_that_stand_for_any_number_of_values_are_refused(tmp_path):
    value = [0, 0]
    for _ in range(60):
        value = [value, value]
    path = tmp_path / "x.pkl"
    path.write_bytes(pickle.dumps(value))
    with pytest.raises(RecordingError, match=r"more than 20000000 values"):
        read_pickle(path)


@pytest.mark.parametrize(
    "keys",
    [
        [((1 << 61) - 1) * i for i in range(1, 60_000)],  # all of one hash: the square of them
        [(1, 2)],
    ],
)
def test_keys_that_are_no_names_are_refused_before_a_dictionary_is_made(tmp_path, keys):
    path = tmp_path / "x.pkl"
    items = b"".join(pickle.dumps(key, 2)[2:-1] + b"N" for key in keys)
    path.write_bytes(b"\x80\x04}(" + items + b"u.")
    start = time.process_time()
    with pytest.raises(RecordingError, match="a key of it is no text and no number"):
        read_pickle(path)
    assert time.process_time() - start < 5


def test_damaged_pickles_are_refused(tmp_path):
    path = tmp_path / "x.pkl"
    whole = pickle.dumps({"a": np.arange(10.0)}, protocol=4)
    for length in range(0, len(whole), 7):
        path.write_bytes(whole[:length])
        with pytest.raises(RecordingError):
            read_pickle(path)


def test_arrays_come_back_in_any_layout(tmp_path):
    path = tmp_path / "x.pkl"
    array = np.asfortranarray(np.arange(6, dtype=">i4").reshape(2, 3))
    path.write_bytes(pickle.dumps([array, (1, "a", None, 2.5, b"x")], protocol=4))
    found, rest = read_pickle(path)
    np.testing.assert_array_equal(found, array)
    assert rest == (1, "a", None, 2.5, b"x")


def test_a_folder_without_results_is_named(tmp_path):
    with pytest.raises(RecordingError, match="holds no published results"):
        import_published(tmp_path)


@needs_release
def test_the_complete_release_gives_the_papers_numbers():
    found = analyse(import_published(RELEASE))
    table_1 = {
        "self-instruct": ("1.2283", "0.8917"),
        "lima": ("1.6173", "1.2799"),
        "mt-bench": ("1.4584", "0.9290"),
    }
    table_2 = {
        "self-instruct": ("1.1302", "0.9394"),
        "lima": ("1.5579", "1.2683"),
        "mt-bench": ("1.3440", "1.1777"),
    }
    for question, table in (
        ("followed against unfollowed", table_1),
        ("tuned against base", table_2),
    ):
        for group, printed in table.items():
            comparison = found.comparison(question, group)
            means = (comparison.second.mean, comparison.first.mean)
            assert tuple(f"{mean:.4f}" for mean in means) == printed
    p = [found.comparison("tuned against base", g).test("Welch t, one-sided").p for g in table_2]
    assert [f"{value:.1e}" for value in p[:2]] == ["1.9e-05", "2.5e-14"]
    assert f"{p[2]:.4f}" == "0.0382"
    base = [
        f"{point.mean:.3f}"
        for profile in found.profiles
        if (profile.name, profile.side) == (POSITION, "base")
        for point in profile.points
    ]
    assert " ".join(base) == "0.366 0.239 0.214 0.213 0.194 0.199 0.197 0.188 0.198 0.383"
    # The instruction rises, the rest of the prompt does not.
    controls = found.comparison("tuned against base", "all prompts").controls
    assert controls is not None
    assert controls.beyond_rest.n == found.counts["instruction is a part"] == 299
    assert found.counts["whole prompt is the instruction"] == 333
    means = [f"{mean:.3f}" for mean in (*controls.instruction, *controls.rest)]
    assert means == ["0.868", "1.053", "0.969", "0.951"]
    by_side = [
        [score.score - score.rest for score in found.scores if score.side == side and score.is_part]
        for side in ("base", "tuned")
    ]
    assert f"{np.mean(by_side[1]) - np.mean(by_side[0]):.3f}" == "0.202"
    assert f"{inference.paired_t(*by_side)[2]:.0e}" == "4e-06"
    assert controls.beyond_rest.p < 1e-3
    verdicts = {
        c.group: (c.verdict, c.why)
        for c in found.comparisons
        if c.question == "tuned against base" and c.level != "category"
    }
    assert verdicts == {
        "self-instruct": ("holds", ""),
        "lima": ("confounded", "not told from the rest of the prompt"),
        "mt-bench": ("no difference shown", "not shown at equal answer length"),
        "all prompts": ("holds", ""),
    }
