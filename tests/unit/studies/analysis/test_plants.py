"""Planted studies, each with the verdict that is right: effect, none, length, all of the prompt."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from twinlens.measures.density import DensityParameters
from twinlens.studies.analysis.comparisons import compare
from twinlens.studies.analysis.scoring import Score, Settings
from twinlens.studies.analysis.sentences import findings
from twinlens.studies.analysis.statistics import analyse
from twinlens.studies.analysis.variants import Grid, robustness

from tests.unit.studies.planted import Planted

RAW = Settings(DensityParameters(normalisation="raw", aggregation="mean"))
FOLLOWED = "followed against unfollowed"


def overall(cases, settings=None, question="tuned against base"):
    analysis = analyse(cases, settings)
    said = next(text for text in findings(analysis, ()) if f"{question[:5]}" in text)
    return analysis.comparison(question, "all prompts"), " ".join(findings(analysis, ())), said


def judged(found):
    return found.verdict, found.why


def test_an_effect_on_the_instruction_holds():
    found, said, first = overall(Planted(effect=1.5))
    assert judged(found) == ("holds", "")
    assert 0 < found.estimate.low < found.estimate.difference < found.estimate.high
    assert found.controls.beyond_rest.low > 0
    assert "this holds here" in first
    assert "It is not the answer length" in said
    assert "It is the instruction more than the rest of the prompt" in said


def test_the_reverse_turns():
    found, _, first = overall(Planted(effect=-0.6))
    assert judged(found) == ("turns", "")
    assert "the other way round" in first


@pytest.mark.parametrize("instruction", [(2, 3, 4, 5, 6), (1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11)])
@pytest.mark.parametrize("effect", [0.0, 0.7])
def test_flatter_on_all_tokens_does_not_pass(instruction, effect):
    """A short or long instruction, which base rests on like the rest of the prompt, or more."""

    class Flat(Planted):
        def both(self, index):
            base, tuned = super().both(index)
            at = list(instruction)
            for case in (base, tuned):
                case.values[at] *= 1 + effect * (case is base)
            tuned.values[at] *= (1 + effect) ** self.flatter
            return [base, tuned]

    found, said, _ = overall(Flat(60, flatter=0.3, instruction=instruction))
    assert found.plain == found.length.verdict == "holds"
    assert judged(found) == ("confounded", "not told from the rest of the prompt")
    assert "It is not told from the rest of the prompt" in said


@pytest.mark.parametrize("settings", [None, RAW], ids=["divided", "not divided"])
def test_no_effect_at_unequal_lengths_shows_no_difference(settings):
    found, said, _ = overall(Planted(60, lengths=(200, 60)), settings)
    assert found.plain == "turns"
    assert judged(found) == ("no difference shown", "answer length explains it")
    assert "Answer length explains the difference. At equal length" in said
    assert "would be found in four of five such studies" in said


def test_an_effect_that_length_masks_is_found():
    found, said, _ = overall(Planted(60, effect=0.42, lengths=(200, 60)))
    assert found.plain == "no difference shown"
    assert judged(found) == ("holds", "answer length masks it")
    assert "Answer length masks it: at full length no difference is shown." in said
    found, said, _ = overall(Planted(60, effect=0.42, lengths=(200, 60)), RAW)
    assert found.plain == "turns"
    assert judged(found) == ("holds", "answer length turns it")
    assert "Answer length turns it: at full length it is the other way round." in said


def test_shown_at_one_length_and_not_at_another_is_no_difference_of_the_two():
    """Length is said to explain or to mask only what the other interval leaves out."""
    found, said, _ = overall(Planted(30, effect=-0.1, lengths=(60, 40)))
    assert found.plain == "turns"
    assert judged(found) == ("no difference shown", "not shown at equal answer length")
    assert "It is not shown at equal length, nor that answer length explains it." in said
    found, said, _ = overall(Planted(40, effect=0.15, lengths=(60, 40)))
    assert found.plain == "no difference shown"
    assert judged(found) == ("holds", "shown at equal answer length only")
    assert "Answer length masks it" not in said
    assert "At full length no difference is shown. At equal length" in said


def test_followed_only_by_length_is_confounded():
    cases = Planted(90, longer_when_followed=12, lengths=(30, 24))
    cases.both = widely(cases.both)
    found, said, _ = overall(cases, RAW, FOLLOWED)
    assert found.plain == "holds"
    assert judged(found) == ("confounded", "answer length explains it")
    assert "residual sd" in said


def widely(both):
    """Answers of lengths that overlap widely between followed and unfollowed."""

    def shortened(index):
        base, tuned = both(index)
        length = max(8, tuned.answer_length - int(np.random.default_rng(index).integers(0, 20)))
        tuned = replace(
            tuned, values=tuned.values[:, :length], answer_tokens=tuned.answer_tokens[:length]
        )
        return [base, tuned]

    return shortened


def test_followed_without_common_lengths_is_confounded():
    found, said, _ = overall(Planted(60, longer_when_followed=40, lengths=(30, 12)), RAW, FOLLOWED)
    assert found.plain == "holds"
    assert judged(found) == ("confounded", "the answer lengths do not overlap")
    assert np.isnan(found.length.estimate.difference)
    assert "No number at equal length: the answer lengths do not overlap." in said


def test_a_followed_effect_holds():
    found, _, _ = overall(Planted(90, followed_effect=3.0), RAW, FOLLOWED)
    assert judged(found) == ("holds", "")


@pytest.mark.parametrize("prompts", [1, 2, 9])
def test_too_few_prompts(prompts):
    analysis = analyse(Planted(prompts, effect=5.0, groups=("one",)))
    found = analysis.comparison("tuned against base", "one")
    assert found.verdict == found.plain == "too few"
    said = " ".join(findings(analysis, ()))
    assert "nan" not in said
    assert "nothing is concluded from fewer than 10 prompts" in said
    assert "1 prompts" not in said


@pytest.mark.slow
def test_eight_categories_without_effect_are_one_family():
    """In 5 % of such studies anything is shown, not in 31 %."""
    generator = np.random.default_rng(0)
    wrong = 0
    for _ in range(100):
        scores = [
            Score(
                *generator.normal(1, 0.3, 4),
                id=f"p{place}",
                group="one",
                category=f"c{place % 8}",
                side=side,
                instruction_length=3,
                answer_length=20,
            )
            for place in range(80)
            for side in ("base", "tuned")
        ]
        found = compare(scores, scores)
        wrong += any(item.plain in ("holds", "turns") for item in found)
        assert all(item.verdict in ("no difference shown", "confounded") for item in found)
    assert wrong <= 10


def test_prompts_without_a_rest_or_an_instruction_are_said():
    whole = tuple(range(1, 16))

    class Mixed(Planted):
        def both(self, index):
            marked = {0: whole, 1: ()}.get(index % 4)
            pair = super().both(index)
            if marked is None:
                return pair
            return [replace(case, instruction=marked, fragments=marked) for case in pair]

    analysis = analyse(list(Mixed(40, effect=1.0))[1:])
    assert analysis.counts["prompts"] == 39
    assert analysis.counts["of one model only"] == 1
    assert analysis.counts["without an instruction token"] == 10
    assert analysis.counts["whole prompt is the instruction"] == 9
    found = analysis.comparison("tuned against base", "all prompts")
    assert found.first.n == 29
    assert found.controls.beyond_rest.n == 20
    said = " ".join(findings(analysis, ()))
    assert "In 20 of 39 the instruction is a part of the prompt; in 9 the whole" in said
    assert (
        "Left out: 1 prompt with one model's case only; 10 prompts without an instruction" in said
    )


def test_nothing_is_said_about_instructions_where_there_are_none():
    cases = Planted(30, effect=1.0, instruction=tuple(range(1, 16)))
    analysis = analyse(cases)
    assert not analysis.has_parts
    small = Grid(levels=(10,), thresholds=(7,), norms=(4.0,))
    said = " ".join(findings(analysis, robustness(cases, small)))
    assert "nstruction" not in said
    assert "No part of any prompt is marked" in said
    assert all(item.why != "the whole prompt is the instruction" for item in analysis.comparisons)


class Odd(Planted):
    """Prompts that differ in what tuned gains on the instruction, or repeat one another."""

    def __init__(self, prompts, gains, distinct=None):
        super().__init__(prompts, seed=3)
        self.gains, self.distinct = gains, distinct

    def both(self, index):
        base, tuned = super().both(index % (self.distinct or self.prompts))
        tuned.values[list(self.instruction)] *= self.gains(index)
        return [replace(case, id=f"p{index}") for case in (base, tuned)]


def test_prompts_that_repeat_one_another_count_once():
    """Six prompts read ten times each are six prompts."""
    found, said, _ = overall(Odd(60, lambda index: 2.5, distinct=6))
    assert found.first.n == 6
    assert judged(found) == ("too few", "")
    assert "Left out: 54 prompts that repeat another one with the same answers." in said


def test_few_prompts_of_a_huge_effect_are_not_all_of_them():
    found, _, _ = overall(Odd(40, lambda index: 1 + 60 * (index < 3)))
    assert found.verdict == "no difference shown"


def test_data_sets_that_go_apart_are_told_apart():
    analysis = analyse(Odd(80, lambda index: 2.5 if index % 2 else 0.3))
    verdicts = {
        group: analysis.comparison("tuned against base", group).verdict for group in ("one", "two")
    }
    assert verdicts == {"one": "turns", "two": "holds"}
    assert analysis.comparison("tuned against base", "all prompts").verdict != "holds"


def numbers(analysis):
    """All that is said of all prompts, by question and group."""
    return {
        (item.question, item.group): (
            *judged(item),
            item.plain,
            item.estimate,
            item.length.estimate,
        )
        for item in analysis.comparisons
    }


def test_the_order_of_cases_changes_nothing():
    cases = list(Planted(60, effect=0.42, lengths=(40, 20), followed_effect=1.0))
    pairs = [cases[place : place + 2] for place in range(0, len(cases), 2)]
    shuffled = [pairs[place] for place in np.random.default_rng(1).permutation(len(pairs))]
    expected = numbers(analyse(cases))
    for other in (shuffled, [pair[::-1] for pair in pairs]):
        found = numbers(analyse([case for pair in other for case in pair]))
        assert found.keys() == expected.keys()
        for key, (*verdict, plain, equal) in found.items():
            assert verdict == list(expected[key][:3])
            for ours, theirs in ((plain, expected[key][3]), (equal, expected[key][4])):
                for name in ("difference", "low", "high", "p", "smallest"):
                    np.testing.assert_allclose(
                        getattr(ours, name), getattr(theirs, name), rtol=1e-9, atol=1e-12
                    )


def test_models_that_change_places_turn_what_is_found():
    cases = list(Planted(60, effect=0.42, lengths=(40, 20)))
    other = {"base": "tuned", "tuned": "base"}
    turned = [replace(case, side=other[case.side], rating=None, followed=None) for case in cases]
    there, back = (overall(some)[0] for some in (cases, turned))
    assert (there.verdict, back.verdict) == ("holds", "turns")
    for ours, theirs in (
        (there.estimate, back.estimate),
        (there.length.estimate, back.length.estimate),
        (there.controls.beyond_rest, back.controls.beyond_rest),
    ):
        mirrored = -theirs.difference, -theirs.high, -theirs.low
        np.testing.assert_allclose((ours.difference, ours.low, ours.high), mirrored, rtol=1e-6)
