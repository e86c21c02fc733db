"""Effects of heads: gradients of gates against finite differences, ablation, and each other."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor
from transformers import PreTrainedModel
from twinlens.compute.heads.effects import answer_logprobs, without_heads
from twinlens.compute.live.live import LiveTrace, trace_pair
from twinlens.compute.models import architectures
from twinlens.compute.pair import Pair, load_pair
from twinlens.compute.passes.capture import capture
from twinlens.compute.passes.gates import gate_gradients
from twinlens.contract.wire import Array
from twinlens.contract.words import SIDES, TOP_HEADS
from twinlens.errors import Interrupted, NotFiniteError, UnknownBlockError

from tests.support import tiny
from tests.support.saliency import ANSWER, IDS, PROMPT, answer_logits, embed, of_answer, reading

LAYERS, HEADS = 3, 4


@pytest.fixture
def double_inside(monkeypatch: pytest.MonkeyPatch) -> None:
    """Norms, softmax and rotary position cast to float32 inside: too coarse for differences."""
    monkeypatch.setattr(torch, "float32", torch.float64)
    monkeypatch.setattr(torch, "float", torch.float64)
    monkeypatch.setattr(Tensor, "float", Tensor.double)


@contextmanager
def gate(model: PreTrainedModel, layer: int, head: int, value: float) -> Iterator[None]:
    """Independent: multiply a slice of what enters the output map."""
    size = architectures.attention_out(model, layer).weight.numel() // 32 // HEADS

    def hook(_: object, arguments: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        outputs = arguments[0].clone()
        outputs[..., head * size : (head + 1) * size] *= value
        return (outputs, *arguments[1:])

    handle = architectures.attention_out(model, layer).register_forward_pre_hook(hook)
    try:
        yield
    finally:
        handle.remove()


def logprobs(model: PreTrainedModel) -> Array:
    with torch.no_grad():
        return of_answer(answer_logits(model, embed(model)).log_softmax(dim=-1))[0].numpy()


@pytest.mark.usefixtures("double_inside")
@pytest.mark.parametrize("architecture", tiny.ALL)
def test_gate_gradients_are_the_slopes_of_finite_differences(architecture: str) -> None:
    model = tiny.model(architecture).double()
    by_token = gate_gradients(reading(model), range(ANSWER)).heads
    whole = gate_gradients(reading(model)).heads
    assert by_token.shape == (ANSWER, LAYERS, HEADS)
    step = 1e-5
    for layer, head in ((0, 1), (1, 3), (2, 0)):
        sides = []
        for value in (1 + step, 1 - step):
            with gate(model, layer, head, value):
                sides.append(logprobs(model))
        expected = (sides[0] - sides[1]) / (2 * step)
        assert np.abs(expected).max() > 1e-3
        np.testing.assert_allclose(by_token[:, layer, head], expected, rtol=1e-6, atol=1e-8)
    np.testing.assert_allclose(by_token.sum(axis=0), whole[0], rtol=1e-9, atol=1e-12)


def test_a_replaced_head_is_a_closed_gate(model: PreTrainedModel) -> None:
    whole = answer_logprobs(reading(model))
    np.testing.assert_allclose(whole, logprobs(model), atol=2e-5)
    kept = capture(model, IDS, PROMPT, side="base")
    for layer, heads in ((0, [1, 3]), (2, [0])):
        found = without_heads(reading(model), kept, layer, heads, [torch.zeros(1)] * len(heads))
        for row, head in zip(found, heads, strict=True):
            with gate(model, layer, head, 0.0):
                np.testing.assert_allclose(row, logprobs(model), atol=2e-5)
            assert (row - whole).abs().max() > 1e-3


def test_layers_below_a_head_are_not_run_again(model: PreTrainedModel) -> None:
    kept = capture(model, IDS, PROMPT, side="base")
    seen: list[int] = []
    with ExitStack() as stack:
        for layer in range(LAYERS):
            module = architectures.feed_forward_out(model, layer)
            handle = module.register_forward_hook(lambda *_, layer=layer: seen.append(layer))
            stack.callback(handle.remove)
        without_heads(reading(model), kept, 1, [0, 2], [torch.zeros(1)] * 2)
    assert seen == [1, 2]


def test_a_head_replaced_by_its_own_output_changes_nothing(model: PreTrainedModel) -> None:
    kept = capture(model, IDS, PROMPT, side="base")
    own = torch.stack(kept.heads)[:, :-1].unflatten(-1, (HEADS, -1))
    whole = answer_logprobs(reading(model))
    for layer in range(LAYERS):
        found = without_heads(reading(model), kept, layer, [2], [own[layer, :, 2]])
        torch.testing.assert_close(found[0], whole, atol=2e-5, rtol=0)


def test_estimate_and_ablation_agree_where_effects_are_small() -> None:
    """With small output weights the answer is nearly linear in every gate."""
    model = tiny.model("llama")
    with torch.no_grad():
        for layer in range(LAYERS):
            architectures.attention_out(model, layer).weight.mul_(0.001)
    estimate = gate_gradients(reading(model)).heads[0]
    kept = capture(model, IDS, PROMPT, side="base")
    none = [torch.zeros(1)] * HEADS
    without = torch.stack(
        [without_heads(reading(model), kept, layer, range(HEADS), none) for layer in range(LAYERS)]
    )
    exact = (answer_logprobs(reading(model)) - without).sum(dim=-1).numpy()
    np.testing.assert_allclose(estimate, exact, rtol=0.05, atol=5e-5)
    assert np.abs(exact).max() > 1e-3


def test_gradients_that_are_not_finite_are_an_error() -> None:
    model = tiny.model("llama")
    with torch.no_grad():
        architectures.attention_out(model, 0).weight.fill_(torch.nan)
    with pytest.raises(NotFiniteError, match="effect of the heads"):
        gate_gradients(reading(model))


# Blocks of a live trace.


def test_blocks_hold_what_the_functions_compute(trace: LiveTrace) -> None:
    whole = trace.array("heads/effect/tuned/answer")
    tokens = [trace.array(f"heads/effect/tuned/{m}") for m in range(6)]
    np.testing.assert_allclose(np.sum(tokens, axis=0), whole, rtol=1e-4, atol=1e-6)
    one = trace.array("heads/ablation/tuned/zero/2/1/3")
    with trace.pair.model("tuned") as model:
        ids = trace.head_room._subject.ids["tuned"]
        read = replace(reading(model), ids=ids, prompt_length=trace.manifest.prompt_length)
        with gate(model, 1, 3, 0.0):
            without = answer_logprobs(read)
        expected = (answer_logprobs(read) - without)[2]
    np.testing.assert_allclose(one, [expected], atol=1e-5)


@pytest.mark.parametrize("kind", ["zero", "mean", "other"])
def test_exact_effects_come_for_the_heads_of_largest_estimate(
    trace: LiveTrace, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("twinlens.compute.heads.effects.TOP_HEADS", 5)
    monkeypatch.setattr("twinlens.compute.heads.effects._AT_ONCE", 1)
    key = f"heads/ablation/base/{kind}/answer"
    assert np.isnan(trace.array(f"{key}/so_far")).all()
    estimate = trace.array("heads/effect/base/answer").copy()
    said: list[tuple[int, int]] = []
    found = trace.array(key, lambda done, total, _: said.append((done, total)))
    strongest = np.argsort(-np.abs(estimate), axis=None)[:5]
    assert set(np.flatnonzero(np.isfinite(found))) == set(strongest)
    assert said == [(done, 5) for done in range(1, 6)]
    np.testing.assert_array_equal(trace.array(f"{key}/so_far"), found)
    # An estimate stays an estimate.
    np.testing.assert_array_equal(trace.array("heads/effect/base/answer"), estimate)
    assert not np.allclose(found[np.isfinite(found)], estimate[np.isfinite(found)], rtol=1e-3)
    single = trace.array(f"heads/ablation/base/{kind}/answer/2/1")
    assert np.isfinite(single).all()
    assert np.isfinite(trace.array(f"{key}/so_far")[2, 1])
    trace.array(f"heads/ablation/base/{kind}/0")


def test_interrupted_ablation_keeps_what_is_finished(trace: LiveTrace) -> None:
    def stop(done: int, total: int, what: str) -> None:
        raise Interrupted("a newer selection")

    with pytest.raises(Interrupted):
        trace.block("heads/ablation/tuned/zero/answer", stop)
    so_far = trace.array("heads/ablation/tuned/zero/answer/so_far")
    done = int(np.isfinite(so_far).sum())
    assert 0 < done < min(TOP_HEADS, LAYERS * HEADS)
    said: list[int] = []
    trace.block("heads/ablation/tuned/zero/answer", lambda _d, total, _w: said.append(total))
    assert said[0] == min(TOP_HEADS, LAYERS * HEADS) - done


def test_the_mean_and_the_other_model(trace: LiveTrace) -> None:
    kept = {
        side: trace.head_room._subject.captures[side].heads[1][:-1].unflatten(-1, (HEADS, -1))
        for side in SIDES
    }
    with trace.pair.model("base") as model:
        read = replace(
            reading(model),
            ids=trace.head_room._subject.ids["base"],
            prompt_length=trace.manifest.prompt_length,
        )
        outputs = [kept["base"][:, 2].mean(dim=0), kept["tuned"][:, 2]]
        captured = trace.head_room._subject.captures["base"]
        without = without_heads(read, captured, 1, [2, 2], outputs)
        expected = (answer_logprobs(read) - without).sum(dim=1)
    for kind, value in zip(("mean", "other"), expected, strict=True):
        found = trace.array(f"heads/ablation/base/{kind}/answer/1/2")
        np.testing.assert_allclose(found, [value], atol=2e-5)


def test_two_equal_models_replace_each_other(folders: tuple[Path, Path]) -> None:
    twins = trace_pair(
        load_pair(folders[0], folders[0]), tiny.PROMPT, response="shared", max_new_tokens=3
    )
    found = twins.array("heads/ablation/tuned/other/answer")
    np.testing.assert_allclose(found[np.isfinite(found)], 0, atol=5e-5)


def test_questions_that_have_no_answer(pair: Pair, trace: LiveTrace) -> None:
    for key in (
        "heads/effect/base/6",
        "heads/effect/base/all",
        "heads/ablation/base/zero/answer/3/0",
        "heads/ablation/base/zero/answer/0/4",
        "heads/ablation/base/zero/answer/0",
    ):
        with pytest.raises(UnknownBlockError, match="there is no"):
            trace.block(key)
    with pytest.raises(UnknownBlockError, match="'half': one of zero, mean, other"):
        trace.block("heads/ablation/base/half/answer")
    own = trace_pair(pair, tiny.PROMPT, response="own", max_new_tokens=2)
    with pytest.raises(UnknownBlockError, match="needs one answer read by both"):
        own.block("heads/ablation/base/other/answer")
    assert np.isfinite(own.array("heads/ablation/base/zero/0/1/1")).all()


def test_patterns_hold_their_causal_half_only(trace: LiveTrace) -> None:
    t = trace.manifest.length("base")
    for side in SIDES:
        patterns = trace.head_room._subject.captures[side].attention
        assert patterns.nbytes <= LAYERS * HEADS * t * (t + 1) // 2 * 2 + t * t
        assert patterns[1].shape == (HEADS, t, t)
        np.testing.assert_array_equal(patterns[1, 2], patterns[1][2])
        assert not patterns[2].triu(diagonal=1).any()
    with pytest.raises(IndexError):
        trace.head_room._subject.captures["base"].attention[LAYERS]


def test_entropy_and_previous_of_known_patterns(trace: LiveTrace) -> None:
    entropy, previous = (
        trace.array(f"heads/{name}/base").astype(np.float64) for name in ("entropy", "previous")
    )
    for layer, head in ((0, 0), (2, 3)):
        rows = trace.array(f"attention/base/{layer}/{head}").astype(np.float64)
        for t, row in enumerate(rows):
            row = row[row > 0] / row.sum()
            expected = -(row * np.log2(row)).sum()
            np.testing.assert_allclose(entropy[t, layer, head], expected, atol=2e-3)
            np.testing.assert_allclose(
                previous[t, layer, head], rows[t, t - 1] if t else 0, atol=1e-3
            )
    assert (entropy[0] == 0).all()
