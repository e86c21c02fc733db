"""What is said of a trace: above its null only, and as plain text."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from scipy import stats
from twinlens.contract import blocks
from twinlens.contract.wire import Value
from twinlens.errors import MemoryNeededError
from twinlens.measures import phrases
from twinlens.measures.chance import (
    beyond,
    binomial_tail,
    distinguishable,
    p_value,
    student_tail,
)
from twinlens.measures.findings import findings
from twinlens.measures.findings_text import Findings
from twinlens.support.progress import Report

from tests.support.made_up import MadeUpTrace, manifest

M = 5


def str_of(found: list[Any]) -> str:
    return str(Findings(found))


def step(kl: float, entropy: float = 0.0) -> dict[str, Any]:
    side = {"logprob": -0.01, "rank": 1, "entropy": entropy, "expects": []}
    return {"base": {**side, "logprob": -kl}, "tuned": side, "kl": kl, "kl_back": kl, "shift": ""}


def null(times: float, *, places: int = 0) -> Any:
    """Predictions that moved so many times as far as under the draws; so many blocks changed."""
    drawn = [[1e-4 * (1 + draw / 10)] * M for draw in range(9)]
    return {
        "fraction": 0.25,
        "update": [1.4e-4 * times**2] * M,
        "scrambled": drawn,
        "rounding": [1e-6] * M,
        "changed": [
            {"kind": "feed_forward", "layer": layer, "weights": 0.2, "length": length}
            for layer, length in enumerate([0.3] * places + [0.0] * (4 - places))
        ],
    }


class Planted(MadeUpTrace):
    """Some blocks as the test says."""

    def __init__(self, planted: dict[str, Any], **options: Any) -> None:
        super().__init__(manifest(**options))
        self.planted = planted

    def block(self, key: str, report: Report | None = None) -> Value:
        value = self.planted.get(key)
        if isinstance(value, Exception):
            raise value
        return super().block(key, report) if value is None else value


@pytest.mark.parametrize(
    ("kl", "found", "expected"),
    [
        (0.0, null(30), False),
        (1e-4, null(30), False),
        (1.0, null(30), True),
        (1.0, null(1.1), False),
        (1.0, null(1.1, places=2), True),
        (1.0, null(1.1, places=3), False),
        (1.0, null(30) | {"rounding": [0.6] * M}, False),
    ],
)
def test_a_pair_is_told_from_noise(kl: float, found: Any, expected: bool) -> None:
    assert distinguishable([step(kl)] * M, found) is expected


def test_the_chance_is_that_of_a_t_test() -> None:
    found = null(1.3)
    drawn = [np.log(np.sqrt(kl).sum()) for kl in found["scrambled"]]
    own = np.log(np.sqrt(found["update"]).sum())
    # A draw more, of equal spread: the t-test of two groups of which one has one member.
    expected = stats.ttest_ind([own], drawn, alternative="greater").pvalue
    assert p_value(found["update"], found["scrambled"]) == pytest.approx(expected)


def test_findings_are_a_table() -> None:
    found = Findings(findings(MadeUpTrace()))
    table = found.to_frame()
    assert [f"{row.finding} [{row.checked}]" for row in table.itertuples() if row.checked] == [
        line for line in str(found).splitlines() if line.endswith("]")
    ]
    assert table["kind"].tolist() == [finding["kind"] for finding in found]


def test_what_is_not_told_from_noise_is_one_sentence() -> None:
    planted = {blocks.null(): null(1.0), blocks.answer_steps(): [step(1.0)] * M}
    (only,) = findings(Planted(planted))
    assert only["kind"] == "nothing"
    assert only["title"] == "Nothing here is distinguishable from no tuning."
    assert only["text"][0][1] == (
        "The predictions differ by 5.0 nats. A quarter of the update moves predictions 1.0 times "
        "as far as the same with its signs drawn anew."
    )


def test_an_update_of_few_places_names_them() -> None:
    planted = copying(4) | {blocks.null(): null(1.0, places=2)}
    found = {one["kind"]: one for one in findings(Planted(planted))}
    assert str_of([found["place"]]) == (
        "Only the feed-forward of layer 0 and the feed-forward of layer 1 were changed. They hold "
        "40 % of the weights and moved by 30 % and 30 % of their length; all others are the same "
        "in base and tuned. [exact, from weights]"
    )


@pytest.mark.parametrize(
    ("planted", "options", "said"),
    [
        ({}, {"shared": False}, "choose a shared answer"),
        ({blocks.null(): MemoryNeededError("load both")}, {}, "load both"),
    ],
)
def test_without_a_null_nothing_is_stated(
    planted: dict[str, Any], options: dict[str, Any], said: str
) -> None:
    (only,) = findings(Planted(planted, **options))
    assert only["kind"] == "nothing"
    assert said in only["text"][0][1]


def copying(words: int) -> dict[str, Any]:
    """Exact effects of ``THE SMALL DOG SLEEPS`` on ``The small dog sleeps`` at 9 to 12."""
    made = manifest()
    effects = np.full((made.prompt_length, M), 0.5, np.float32)
    effects[4] = 3
    for place in range(words):
        effects[9 + place, place] = 5
    flat = np.full_like(effects, 0.5)
    flat[0] = 2
    return {
        blocks.saliency("tuned", "occlusion"): effects,
        blocks.saliency("base", "occlusion"): flat,
        blocks.null(): null(30),
        blocks.answer_steps(): [step(0.1), step(2.0), step(3.0), step(0.0), step(0.0)],
    }


def test_copies_are_named_with_the_words_and_the_chance() -> None:
    found = {one["kind"]: one for one in findings(Planted(copying(4)))}
    text = str_of([found["copies"]])
    assert text.startswith(
        "Tuned copies. THE, SMALL, DOG and SLEEPS rest most on the same word of the prompt: "
        "four of four in tuned, none in base. [exact; by chance p "
    )
    said = found["copies"]["checked"]
    assert "; in four that word also gained most from base to tuned, p " in said
    assert found["copies"]["panel"] == "saliency"
    assert found["parts"]["title"] == "The answers part at the second token."
    assert found["parts"]["selection"]["token"] == manifest().prompt_length + 1
    assert f"{100 * math.exp(-2):.0f} %" in str_of([found["parts"]])


def test_one_copied_word_of_four_may_be_chance() -> None:
    assert "copies" not in {one["kind"] for one in findings(Planted(copying(1)))}


def test_a_word_that_gained_elsewhere_is_no_copy() -> None:
    planted = copying(4)
    base = planted[blocks.saliency("base", "occlusion")].copy()
    base[9:13] = 4.9
    planted[blocks.saliency("base", "occlusion")] = base
    assert "copies" not in {one["kind"] for one in findings(Planted(planted))}


def carrying(**changes: Any) -> dict[str, Any]:
    parts = [
        {"kind": "feed_forward", "layer": layer, "head": -1, "nats": 1.0, "share": 0.1}
        for layer in range(4)
    ] + [{"kind": "head", "layer": 3, "head": 6, "nats": 1.0, "share": 0.1}]
    reached = [{**part, "together": 9.0, "together_share": 0.85} for part in parts]
    found = {
        "shift": 10.0,
        "kl": 10.0,
        "goal": 0.8,
        "count": 38,
        "blocks": parts,
        "weights": [],
        "parts": reached,
        "random": [0.1, 0.3],
    }
    return copying(4) | {blocks.carried(None): found | changes}


def test_answers_that_hardly_differ_are_not_said_to_part() -> None:
    planted = copying(4)
    steps: Any = planted[blocks.answer_steps()]
    for place, step in enumerate(steps):
        step["kl"] = 0.4 if place == 1 else 0.1
    said = {one["kind"]: one for one in findings(Planted(planted))}
    title = "The answers part by less than 1.0 nats, most at the second token."
    assert said["parts"]["title"] == title


def test_marks_in_a_list_of_tokens_are_quoted() -> None:
    runs = phrases.runs_of(["and", ",", "."], "token")
    assert "".join(text for _, text in runs) == "and, “,” and “.”"


def test_what_carries_it_is_said_with_random_parts_beside_it() -> None:
    found = {one["kind"]: one for one in findings(Planted(carrying()))}
    assert str_of([found["carries"]]) == (
        "Five parts of 38 carry it. All four feed-forward blocks and head 3.6: 85 % of KL, "
        "10.0 nats; five random parts: 20 %, at most 30 %. [log-probability, measured as a set]"
    )
    assert (found["carries"]["selection"]["layer"], found["carries"]["selection"]["head"]) == (3, 6)


def test_what_makes_the_answer_less_likely_has_minus_signs() -> None:
    planted = carrying(shift=-10.0)
    found: Any = planted[blocks.carried(None)]
    for part in found["parts"]:
        part["together"] *= -1
        part["together_share"] = 0.95
    found["random"] = [-0.2, 0.1]
    said = {one["kind"]: one for one in findings(Planted(planted))}
    assert ": −9.0 of −10.0 nats (90 %); five random parts: −5 %" in str_of([said["carries"]])


@pytest.mark.parametrize(
    "changes", [{"random": [0.9]}, {"parts": []}, {"shift": 20.0}, {"count": 8}]
)
def test_a_set_that_passes_no_test_is_not_named(changes: dict[str, Any]) -> None:
    assert "carries" not in {one["kind"] for one in findings(Planted(carrying(**changes)))}


def segments(
    tuned: tuple[float, float], base: tuple[float, float], elsewhere: float = 0.0
) -> dict[str, Any]:
    """Costs in base and in tuned of either answer; how far the models are apart elsewhere."""
    rows = [
        {"segment": "instruction", "answer": answer, "base": [cost[0]], "tuned": [cost[1]]}
        for answer, cost in (("tuned", tuned), ("base", base))
    ]
    spans = [
        {"start": start, "base": 1.0, "tuned": 1.0 + elsewhere + 0.1 * start} for start in range(4)
    ]
    return copying(4) | {blocks.hidden_segments(): rows, blocks.hidden_elsewhere(): spans}


@pytest.mark.parametrize(
    ("tuned", "base", "title"),
    [
        ((7.3, 11.3), (0.5, 2.0), "Tuned needs the instruction more."),
        ((7.3, 11.3), (0.5, -0.6), "What the instruction is worth depends on the answer."),
        ((7.3, 2.0), (5.0, -0.6), "Base needs the instruction more."),
        ((7.3, 7.0), (5.0, 5.4), "Both need the instruction alike."),
        ((0.3, 0.2), (0.5, -0.6), None),
    ],
)
def test_the_instruction_counts_on_both_answers(
    tuned: tuple[float, float], base: tuple[float, float], title: str | None
) -> None:
    found = {one["kind"]: one for one in findings(Planted(segments(tuned, base)))}
    assert (found["segments"]["title"] if "segments" in found else None) == title


def test_the_instruction_counts_only_beyond_other_text() -> None:
    (found,) = (
        one
        for one in findings(Planted(segments((7.3, 11.3), (0.5, 2.0), elsewhere=4.0)))
        if one["kind"] == "segments"
    )
    assert found["title"] == "The instruction is not shown to stand out."
    assert "four spans as long elsewhere: 1.0 and 5.2, p " in found["checked"]
    # Rounding moves predictions farther than hiding anything.
    coarse = null(30.0) | {"rounding": [50.0] * M}
    planted = segments((7.3, 11.3), (0.5, 2.0)) | {blocks.null(): coarse}
    planted[blocks.answer_steps()] = [step(300.0)] * M
    assert "segments" not in {one["kind"] for one in findings(Planted(planted))}


@given(st.floats(-1e3, 1e3), st.integers(1, 60))
@example(2.3e-9, 1)
def test_the_tail_of_students_t_is_scipys(t: float, df: int) -> None:
    # Next to 0 SciPy's is 0.5: it loses t beside 1.
    rounding = 1e-8 if abs(t) < 1e-6 else 1e-14
    assert student_tail(t, df) == pytest.approx(stats.t.sf(t, df), rel=1e-9, abs=rounding)


@given(st.integers(0, 80), st.integers(0, 4000), st.floats(0, 1))
@example(2, 2500, 0.5)
@example(0, 5, 0.0)
@example(5, 0, 1.0)
def test_the_tail_of_hits_is_scipys(hits: int, more: int, chance: float) -> None:
    expected = stats.binom.sf(hits - 1, hits + more, chance)
    assert binomial_tail(hits, hits + more, chance) == pytest.approx(expected, rel=1e-9, abs=1e-14)


def test_beyond_is_a_prediction_by_students_t() -> None:
    drawn = [0.3, -0.1, 0.5, 0.2]
    expected = stats.ttest_ind([1.4], drawn).pvalue
    assert beyond(1.4, drawn) == pytest.approx(expected)
    assert beyond(-1.0, drawn) < 0.05 < beyond(0.4, drawn)
    assert beyond(9.0, [1.0, 2.0]) == 1.0


def test_no_more_than_five_are_said() -> None:
    # What is not said is not measured, either.
    asked = {blocks.template(): AssertionError("measured")}
    planted = {**segments((7.3, 11.3), (0.5, 2.0)), **carrying(), **asked}
    found = [one["kind"] for one in findings(Planted(planted))]
    assert found == ["copies", "parts", "segments", "carries", "kept"]
