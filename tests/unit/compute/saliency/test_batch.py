"""Many prompts at once: the same as one at a time, whatever their lengths."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from transformers import PreTrainedModel
from twinlens.compute.live.live import trace_pair
from twinlens.compute.pair import Pair
from twinlens.compute.passes.decoding import greedy_answers
from twinlens.compute.passes.reading import Reading, probability
from twinlens.compute.saliency import gradients, together
from twinlens.compute.saliency.batch import Attributed, attribute_prompts
from twinlens.compute.saliency.gradients import slopes_together
from twinlens.compute.saliency.methods import METHODS
from twinlens.compute.saliency.similar_lengths import answered_together, attributed_together
from twinlens.compute.text.prompt import read_prompt
from twinlens.contract.words import PUBLISHED, SIDES
from twinlens.errors import AnswerError, Interrupted, NotFiniteError, PromptError

from tests.support import tiny
from tests.support.saliency import table

IDS = [0, 300, 17, 45, 260, 310, 45, 99, 300, 17, 200, 5, 80, 41, 99, 12, 7, 300, 21]
#: Prompt and answer length: one token each, equal ones, long answers, answers of one token.
LENGTHS = ((8, 4), (1, 1), (3, 11), (12, 1), (8, 7), (1, 5))
TEXTS = [tiny.PROMPT, "The dog sleeps.", "Write the word", "Write the word in capital letters: DOG"]


@pytest.mark.parametrize("forward", [True, False])
def test_tables_of_texts_of_mixed_lengths(
    model: PreTrainedModel, forward: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gradients, "FORWARD_OVER_REVERSE", 1e-9 if forward else 1e9)
    for name, value in (("SEGMENT", 3), ("SEGMENTS", 9), ("COLUMNS_AT_ONCE", 2)):
        monkeypatch.setattr(gradients, name, value)
    readings = [
        Reading(model, [*IDS[place:], *IDS][: n + m], n) for place, (n, m) in enumerate(LENGTHS)
    ]
    tables = slopes_together(readings, probability)
    for reading, ours in zip(readings, tables, strict=True):
        alone = table("gradient_x_input", reading)
        assert ours.shape == alone.shape
        np.testing.assert_allclose(ours, alone, rtol=1e-4, atol=1e-5 * np.abs(alone).max())


@pytest.mark.parametrize("architecture", ["llama", "gemma2"])
@pytest.mark.parametrize("name", [name for name, one in METHODS.items() if one.together])
def test_every_method_of_texts_of_mixed_lengths(
    name: str, architecture: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The whole table of each text, as if it were read alone."""
    monkeypatch.setattr(together, "_MOST", 5)
    made = tiny.model(architecture)
    readings = [
        Reading(
            made,
            [*IDS[place:], *IDS][: n + m],
            n,
            replacements=[7] * n,
            groups=lambda _, n=n: [list(range(n // 2)), [*range(n // 2, n)]],
        )
        for place, (n, m) in enumerate([(8, 4), (2, 1), (3, 6)])
    ]
    tables = METHODS[name].together(readings)  # type: ignore[misc]
    for reading, ours in zip(readings, tables, strict=True):
        alone = table(name, reading)
        assert ours.shape == alone.shape
        # Its points are as many as the text needs that needs most.
        tolerance = 0.01 if name == "integrated_gradients" else 3e-5
        np.testing.assert_allclose(ours, alone, rtol=1e-4, atol=tolerance * np.abs(alone).max())


def test_answers_to_prompts_of_mixed_lengths(model: PreTrainedModel) -> None:
    prompts = [IDS[:12], IDS[3:4], IDS[2:9], IDS[5:12]]
    options = {"limit": 9, "vocabulary": 340, "side": "base"}
    alone = [greedy_answers(model, [prompt], stop=[], **options)[0] for prompt in prompts]
    assert greedy_answers(model, prompts, stop=[], **options) == alone
    # A text that has ended leaves the others as they are.
    stop = {alone[1][2]}
    ended = [greedy_answers(model, [prompt], stop=stop, **options)[0] for prompt in prompts]
    assert len({len(answer) for answer in ended}) > 1
    assert greedy_answers(model, prompts, stop=stop, **options) == ended


@pytest.mark.parametrize("response", ["own", "tuned", " The group agreed."])
def test_prompts_of_a_pair(pair: Pair, response: str) -> None:
    """Every method, as in a trace of each prompt alone; contrast, which needs the other model."""
    names = [*METHODS] if response == "tuned" else [PUBLISHED, "gradient_x_input_contrast"]
    marked = {"instruction": TEXTS[2], "context": "word"}
    prompts = [read_prompt(pair, TEXTS[3], **marked)]  # type: ignore[arg-type]
    prompts += [read_prompt(pair, text) for text in TEXTS[1:3]]
    found = attribute_prompts(pair, prompts, methods=names, responses=response, max_new_tokens=6)
    for place, (text, ours) in enumerate(zip([TEXTS[3], *TEXTS[1:3]], found, strict=True)):
        trace = trace_pair(
            pair, text, response=response, max_new_tokens=6, **({} if place else marked)
        )
        assert isinstance(ours, Attributed)
        assert ours.prompt.tokens == trace.manifest.prompt_tokens
        assert (ours.kind, ours.answers) == (trace.manifest.response, trace.manifest.answers)
        for side in SIDES:
            for name in names:
                alone = trace.saliency(side, name).values
                assert ours.values[side][name].dtype == np.float32
                tolerance = 0.01 if name == "integrated_gradients" else 3e-5
                np.testing.assert_allclose(
                    ours.values[side][name],
                    alone,
                    rtol=1e-4,
                    atol=tolerance * np.abs(alone).max(),
                    err_msg=name,
                )
        rows = {(row["segment"], row["answer"]): row for row in trace.block("segments")}
        assert (("instruction", "tuned") in ours.hidden["base"]) == (
            not place and response != " The group agreed."
        )
        assert (("instruction", "base") in ours.hidden["tuned"]) == (
            not place and response == "own"
        )
        for side in SIDES:
            for (segment, answer), costs in ours.hidden[side].items():
                if segment != "rest":
                    expected = rows[segment, answer][side]
                    np.testing.assert_allclose(costs, expected, rtol=1e-4, atol=1e-4)


def test_what_cannot_be_read_is_set_aside_alone(pair: Pair) -> None:
    prompts = [read_prompt(pair, text) for text in ("The dog " * 70, TEXTS[1], TEXTS[2])]
    responses = ["own", " ", " The group agreed."]
    found = attribute_prompts(pair, prompts, responses=responses, max_new_tokens=6)
    assert isinstance(found[0], PromptError)
    assert "the models read at most 128" in str(found[0])
    assert isinstance(found[1], AnswerError)
    assert isinstance(found[2], Attributed)
    assert found[2].kind == "given"


def test_the_text_whose_gradient_is_not_finite_is_found(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    prompts = [read_prompt(pair, text) for text in TEXTS[:3]]
    finite = gradients._finite

    def bad(values, reading, target):  # type: ignore[no-untyped-def]
        if reading.prompt_length == len(prompts[1].tokens):
            raise NotFiniteError("becomes NaN or infinite in layer 2")
        return finite(values, reading, target)

    monkeypatch.setattr(gradients, "_finite", bad)
    found = attribute_prompts(pair, prompts, max_new_tokens=4)
    assert [type(one) for one in found] == [Attributed, NotFiniteError, Attributed]
    assert str(found[1]).startswith(
        "Gradient × input of the tuned model becomes NaN"
    )  # it is read first


def test_it_can_be_stopped(pair: Pair) -> None:
    def report(done: int, total: int, what: str) -> None:
        assert 0 <= done <= total
        if what == "Gradient × input of base":
            raise Interrupted("no longer wanted")

    with pytest.raises(Interrupted):
        attribute_prompts(pair, [read_prompt(pair, text) for text in TEXTS], report=report)


def test_similar_texts_are_grouped_and_long_ones_stay_alone(pair: Pair) -> None:
    def groups(*lengths: tuple[int, int]) -> list[list[int]]:
        return attributed_together(pair.sizes, dict(enumerate(lengths)))

    assert groups((8, 4), (8, 5), (9, 4)) == [[1, 2, 0]]
    # Reading nine thousand tokens of padding costs more than a group of its own.
    assert groups((9000, 4), (8, 5), (9, 4)) == [[1], [0], [2]]
    assert groups((8, 3), (8, 4), (9, 4), (8, 9000)) == [[3], [2, 1, 0]]
    assert sorted(map(len, groups(*[(8, 4)] * 19))) == [3, 16]
    assert groups() == []
    lengths = {0: (99, 9), 1: (2000, 900), 2: (99, 700)}
    assert attributed_together(pair.sizes, lengths) == [[1], [2], [0]]
    assert attributed_together(pair.sizes, lengths, padded=False) == [[1, 2, 0]]
    # Of a large model each text takes long enough for progress to be told.
    large = replace(pair.sizes, layers=32, hidden=4096, intermediate=11008)
    assert attributed_together(large, lengths, padded=False) == [[1], [2], [0]]
    assert list(answered_together(pair.sizes, {0: 4, 1: 9, 2: 10**6}, 5)) == [[2], [1, 0]]
