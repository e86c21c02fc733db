"""What hiding a segment costs: planted effects, each with the verdict that is right."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats
from twinlens.studies.analysis.exact import effects_of
from twinlens.studies.analysis.sentences import find
from twinlens.studies.analysis.statistics import analyse
from twinlens.studies.data.cases import paired

from tests.unit.studies.planted import Planted


def verdicts(analysis):
    return {row.answer: row.verdict for row in analysis.exact if row.level == "all"}


def exact(analysis):
    return next(one for one in find(analysis, ()) if one.claim.startswith("Hiding"))


def test_each_answer_favours_the_model_that_gave_it():
    analysis = analyse(Planted(30, needs=(0.4, 0.4, 0.0)))
    assert verdicts(analysis) == {"own": "no difference shown", "tuned": "holds", "base": "turns"}
    said = " ".join(exact(analysis).sentences)
    assert (
        "Which answer both read decides: on tuned's answers tuned needs it more, on base's base "
        "needs it more."
    ) in said
    assert "An answer favours the model that gave it." in said


def test_the_numbers_are_means_and_paired_tests_over_prompts():
    cases = Planted(24, needs=(0.3, 0.0, 0.0), lengths=(12, 40))
    row = next(one for one in analyse(cases).exact if (one.answer, one.level) == ("own", "all"))
    both = list(paired(cases))
    base = np.array([np.mean(a.hidden["instruction", "base"]) for a, _ in both])
    tuned = np.array([np.mean(b.hidden["instruction", "tuned"]) for _, b in both])
    assert (row.base, row.tuned) == pytest.approx((base.mean(), tuned.mean()))
    assert row.estimate.p == pytest.approx(stats.wilcoxon(tuned - base).pvalue)
    cut = [np.mean(b.hidden["instruction", "tuned"][: a.answer_length]) for a, b in both]
    both_ways = np.add.outer(cut - base, cut - base)[np.triu_indices(base.size)] / 2
    assert row.equal_length.difference == pytest.approx(np.median(both_ways), abs=1e-6)
    rest = np.array(
        [
            np.mean(b.hidden["rest", "tuned"][: a.answer_length])
            - np.mean(a.hidden["rest", "base"])
            for a, b in both
        ]
    )
    expected = stats.wilcoxon(cut - base - rest)
    assert row.beyond_rest.p == pytest.approx(expected.pvalue)
    assert row.verdict == "holds"


def test_what_all_of_the_prompt_costs_more_is_not_about_the_instruction():
    analysis = analyse(Planted(30, needs=(0.4, 0.0, 0.4)))
    assert verdicts(analysis)["tuned"] == "confounded"
    assert "from the rest of the prompt" in " ".join(exact(analysis).sentences)


def test_few_prompts_and_studies_without_it():
    few = analyse(Planted(4, needs=(2.0, 0.0, 0.0)))
    assert set(verdicts(few).values()) == {"too few"}
    assert "nothing is concluded from fewer than 10 prompts" in exact(few).sentences[0]
    none = analyse(Planted(12))
    assert (none.exact, none.effects) == ((), ())
    assert not any(one.claim.startswith("Hiding") for one in find(none, ()))


def test_one_answer_says_whom_it_favours():
    class OnTuned(Planted):
        def both(self, index):
            for case in (made := super().both(index)):
                for key in [key for key in case.hidden if key[1] == "base"]:
                    del case.hidden[key]  # type: ignore[attr-defined]
            return made

    analysis = analyse(OnTuned(20, needs=(0.4, 0.0, 0.0)))
    assert verdicts(analysis) == {"tuned": "holds"}
    assert "Both models read tuned's answer, which favours tuned" in " ".join(
        exact(analysis).sentences
    )


def test_frames_hold_every_prompt_and_comparison():
    cases = Planted(10, needs=(0.4, 0.0, 0.0))
    analysis = analyse(cases)
    assert len(analysis.to_frame("effects")) == sum(len(effects_of(one)) for one in paired(cases))
    frame = analysis.to_frame("exact")
    assert list(frame["verdict"]) == [row.verdict for row in analysis.exact]
    assert {"equal_length_p_holm", "beyond_rest_low", "levels"} <= set(frame.columns)
