"""Measures over heads, and the logit lens."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.spatial.distance import jensenshannon
from torch import Tensor
from transformers import PreTrainedModel
from twinlens.compute.heads import attention as heads
from twinlens.compute.live import lens
from twinlens.compute.models import architectures
from twinlens.compute.passes import answer_scores
from twinlens.compute.passes.capture import Capture, capture
from twinlens.contract.wire import Array

from tests.support import tiny

IDS = [0, 300, 17, 45, 260, 310, 45, 99, 300, 17]
PROMPT = 7


@pytest.fixture(scope="module")
def captures() -> tuple[Capture, Capture]:
    base = tiny.model("llama")
    tuned = tiny.tuned_copy(base)
    return (
        capture(base, IDS, PROMPT, side="base"),
        capture(tuned, IDS, PROMPT, side="tuned"),
    )


def measured(of: Capture, measure: heads.Measure) -> Array:
    return heads.measured(of, [measure])[0]


def test_change_equals_scipy(captures: tuple[Capture, Capture]) -> None:
    base, tuned = captures
    ours = heads.change(base, tuned, len(IDS))
    assert ours.shape == (len(IDS), 3, 4)
    for layer in range(3):
        for head in range(4):
            rows = [c.attention[layer, head].double().numpy() for c in captures]
            expected = jensenshannon(*rows, base=2, axis=1) ** 2
            np.testing.assert_allclose(ours[:, layer, head], expected, atol=1e-9)
    assert ours.max() > 1e-4


def test_equal_models_do_not_differ(captures: tuple[Capture, Capture]) -> None:
    assert (heads.change(captures[0], captures[0], len(IDS)) == 0).all()


def test_attention_to_positions(captures: tuple[Capture, Capture]) -> None:
    base, _ = captures
    ours = measured(base, heads.to_positions([1, 2, 4]))
    for t, layer, head in ((0, 0, 0), (5, 1, 3), (9, 2, 2)):
        expected = sum(float(base.attention[layer, head][t, p]) for p in (1, 2, 4))
        assert ours[t, layer, head] == pytest.approx(expected, abs=1e-6)
    assert (ours[0] == 0).all()
    assert (measured(base, heads.to_positions([])) == 0).all()


def test_received_is_read_where_the_answer_is_predicted(captures: tuple[Capture, Capture]) -> None:
    base, _ = captures
    ours = measured(base, heads.received(PROMPT))
    assert ours.shape == (PROMPT, 3, 4)
    rows = [PROMPT - 1 + m for m in range(len(IDS) - PROMPT)]
    expected = np.mean([base.attention[1, 2][t, 3].item() for t in rows])
    assert ours[3, 1, 2] == pytest.approx(expected, abs=1e-6)


def test_what_heads_write_adds_up_to_the_attention_output(model: PreTrainedModel) -> None:
    kept = capture(model, IDS, PROMPT, side="base")
    direction = torch.nn.functional.normalize(torch.randn(32), dim=0)
    written = heads.write(kept, model, direction)
    assert written.shape == (len(IDS), 3, 4)
    for layer in range(3):
        bias = getattr(architectures.attention_out(model, layer), "bias", None)
        offset = 0.0 if bias is None else float(bias.detach() @ direction)
        expected = (kept.attention_out[layer] @ direction).numpy() - offset
        np.testing.assert_allclose(written[:, layer].sum(axis=-1), expected, atol=1e-5)


def test_the_lens_is_that_of_all_logits(
    model: PreTrainedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Parts of the vocabulary, and groups of places, that do not come out even.
    monkeypatch.setattr(answer_scores, "_TOKENS", 100)
    monkeypatch.setattr(answer_scores, "_OF_FEW", 1)
    monkeypatch.setattr(answer_scores, "_OF_FEW_HALVES", 1)
    monkeypatch.setattr(answer_scores, "_PLACES", 2)
    kept = capture(model, IDS, PROMPT, side="base")
    residual, targets = kept.residual[:, PROMPT - 1 : -1], IDS[PROMPT:]
    with torch.no_grad():
        logprobs = architectures.logits(model, residual).double().log_softmax(dim=-1)
    expected = logprobs.gather(-1, torch.tensor(targets).expand(4, -1)[..., None])
    likeliest = logprobs.topk(lens.TOP)

    reading = lens.logit_lens(model, residual, targets)
    table = reading.table()
    assert table.shape == (4, 3, 2)
    torch.testing.assert_close(table[..., 0].double(), expected[..., 0], atol=1e-5, rtol=0)
    assert table[..., 1].tolist() == (1 + (logprobs > expected).sum(dim=-1)).tolist()
    torch.testing.assert_close(table[-1, :, 0], kept.logprobs[range(3), targets], atol=1e-5, rtol=0)
    for place, target in enumerate(targets):
        block = reading.block(place, str)
        assert block["target"] == str(target)
        for layer, entry in enumerate(block["layers"]):
            assert [entry["logprob"], entry["rank"]] == table[layer, place].tolist()
            assert [int(text) for text, _ in entry["top"]] == likeliest.indices[
                layer, place
            ].tolist()
            probabilities = [p for _, p in entry["top"]]
            assert probabilities == pytest.approx(likeliest.values[layer, place].exp().tolist())


def test_no_token_is_ahead_of_itself_where_two_products_round_differently(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model, residual = tiny.model("llama"), torch.randn(3, 40, 32)
    with torch.no_grad():
        targets = architectures.logits(model, residual[1]).argmax(dim=-1).tolist()
    exact = answer_scores.LogitsByTokens.of_targets
    monkeypatch.setattr(
        answer_scores.LogitsByTokens, "of_targets", lambda parts: exact(parts) - 1e-6
    )
    assert lens.logit_lens(model, residual, targets).ranks[1].tolist() == [1.0] * 40


def test_there_is_no_lens_of_an_empty_answer() -> None:
    reading = lens.logit_lens(tiny.model("llama"), torch.randn(4, 0, 32), [])
    assert reading.table().shape == (4, 0, 2)


def test_rivals_leave_the_token_itself_out() -> None:
    row: Tensor = torch.tensor([0.5, 0.2, 0.15, 0.1, 0.04, 0.01]).log()
    assert [text for text, _ in lens.likeliest(row, str, besides=1)] == ["0", "2", "3", "4", "5"]
    assert [text for text, _ in lens.likeliest(row, str, besides=5)] == ["0", "1", "2", "3", "4"]
