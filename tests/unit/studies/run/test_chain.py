"""A chain of checkpoints: the same numbers as its pairs, each model once, tests over the chain."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("pyarrow")

from twinlens.compute.pair import load_pair
from twinlens.compute.saliency import batch
from twinlens.errors import StudyError
from twinlens.studies import Chain, analyse_chain, write_chain_report
from twinlens.studies.analysis import inference
from twinlens.studies.run.chain import pairs_of
from twinlens.studies.run.study import study

from tests.support import tiny

DATA = [
    {"prompt": f"{tiny.INSTRUCTION} {word}", "instruction": tiny.INSTRUCTION, "id": str(place)}
    for place, word in enumerate(
        ["the", "small", "dog", "sleeps", "in", "garden", "word", "capital", "letters", "now"]
    )
]
OPTIONS = {"max_new_tokens": 4}


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """Base, a copy with a small change, and that with another one."""
    folder = tmp_path_factory.mktemp("models")
    made = [tiny.model("llama")]
    made.append(tiny.tuned_copy(made[0], seed=1))
    made.append(tiny.tuned_copy(made[1], seed=2))
    paths = [folder / name for name in ("base", "sft", "dpo")]
    for model, path in zip(made, paths, strict=True):
        model.save_pretrained(path)
        tiny.tokenizer().save_pretrained(path)
    return paths


@pytest.fixture(scope="module")
def chain(models, tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        answered = []
        own = batch.own_answers

        def counted(pair, side, prompts, *rest):
            answered.append((getattr(pair.info, side).name, len(prompts)))
            return own(pair, side, prompts, *rest)

        patch.setattr(batch, "own_answers", counted)
        made = study(models, iter(DATA), tmp_path_factory.mktemp("chain"), **OPTIONS)
    # Each model answers each prompt once, though each is part of two pairs.
    assert sorted(answered) == [("base", 10), ("dpo", 10), ("sft", 10)]
    return made


def test_each_pair_is_the_study_of_that_pair(chain, models, tmp_path):
    assert pairs_of(3) == chain.pairs == [(0, 1), (1, 2), (0, 2)]
    alone = study(load_pair(models[0], models[2]), DATA, tmp_path / "alone", **OPTIONS)
    for ours, theirs in zip(chain.store(0, 2), alone, strict=True):
        assert (ours.id, ours.side, ours.answer) == (theirs.id, theirs.side, theirs.answer)
        np.testing.assert_allclose(ours.values, theirs.values, rtol=1e-4, atol=1e-6)
        assert set(ours.hidden) == set(theirs.hidden)
        for key, costs in ours.hidden.items():
            np.testing.assert_allclose(costs, theirs.hidden[key], rtol=1e-3, atol=1e-4)


def test_curves_and_steps(chain):
    analysis = analyse_chain(chain)
    assert [(step.before, step.after) for step in analysis.steps] == [(0, 1), (0, 2), (1, 2)]
    curves = analysis.frame("curves")
    score = curves[curves["measure"] == "score of the instruction"]
    assert list(score["model"]) == ["base", "sft", "dpo"]
    for step in analysis.steps:
        means = step.comparison.first.mean, step.comparison.second.mean
        assert means == pytest.approx(
            (score["mean"].iloc[step.before], score["mean"].iloc[step.after])
        )
    assert any(name.startswith("cost of hiding the instruction") for name in curves["measure"])
    # Holm over the steps, not within a pair.
    p_values = [step.comparison.length.estimate.p for step in analysis.steps]
    corrected = [step.comparison.length.estimate.p_holm for step in analysis.steps]
    assert corrected == pytest.approx(inference.adjust(p_values, "holm"))
    rows = [row for step in analysis.steps for row in step.exact]
    assert [row.equal_length.p_holm for row in rows] == pytest.approx(
        inference.adjust([row.equal_length.p for row in rows], "holm")
    )
    assert len(analysis.frame("comparisons")) == 3
    assert "dpo against sft" in analysis._repr_html_()


def test_the_report_links_every_case_at_every_step(chain):
    page = write_chain_report(chain)
    text = page.read_text(encoding="utf-8")
    for before, after in chain.pairs:
        assert (chain.folder / f"{before}-{after}" / "report.html").is_file()
        assert f'href="{before}-{after}/report.html#case=3"' in text
    assert 'data-figure="curve-0"' in text


def test_a_chain_is_continued_by_the_same_models_only(chain, models):
    assert Chain(chain.folder).names == ("base", "sft", "dpo")
    with pytest.raises(StudyError, match="holds a chain of base, sft, dpo"):
        study([models[0], models[2], models[1]], DATA, chain.folder, **OPTIONS)
    with pytest.raises(StudyError, match="three models or more"):
        study(models[:2], DATA, chain.folder, **OPTIONS)
    with pytest.raises(StudyError, match="holds no chain"):
        Chain(models[0])
