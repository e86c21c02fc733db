"""Weights or template: four passes of transformers alone."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from twinlens.compute.live.live import LiveTrace, trace_pair
from twinlens.compute.live.template import OTHER_TEXTS, plain_positions
from twinlens.compute.pair import Pair
from twinlens.compute.text.other_text import other_text, windows
from twinlens.contract import blocks
from twinlens.contract.wire import Array
from twinlens.contract.words import SIDES, Side
from twinlens.errors import UnknownBlockError

from tests.support import tiny
from tests.support.made_up import manifest


def alone(pair: Pair, side: Side, ids: list[int], answer: list[int]) -> Array:
    """Log-probability of each answer token behind a prompt."""
    with pair.model(side) as model, torch.no_grad():
        logits = model(torch.tensor([ids + answer])).logits[0, len(ids) - 1 : -1]
    return np.asarray(logits.double().log_softmax(dim=-1)[range(len(answer)), answer])


def test_four_readings_and_their_effects(pair: Pair) -> None:
    trace = trace_pair(pair, tiny.PROMPT, template=True, response="tuned", max_new_tokens=5)
    found = trace.block(blocks.template())
    answer = [token.id for token in trace.manifest.answers["tuned"].tokens]
    text = f"### User: {tiny.PROMPT}\n### Assistant:"
    whole = pair.tokenizers["tuned"](text, add_special_tokens=False)["input_ids"]
    own = [token for token in trace.manifest.prompt_tokens if token.segment == "other"]
    assert "".join(token.text for token in own).strip() == tiny.PROMPT
    inside = {side: alone(pair, side, whole, answer) for side in SIDES}
    plain = {side: alone(pair, side, [token.id for token in own], answer) for side in SIDES}
    expected = {
        "base": inside["base"],
        "tuned": inside["tuned"],
        "base_plain": plain["base"],
        "tuned_plain": plain["tuned"],
        "weights": inside["tuned"] - inside["base"],
        "template": inside["tuned"] - plain["tuned"],
        "together": inside["tuned"] - plain["tuned"] - inside["base"] + plain["base"],
    }
    for name, values in expected.items():
        np.testing.assert_allclose(found[name], values, atol=2e-5, err_msg=name)
    assert np.abs(found["together"]).max() > 1e-3
    left_out = {trace.manifest.prompt_tokens[i].segment for i in found["left_out"]}
    assert left_out == {"template"}
    assert blocks.template() in set(trace.keys())


def test_other_texts_stand_where_the_template_stood(pair: Pair) -> None:
    trace = trace_pair(pair, tiny.PROMPT, template=True, response="tuned", max_new_tokens=5)
    found = trace.block(blocks.other_texts())
    answer = [token.id for token in trace.manifest.answers["tuned"].tokens]
    prompt = [token.id for token in trace.manifest.prompt_tokens]
    left_out = trace.block(blocks.template())["left_out"]
    text = other_text(pair.tokenizers["tuned"])
    assert len(found) == OTHER_TEXTS
    assert len({row["tuned"] for row in found}) == OTHER_TEXTS
    for number in (0, 7, OTHER_TEXTS - 1):
        start = len(text) * number // OTHER_TEXTS
        read = prompt.copy()
        for i, place in enumerate(left_out):
            read[place] = (text * 2)[start + i]
        for side in SIDES:
            expected = alone(pair, side, read, answer).sum()
            assert found[number][side] == pytest.approx(expected, abs=1e-4)
    assert blocks.other_texts() not in set(trace.keys())


def test_a_text_that_ends_begins_anew() -> None:
    assert windows([1, 2, 3, 4], 3, 2) == [[1, 2, 3], [3, 4, 1]]
    assert windows([1, 2], 5, 1) == [[1, 2, 1, 2, 1]]


def test_the_token_in_front_stays_and_the_template_s_own_do_not() -> None:
    made = manifest(
        prompt=[
            ("<s>", "special"),
            ("<|user|>", "special"),
            ("user", "template"),
            ("Rewrite", "instruction"),
            ("<|end|>", "special"),
            ("assistant", "template"),
        ]
    )
    assert plain_positions(made, [made.prompt_tokens[0].id]) == [0, 3]
    assert plain_positions(made, []) == [3]
    assert plain_positions(made, [made.prompt_tokens[1].id]) == [3]


def test_a_prompt_without_a_template_is_refused(trace: LiveTrace) -> None:
    with pytest.raises(UnknownBlockError, match="no chat template: trace with template=True"):
        trace.block(blocks.template())
    assert blocks.template() not in set(trace.keys())
    with pytest.raises(UnknownBlockError, match="no chat template: trace with template=True"):
        trace.block(blocks.other_texts())
