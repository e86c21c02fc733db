"""Saliency against finite differences, Captum, and independent forward passes."""

from __future__ import annotations

import threading
from contextlib import nullcontext
from typing import Any

import numpy as np
import pytest
import torch
from captum.attr import InputXGradient
from torch import Tensor
from transformers import PreTrainedModel
from twinlens.blocks import Array
from twinlens.compute.attribution import METHODS, Reading, complete
from twinlens.errors import Interrupted, NotFiniteError

from tests.support import tiny

IDS = [0, 300, 17, 45, 260, 310, 45, 99, 300, 17, 200, 5]
PROMPT = 8


def table(
    name: str,
    model: PreTrainedModel,
    columns: list[int] | None = None,
    values: Array | None = None,
    **options: Any,
) -> Array:
    shape = (PROMPT, len(IDS) - PROMPT)
    result = np.full(shape, np.nan, dtype=np.float64) if values is None else values
    complete(
        name,
        Reading(model, IDS, PROMPT),
        result,
        list(range(shape[1])) if columns is None else columns,
        side="base",
        guard=nullcontext(),
        **options,
    )
    return result


def probabilities(model: PreTrainedModel, embedded: Tensor) -> Tensor:
    """Independent: full logits, of the answer tokens, shape [batch, M]."""
    model.set_attn_implementation("eager")
    scores = model(inputs_embeds=embedded, use_cache=False).logits[:, PROMPT - 1 : -1]
    answer = torch.tensor(IDS[PROMPT:]).expand(len(embedded), -1)
    return scores.softmax(dim=-1).gather(-1, answer[..., None])[..., 0]


def embed(model: PreTrainedModel) -> Tensor:
    return model.get_input_embeddings()(torch.tensor([IDS])).detach()


@pytest.fixture
def double_inside(monkeypatch: pytest.MonkeyPatch) -> None:
    """Norms, softmax and rotary position cast to float32 inside: too coarse for differences."""
    monkeypatch.setattr(torch, "float32", torch.float64)
    monkeypatch.setattr(torch, "float", torch.float64)
    monkeypatch.setattr(Tensor, "float", Tensor.double)


@pytest.mark.usefixtures("double_inside")
@pytest.mark.parametrize("architecture", tiny.ALL)
def test_gradient_x_input_is_the_directional_derivative(architecture: str) -> None:
    model = tiny.model(architecture).double()
    ours = table("gradient_x_input", model)
    step = 1e-5
    expected = np.zeros_like(ours)
    with torch.no_grad():
        for n in range(PROMPT):
            up, down = embed(model), embed(model)
            up[0, n] *= 1 + step
            down[0, n] *= 1 - step
            slope = (probabilities(model, up) - probabilities(model, down)) / (2 * step)
            expected[n] = slope[0].numpy()
    np.testing.assert_allclose(ours, expected, rtol=1e-4, atol=1e-4 * np.abs(expected).max())


def test_gradient_x_input_equals_captum(model: PreTrainedModel) -> None:
    ours = table("gradient_x_input", model)
    for m in range(ours.shape[1]):
        explainer = InputXGradient(lambda e, m=m: probabilities(model, e)[:, m])
        theirs = explainer.attribute(embed(model).requires_grad_())
        expected = theirs.sum(dim=-1)[0, :PROMPT].detach().numpy()
        np.testing.assert_allclose(ours[:, m], expected, rtol=1e-5, atol=1e-5 * abs(expected).max())


def test_gradient_of_the_parameters_is_never_asked_for() -> None:
    model = tiny.model("llama")
    table("gradient_x_input", model)
    assert all(parameter.grad is None for parameter in model.parameters())


def hidden_mask(token: int) -> Tensor:
    """4-D mask, written out: causal, and `token` hidden from every later one."""
    size = len(IDS)
    allowed = torch.ones(size, size).tril().bool()
    allowed[token + 1 :, token] = False
    return torch.zeros(1, 1, size, size).masked_fill(~allowed, torch.finfo(torch.float32).min)


# Families with a sliding window build two masks, so one 4-D mask cannot stand for both.
@pytest.mark.parametrize(
    "architecture", [name for name in tiny.ALL if name not in ("mistral", "gemma2", "gemma3_text")]
)
def test_occlusion_equals_a_forward_pass_with_a_written_out_mask(architecture: str) -> None:
    model = tiny.model(architecture)
    ours = table("occlusion", model)
    model.set_attn_implementation("eager")
    answer = torch.tensor(IDS[PROMPT:])
    positions = torch.arange(len(IDS))[None]

    def logprobs(mask: Tensor | None) -> Tensor:
        with torch.no_grad():
            scores = model(
                torch.tensor([IDS]), attention_mask=mask, position_ids=positions, use_cache=False
            ).logits[0, PROMPT - 1 : -1]
        return scores.log_softmax(dim=-1).gather(-1, answer[:, None])[:, 0]

    intact = logprobs(None)
    expected = torch.stack([intact - logprobs(hidden_mask(n)) for n in range(PROMPT)])
    np.testing.assert_allclose(ours, expected.numpy(), atol=2e-6)
    assert np.abs(ours).max() > 0.01


@pytest.mark.parametrize("architecture", ["mistral", "gemma2", "gemma3_text"])
def test_occlusion_equals_a_wide_window_where_the_window_is_wider_than_the_text(
    architecture: str,
) -> None:
    """The window itself must survive: hiding a token equals hiding it without a window only then."""
    wide = tiny.model(architecture, sliding_window=64)
    plain = table("occlusion", wide)
    model = tiny.model(architecture, sliding_window=4)
    windowed = table("occlusion", model)
    assert np.abs(plain - windowed).max() > 1e-3
    # With a window of 4 in every layer of Mistral, 3 layers see back 9 positions at most.
    if architecture == "mistral":
        assert np.allclose(windowed[0, 3], 0, atol=1e-6)
        assert abs(plain[0, 3]) > 1e-5


def test_columns_one_at_a_time_equal_the_whole_table() -> None:
    model = tiny.model("llama")
    for name in METHODS:
        whole = table(name, model)
        single = table(name, model, [2])
        np.testing.assert_allclose(single[:, 2], whole[:, 2], rtol=1e-5, atol=1e-8)
    single = table("gradient_x_input", model, [2])
    assert np.isnan(single[:, [0, 1, 3]]).all()


@pytest.mark.parametrize("name", list(METHODS))
def test_interruption_keeps_what_is_finished(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    model = tiny.model("llama")
    whole = table(name, model)
    values = np.full_like(whole, np.nan)
    seen: list[tuple[int, int]] = []

    def report(done: int, total: int, _what: str) -> None:
        seen.append((done, total))
        raise Interrupted("no longer wanted")

    monkeypatch.setitem(METHODS, name, METHODS[name])
    monkeypatch.setattr("twinlens.compute.attribution.ROWS_AT_ONCE", 2)
    with pytest.raises(Interrupted):
        table(name, model, values=values, report=report)
    finished = np.isfinite(values)
    assert 0 < finished.sum() < values.size
    assert seen == [(finished.sum(), values.size)]
    np.testing.assert_allclose(values[finished], whole[finished], rtol=1e-5, atol=1e-8)
    table(name, model, values=values, report=lambda done, total, _: seen.append((done, total)))
    assert seen[1][1] == values.size - finished.sum()
    assert seen[-1][0] == seen[-1][1]
    np.testing.assert_allclose(values, whole, rtol=1e-5, atol=1e-8)


def test_two_threads_share_one_table() -> None:
    model = tiny.model("llama")
    whole = table("gradient_x_input", model)
    values = np.full_like(whole, np.nan)
    lock, started = threading.RLock(), threading.Event()
    passes: list[int] = []

    def slow(done: int, _total: int, _what: str) -> None:
        passes.append(done)
        started.set()
        other.join(5)

    other = threading.Thread(
        target=lambda: (
            started.wait(5),
            complete(
                "gradient_x_input",
                Reading(model, IDS, PROMPT),
                values,
                [3],
                side="base",
                guard=lock,
                report=lambda done, total, what: passes.append(-1),
            ),
        )
    )
    other.start()
    complete(
        "gradient_x_input",
        Reading(model, IDS, PROMPT),
        values,
        range(4),
        side="base",
        guard=lock,
        report=slow,
    )
    np.testing.assert_allclose(values, whole, rtol=1e-5, atol=1e-8)
    assert passes.count(-1) == 1
    assert len(passes) == 4, "the column the other thread finished is not computed again"


def test_gradient_that_is_not_finite_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Any, **__: Any) -> tuple[Tensor]:
        return (torch.full((1, len(IDS) - 1, 32), torch.inf),)

    monkeypatch.setattr(torch.autograd, "grad", broken)
    with pytest.raises(NotFiniteError, match="of the base model is NaN or infinite"):
        table("gradient_x_input", tiny.model("llama"))


def test_methods_tell_what_they_measure() -> None:
    assert list(METHODS) == ["gradient_x_input", "occlusion"]
    assert [entry.method.exact for entry in METHODS.values()] == [False, True]
