"""Token by token against transformers and scipy; segments against occlusion by segment."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from scipy.stats import entropy
from twinlens.compute.live import lens
from twinlens.compute.live.lens import shift_class
from twinlens.compute.live.live import LiveTrace, trace_pair
from twinlens.compute.pair import Pair, load_pair
from twinlens.compute.saliency.segments import spans_elsewhere
from twinlens.contract import blocks
from twinlens.contract.words import SIDES, Side

from tests.support import tiny


def probabilities(pair: Pair, trace: LiveTrace, side: Side) -> np.ndarray:
    m = trace.manifest
    ids = [token.id for token in (*m.prompt_tokens, *m.answers[side].tokens)]
    with pair.model(side) as model, torch.no_grad():
        logits = model(torch.tensor([ids])).logits[0, m.prompt_length - 1 : -1]
    return logits.double().softmax(dim=-1).numpy()


def test_steps_are_what_the_models_predict(pair: Pair, trace: LiveTrace) -> None:
    steps = trace.block(blocks.answer_steps())
    m = trace.manifest
    base, tuned = (probabilities(pair, trace, side) for side in SIDES)
    for place, (step, token) in enumerate(zip(steps, m.answers["tuned"].tokens, strict=True)):
        assert step["kl"] == pytest.approx(entropy(tuned[place], base[place]), rel=1e-3, abs=1e-6)
        assert step["kl_back"] == pytest.approx(
            entropy(base[place], tuned[place]), rel=1e-3, abs=1e-6
        )
        for side, rows in (("base", base), ("tuned", tuned)):
            p = rows[place]
            assert step[side]["logprob"] == pytest.approx(np.log(p[token.id]), abs=1e-4)
            assert step[side]["rank"] == 1 + int((p > p[token.id]).sum())
            assert step[side]["entropy"] == pytest.approx(entropy(p), abs=1e-4)
            expected = dict(step[side]["expects"])
            assert len(step[side]["expects"]) == 5
            assert expected[token.text] == pytest.approx(p[token.id], abs=1e-5)
        assert step["shift"] == shift_class(step["base"]["rank"])


def test_classes_of_a_shift() -> None:
    assert [shift_class(rank) for rank in (1, 2, 3, 4, 900)] == [
        "unshifted",
        "marginal",
        "marginal",
        "shifted",
        "shifted",
    ]


def test_spans_elsewhere_are_hidden_as_by_a_mask(pair: Pair, trace: LiveTrace) -> None:
    m = trace.manifest
    spans = trace.block(blocks.hidden_elsewhere())
    instruction = m.segment_positions("instruction")
    listed = spans_elsewhere(m.prompt_tokens)
    assert [span["start"] for span in spans] == [places[0] for places in listed]
    for places in listed:
        assert len(places) == len(instruction)
        assert not set(places) & set(instruction)
    ids = [token.id for token in (*m.prompt_tokens, *m.answers["tuned"].tokens)]

    def logprob(mask: torch.Tensor) -> float:
        with pair.model("base") as model, torch.no_grad():
            logits = model(torch.tensor([ids]), attention_mask=mask).logits[0]
        rows = logits[m.prompt_length - 1 : -1].double().log_softmax(dim=-1)
        return float(rows.gather(1, torch.tensor(ids[m.prompt_length :])[:, None]).sum())

    seen = torch.ones(1, len(ids))
    hidden = seen.clone()
    hidden[0, listed[0]] = 0
    assert spans[0]["base"] == pytest.approx(logprob(seen) - logprob(hidden), abs=1e-4)


def test_hidden_segments_are_occlusion_by_segment(trace: LiveTrace) -> None:
    rows = trace.block(blocks.hidden_segments())
    m = trace.manifest
    assert {(row["segment"], row["answer"]) for row in rows} == {
        (segment, answer) for segment in ("instruction", "context") for answer in SIDES
    }
    for row in rows:
        if row["answer"] == "tuned":
            place = m.segment_positions(row["segment"])[0]
            for side in SIDES:
                effects = trace.array(blocks.saliency(side, "occlusion_segment"))[place]
                np.testing.assert_allclose(row[side], effects, atol=1e-4)


def test_a_pair_of_one_model_has_no_finding(tmp_path_factory: pytest.TempPathFactory) -> None:
    folder, _ = tiny.save_pair(tmp_path_factory.mktemp("same"))
    same = load_pair(folder, folder)
    trace = trace_pair(same, tiny.PROMPT, instruction=tiny.INSTRUCTION, response="shared")
    (only,) = trace.block(blocks.findings())
    assert only["title"] == "Nothing here is distinguishable from no tuning."


@pytest.mark.parametrize("side", SIDES)
def test_the_lens_of_the_answer_is_that_of_transformers(
    pair: Pair, trace: LiveTrace, side: Side
) -> None:
    m = trace.manifest
    ids = [token.id for token in (*m.prompt_tokens, *m.answers[side].tokens)]
    with pair.model(side) as model, torch.no_grad():
        output = model(torch.tensor([ids]), output_hidden_states=True)
    # The last of these has gone through the final norm.
    states = [state[0, m.prompt_length - 1 : -1] for state in output.hidden_states[:-1]]
    targets = ids[m.prompt_length :]
    for unembedding in SIDES:
        table = trace.array(blocks.lens_table(side, unembedding))
        with pair.model(unembedding) as model, torch.no_grad():
            rows = model.lm_head(model.model.norm(torch.stack(states))).softmax(dim=-1).numpy()
        for layer, row in enumerate(rows):
            p = row[range(len(targets)), targets]
            np.testing.assert_allclose(table[layer, :, 0], np.log(p), atol=1e-4)
            np.testing.assert_array_equal(table[layer, :, 1], 1 + (row > p[:, None]).sum(axis=1))
    own = trace.array(blocks.lens_table(side, side))
    np.testing.assert_allclose(own[-1, :, 0], trace.array(blocks.logprob(side)), atol=1e-5)


def test_a_recording_reads_the_lens_once_for_each_table(
    trace: LiveTrace, monkeypatch: pytest.MonkeyPatch
) -> None:
    m, read = trace.manifest, list[int]()
    logit_lens = lens.logit_lens

    def counted(model: Any, residual: Any, targets: list[int]) -> lens.LensReading:
        read.append(len(targets))
        return logit_lens(model, residual, targets)

    monkeypatch.setattr(lens, "logit_lens", counted)
    first = blocks.lens("tuned", m.prompt_length)
    alone = trace.block(first)
    assert read == [1]
    trace = LiveTrace(trace.pair, m, trace.subject.captures)
    values = {key: trace.block(key) for key in list(trace.keys()) if key.startswith("lens")}
    assert read == [1, *[m.answer_length("tuned")] * 4]
    assert len(values) == 4 + 2 * m.answer_length("tuned")
    for ours, theirs in zip(values[first]["layers"], alone["layers"], strict=True):
        assert ours["rank"] == theirs["rank"]
        assert ours["logprob"] == pytest.approx(theirs["logprob"], abs=1e-5)
        assert [word for word, _ in ours["top"]] == [word for word, _ in theirs["top"]]
    assert trace.block(blocks.lens("base", 0))["target"] == m.prompt_tokens[1].text
    assert read[5:] == [1]
