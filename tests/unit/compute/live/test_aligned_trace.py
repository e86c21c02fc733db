"""Each model in its own chat template: every number against a trace in that template alone."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import twinlens as tl
from twinlens.compute.live.aligned_trace import AlignedTrace, trace_of
from twinlens.compute.live.live import LiveTrace
from twinlens.compute.pair import Pair
from twinlens.contract import blocks
from twinlens.contract.words import SIDES, Side
from twinlens.errors import ArgumentError, PromptError, UnknownBlockError
from twinlens.traces import recording
from twinlens.traces.trace import Trace

PROMPT = "Make this sentence negative: The cat swims."
ANSWER = "The cat does not swim."
TEMPLATE = "{{ bos_token }}{% for m in messages %}Question: {{ m['content'] }} {% endfor %}Answer:"


@pytest.fixture(scope="module")
def pair() -> Pair:
    pair = tl.demo_pair()
    pair.tokenizers["base"] = copy.deepcopy(pair.tokenizers["base"])
    pair.tokenizers["base"].chat_template = TEMPLATE
    return pair


@pytest.fixture(scope="module")
def trace(pair: Pair) -> AlignedTrace:
    trace = trace_of(
        pair, PROMPT, instruction="Make this sentence negative:", answer=ANSWER, template="own"
    )
    assert isinstance(trace, AlignedTrace)
    return trace


@pytest.fixture(scope="module")
def alone(pair: Pair) -> dict[Side, LiveTrace]:
    """The same prompt and answer, both models in the template of one of them."""
    found: dict[Side, LiveTrace] = {}
    for side in SIDES:
        one = trace_of(
            pair, PROMPT, instruction="Make this sentence negative:", answer=ANSWER, template=side
        )
        assert isinstance(one, LiveTrace)
        found[side] = one
    return found


def places(trace: AlignedTrace, side: Side) -> list[int]:
    """Positions of the row that a side reads."""
    other = trace.manifest.parameters["read_by_one"]["tuned" if side == "base" else "base"]
    return [i for i in range(trace.manifest.prompt_length) if i not in other]


def hidden_of(trace: Trace) -> dict[str, Any]:
    """What hiding each segment costs the given answer."""
    rows: Any = trace.block(blocks.hidden_segments())
    return {row["segment"]: row for row in rows if row["answer"] == "given"}


def test_what_a_person_wrote_stands_once_and_each_side_reads_its_own(
    trace: AlignedTrace, alone: dict[Side, LiveTrace]
) -> None:
    m = trace.manifest
    assert m.prompt.count(PROMPT) == 1
    assert "".join(m.prompt[t.start : t.end] for t in m.prompt_tokens) == m.prompt
    (message,) = m.parameters["messages"]
    assert m.prompt[message["start"] : message["end"]] == PROMPT
    for side in SIDES:
        row = [m.prompt_tokens[i] for i in places(trace, side)]
        own = alone[side].manifest.prompt_tokens
        assert [t.segment for t in row] == [t.segment for t in own]
        assert [t.text.strip() for t in row] == [t.text.strip() for t in own]
        only = m.parameters["read_by_one"][side]
        assert only
        assert {m.prompt_tokens[i].segment for i in only} == {"template"}
    assert "Each model reads the prompt in its own chat template: 4 tokens only base" in m.pair.note


@pytest.mark.parametrize("side", SIDES)
def test_numbers_of_a_side_are_those_in_its_template_alone(
    trace: AlignedTrace, alone: dict[Side, LiveTrace], side: Side
) -> None:
    own, row = alone[side], places(trace, side)
    n, rest = trace.manifest.prompt_length, trace.manifest.answer_length(side)
    positions = [*row, *range(n, n + rest)]
    unread = sorted(set(range(n)) - set(row))
    for method in ("occlusion", "gradient_x_input"):
        values, expected = trace.saliency(side, method).values, own.saliency(side, method).values
        np.testing.assert_array_equal(values[row], expected)
        assert not values[unread].any()
    np.testing.assert_array_equal(trace.logprob(side), own.logprob(side))
    pattern = np.asarray(trace.attention(side, 1, 2))
    np.testing.assert_array_equal(pattern[np.ix_(positions, positions)], own.attention(side, 1, 2))
    assert not pattern[unread].any()
    assert not pattern[:, unread].any()
    for name in ("instruction", "sink", "entropy"):
        measure = np.asarray(trace.head_measure(name, side))
        np.testing.assert_array_equal(measure[positions], own.head_measure(name, side))
    np.testing.assert_array_equal(trace.head_effect(side), own.head_effect(side))
    last = own.manifest.prompt_length
    assert trace.block(blocks.lens(side, n)) == own.block(blocks.lens(side, last))
    assert trace.block(blocks.lens(side, row[-1])) == own.block(blocks.lens(side, len(row) - 1))


def test_the_two_are_compared_where_both_read(
    trace: AlignedTrace, alone: dict[Side, LiveTrace]
) -> None:
    both = sorted(set(places(trace, "base")) & set(places(trace, "tuned")))
    captures = {side: alone[side].subject.captures[side] for side in SIDES}
    n = trace.manifest.prompt_length
    shift = np.asarray(trace.shift("residual"))
    rows = {s: [places(trace, s).index(p) for p in both] for s in SIDES}
    base, tuned = (captures[s].residual[:, rows[s]].double().numpy() for s in SIDES)
    mean = (np.linalg.norm(tuned, axis=-1) + np.linalg.norm(base, axis=-1)) / 2
    expected = np.linalg.norm(tuned - base, axis=-1) / mean
    np.testing.assert_allclose(shift[both], expected.T, rtol=1e-4)
    assert not np.delete(shift[:n], both, axis=0).any()
    assert shift[n:].all()
    logprobs = {s: captures[s].logprobs.double().log_softmax(-1) for s in SIDES}
    kl = (logprobs["tuned"].exp() * (logprobs["tuned"] - logprobs["base"])).sum(-1)
    np.testing.assert_allclose(trace.disagreement(), kl, rtol=1e-4, atol=1e-6)
    change = np.asarray(trace.block(blocks.head_change()))
    assert change.shape[0] == trace.manifest.length("tuned")
    assert (change[both[1:]] > 0).any()
    hidden = hidden_of(trace)
    for side in SIDES:
        own = hidden_of(alone[side])
        for segment in ("instruction", "template"):
            np.testing.assert_allclose(hidden[segment][side], own[segment][side], atol=5e-5)


def test_what_needs_one_prompt_says_so(trace: AlignedTrace, tmp_path: Path) -> None:
    for key in (
        blocks.null(),
        blocks.carried(None),
        blocks.update(),
        blocks.exchanged("tuned", None, None),
        blocks.handover("tuned"),
        blocks.unit_effects(0, 5),
        blocks.neurons(None, None),
        blocks.head_ablation("tuned", "other", None),
    ):
        with pytest.raises(UnknownBlockError, match="needs one prompt that both models read"):
            trace.block(key)
    (unread, *_) = trace.manifest.parameters["read_by_one"]["tuned"]
    with pytest.raises(UnknownBlockError, match=f"base does not read token {unread}"):
        trace.block(blocks.lens("base", unread))
    kept = recording.read(recording.write(trace, tmp_path / "own.twl"))
    keys = set(kept.keys())
    assert keys >= {blocks.answer_steps(), blocks.template(), blocks.saliency("base", "occlusion")}
    assert not any(key.startswith(("null", "carried", "exchange", "units")) for key in keys)
    np.testing.assert_array_equal(kept.shift("attention"), trace.shift("attention"))


def test_one_template_in_both_is_one_prompt(pair: Pair) -> None:
    same = copy.copy(pair.tokenizers["base"])
    pair.tokenizers["base"] = copy.deepcopy(pair.tokenizers["tuned"])
    try:
        own = trace_of(pair, PROMPT, answer=ANSWER, template="own")
        shared = trace_of(pair, PROMPT, answer=ANSWER, template="tuned")
        assert own.manifest.prompt_tokens == shared.manifest.prompt_tokens
        np.testing.assert_array_equal(own.shift(), shared.shift())
        np.testing.assert_allclose(own.head_change(), shared.head_change(), atol=1e-3)
        pair.tokenizers["base"].chat_template = None
        plain = trace_of(pair, PROMPT, answer=ANSWER, template="own")
        assert "Base has none and reads the text alone." in plain.manifest.pair.note
        assert not plain.manifest.parameters["read_by_one"]["base"]
    finally:
        pair.tokenizers["base"] = same


def test_it_is_asked_for_where_it_can_be(pair: Pair) -> None:
    explorer = tl.explore(pair, PROMPT, template="own", max_new_tokens=3, token=2)
    assert explorer.trace.manifest.parameters["template"] == "own"
    with pytest.raises(ArgumentError, match="there is no token 99"):
        tl.explore(pair, PROMPT, template="own", token=99, max_new_tokens=3)
    with pytest.raises(PromptError, match="each model, is for"):
        pair.update().on(PROMPT, template="own")
