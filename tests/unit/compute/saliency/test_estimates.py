"""Estimates against finite differences of what they claim to estimate, Captum, and their sums."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from captum.attr import IntegratedGradients
from torch import Tensor
from transformers import PreTrainedModel
from twinlens.compute.passes import conditions
from twinlens.compute.passes.folding import Texts
from twinlens.compute.passes.reading import log_probability
from twinlens.compute.saliency import estimates, gradients
from twinlens.compute.saliency.estimates import (
    along_path,
    knockout,
    knockout_by_head,
    mean_embedding,
)
from twinlens.contract.wire import Array

from tests.support import tiny
from tests.support.saliency import (
    ANSWER,
    IDS,
    PROMPT,
    answer_logits,
    embed,
    of_answer,
    reading,
    table,
)

# Softmax and norms of these families cast to float32 inside, which differences do not survive.
pytestmark = pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")


@pytest.fixture
def double_inside(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "float32", torch.float64)
    monkeypatch.setattr(torch, "float", torch.float64)
    monkeypatch.setattr(Tensor, "float", Tensor.double)


def logprobs(model: PreTrainedModel, embedded: Tensor) -> Tensor:
    return of_answer(answer_logits(model, embedded).log_softmax(dim=-1))


@pytest.mark.usefixtures("double_inside")
@pytest.mark.parametrize("architecture", tiny.ALL)
def test_knockout_is_the_derivative_towards_a_hidden_key(
    architecture: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Move the weight of one key a little way to the other keys, in every layer and head."""
    model = tiny.model(architecture).double()
    ours = table("attention_knockout", model)
    step = 1e-5
    moved: dict[str, float] = {}

    def shifted(module, query, key, value, mask, **kwargs):  # type: ignore[no-untyped-def]
        output, weights = attention(module, query, key, value, mask, **kwargs)
        size, n = weights.shape[-1], int(moved["key"])
        later = torch.arange(weights.shape[-2]) > n
        ours_now = weights[..., n]
        target = weights / (1 - ours_now)[..., None]
        target[..., n] = 0
        change = torch.where(later[:, None], target - weights, 0)
        values = value.repeat_interleave(weights.shape[1] // value.shape[1], dim=1)
        assert size == values.shape[-2]
        more = (change @ values).transpose(1, 2) * moved["step"]
        return output + more.reshape(output.shape), weights

    attention = conditions._attention
    conditions.AttentionInterface.register("shifted", shifted)
    conditions.AttentionMaskInterface.register("shifted", conditions._mask)
    model.set_attn_implementation("shifted")

    def answer(n: int, size: float) -> Array:
        moved.update(key=n, step=size)
        with torch.no_grad():
            scores = model(inputs_embeds=embed(model), use_cache=False).logits[:, PROMPT - 1 : -1]
        return of_answer(scores.log_softmax(dim=-1))[0].numpy()

    expected = np.stack([(answer(n, -step) - answer(n, step)) / (2 * step) for n in range(PROMPT)])
    scale = np.abs(expected).max()
    assert scale > 1e-3
    np.testing.assert_allclose(ours, expected, rtol=1e-4, atol=1e-5 * scale)


def test_knockout_formula_against_a_loop() -> None:
    generator = torch.Generator().manual_seed(0)
    pattern = torch.rand(1, 2, 4, 4, generator=generator, dtype=torch.float64).tril()
    pattern /= pattern.sum(dim=-1, keepdim=True)
    pattern[0, 1, 3] = torch.tensor([0, 1, 0, 0])  # the other keys get nothing: no effect
    gradient = torch.randn(3, 1, 2, 4, 4, generator=generator, dtype=torch.float64)
    expected = torch.zeros(3, 2, 3, dtype=torch.float64)
    for c, h, i in np.ndindex(3, 2, 3):
        for q in range(i + 1, 4):
            a, g = pattern[0, h, q], gradient[c, 0, h, q]
            if a[i] < 1:
                expected[c, h, i] += a[i] * (g[i] - (a * g).sum()) / (1 - a[i])
    torch.testing.assert_close(knockout(pattern, gradient, 3), expected)


@pytest.mark.parametrize(("left", "dtype"), [(1e-6, torch.float32), (1e-3, torch.bfloat16)])
def test_what_a_key_with_nearly_all_weight_leaves_to_others_is_not_lost_in_rounding(
    left: float, dtype: torch.dtype
) -> None:
    generator = torch.Generator().manual_seed(0)
    others = left * torch.rand(1, 1, 6, 5, generator=generator, dtype=torch.float64)
    exact = torch.cat([1 - others.sum(dim=-1, keepdim=True), others], dim=-1)
    rounded = exact.to(dtype)  # of bfloat16 the first is 1
    gradient = torch.randn(2, 1, 1, 6, 6, generator=generator, dtype=torch.float64)
    first = gradient[:, 0, 0, :, 0]
    by_others = (others[0, 0] * gradient[:, 0, 0, :, 1:]).sum(dim=-1) / others[0, 0].sum(dim=-1)
    expected = (exact[0, 0, :, 0] * (first - by_others))[:, 1:].sum(dim=-1)
    computed = knockout(rounded, gradient.float(), 1)[:, 0, 0].double()
    torch.testing.assert_close(computed, expected, rtol=1e-2, atol=1e-2)


def test_knockout_unfolds_into_heads(model: PreTrainedModel) -> None:
    whole = table("attention_knockout", model)
    layers, heads = model.config.num_hidden_layers, model.config.num_attention_heads
    by_head = knockout_by_head(reading(model))
    assert by_head.shape == (layers, heads, PROMPT)
    scale = np.abs(whole).max()
    np.testing.assert_allclose(by_head.sum(axis=(0, 1)), whole.sum(axis=1), atol=1e-4 * scale)
    one = knockout_by_head(reading(model), [2])
    np.testing.assert_allclose(one.sum(axis=(0, 1)), whole[:, 2], atol=1e-4 * scale)


def test_gradient_norm_is_the_length_of_the_gradient(model: PreTrainedModel) -> None:
    ours = table("gradient_norm", model)
    embedded = embed(model).requires_grad_()
    answer = logprobs(model, embedded)[0]
    for m in range(ANSWER):
        (gradient,) = torch.autograd.grad(answer[m], embedded, retain_graph=True)
        expected = gradient[0, :PROMPT].norm(dim=-1).numpy()
        np.testing.assert_allclose(ours[:, m], expected, rtol=1e-4)


@pytest.mark.parametrize("architecture", tiny.ALL)
def test_integrated_gradients_equal_captum(
    architecture: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = tiny.model(architecture).double()
    whole, theirs = embed(model), []
    for m in range(ANSWER):

        def answer(prompt: Tensor, m: int = m) -> Tensor:
            rest = whole[:, PROMPT:].expand(len(prompt), -1, -1)
            return logprobs(model, torch.cat([prompt, rest], dim=1))[:, m]

        attributed = IntegratedGradients(answer).attribute(
            whole[:, :PROMPT], baselines=average(model), n_steps=6, method="gausslegendre"
        )
        theirs.append(attributed.sum(dim=-1)[0].detach().numpy())
    texts = Texts([reading(model)], whole[:, :-1])
    for ratio in (1e-9, 1e9):  # forward, and in reverse
        monkeypatch.setattr(gradients, "FORWARD_OVER_REVERSE", ratio)
        pieces = list(
            along_path(
                texts, list(range(ANSWER)), log_probability, 6, mean_embedding(texts.readings[0])
            )
        )
        assert len(pieces) > 6, "others get through while it adds up"
        assert not any(piece is not None for piece in pieces[:-1])
        for ours, expected in zip(pieces[-1][0].numpy().T, theirs, strict=True):
            np.testing.assert_allclose(ours, expected, rtol=1e-5, atol=1e-5 * abs(expected).max())


def average(model: PreTrainedModel) -> Tensor:
    """A prompt of nothing but the mean embedding."""
    return embed(model, range(model.config.vocab_size)).mean(dim=1)[:, None].expand(1, PROMPT, -1)


@pytest.mark.parametrize("first", [1, estimates.PATH_POINTS])
def test_integrated_gradients_add_up_to_the_whole_change(
    model: PreTrainedModel, first: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """To 1 % or a thousandth of a nat, however few points it begins with."""
    monkeypatch.setattr(estimates, "PATH_POINTS", first)
    start = embed(model)
    start[:, :PROMPT] = average(model)
    with torch.no_grad():
        change = (logprobs(model, embed(model)) - logprobs(model, start))[0].numpy()
    gap = np.abs(table("integrated_gradients", model).sum(axis=0) - change)
    assert (gap <= np.maximum(0.01 * np.abs(change), 0.001) + 1e-5).all()


def test_integrated_gradients_that_do_not_add_up_say_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(estimates, "PATH_POINTS", 1)
    monkeypatch.setattr(estimates, "MOST_POINTS", 2)
    with pytest.warns(UserWarning, match="miss the whole change by up to .* with 2 points"):
        table("integrated_gradients", tiny.model("llama"))


def test_rollout_is_the_product_of_the_mixed_patterns(model: PreTrainedModel) -> None:
    ours = table("attention_rollout", model)
    before = model.config._attn_implementation
    model.set_attn_implementation("eager")
    with torch.no_grad():
        patterns = model(torch.tensor([IDS]), output_attentions=True, use_cache=False).attentions
    model.set_attn_implementation(before)
    flow = np.eye(len(IDS))
    for pattern in patterns:
        flow = (0.5 * pattern[0].mean(dim=0).numpy() + 0.5 * np.eye(len(IDS))) @ flow
    expected = flow[PROMPT - 1 : -1, :PROMPT].T
    np.testing.assert_allclose(ours, expected, atol=1e-6)
    np.testing.assert_allclose(ours[:, 0].sum(), 1, atol=1e-6)


@pytest.mark.parametrize("name", ["attention_knockout", "gradient_norm", "attention_rollout"])
def test_one_prompt_token_and_one_answer_token(name: str) -> None:
    from twinlens.compute.passes.reading import Reading

    model = tiny.model("llama")
    assert np.isfinite(table(name, Reading(model, IDS[:2], 1))).all()
    if name == "attention_rollout":
        assert table(name, Reading(model, IDS[:2], 1)) == pytest.approx(1)


def test_long_texts_take_fewer_columns_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    model = tiny.model("llama")
    whole = table("attention_knockout", model)
    monkeypatch.setattr(estimates, "_NUMBERS_AT_ONCE", 1)
    monkeypatch.setattr(estimates, "_NUMBERS_OF_ALL", 1)
    np.testing.assert_allclose(table("attention_knockout", model), whole, atol=1e-5)
