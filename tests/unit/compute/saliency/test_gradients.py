"""Gradient times input against finite differences, Captum, and itself in the other mode."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from captum.attr import InputXGradient
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from transformers import PreTrainedModel
from twinlens.compute.models import architectures
from twinlens.compute.passes.folding import Texts
from twinlens.compute.passes.reading import Reading
from twinlens.compute.saliency import gradients, products
from twinlens.contract.wire import Array
from twinlens.errors import NotFiniteError

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

RIVALS = [7, 17, 250, 33]  # the second is the answer token itself


def score(name: str, model: PreTrainedModel, embedded: Tensor) -> Tensor:
    """Independent targets, shape [batch, M]."""
    logits = answer_logits(model, embedded)
    if name == "gradient_x_input":
        return of_answer(logits.softmax(dim=-1))
    if name == "gradient_x_input_logprob":
        return of_answer(logits.log_softmax(dim=-1))
    if name == "gradient_x_input_logit":
        return of_answer(logits)
    rivals = list(RIVALS)
    ranking = answer_logits(model, embed(model))[0, 1].argsort(descending=True).tolist()
    rivals[1] = next(token for token in ranking if token != IDS[PROMPT + 1])
    return of_answer(logits) - of_answer(logits, [*IDS[:PROMPT], *rivals])


NAMES = (
    "gradient_x_input",
    "gradient_x_input_logprob",
    "gradient_x_input_logit",
    "gradient_x_input_contrast",
)


@pytest.fixture(params=["forward", "reverse"])
def mode(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    force(request.param, monkeypatch)
    return str(request.param)


def force(mode: str, monkeypatch: pytest.MonkeyPatch) -> None:
    ratio = 1e-9 if mode == "forward" else 1e9
    monkeypatch.setattr(gradients, "FORWARD_OVER_REVERSE", ratio)


@pytest.fixture
def double_inside(monkeypatch: pytest.MonkeyPatch) -> None:
    """Norms, softmax and rotary position cast to float32 inside: too coarse for differences."""
    monkeypatch.setattr(torch, "float32", torch.float64)
    monkeypatch.setattr(torch, "float", torch.float64)
    monkeypatch.setattr(Tensor, "float", Tensor.double)


def close(ours: Array, expected: Array, tolerance: float = 1e-5) -> None:
    scale = np.abs(expected).max()
    assert scale > 0
    np.testing.assert_allclose(ours, expected, rtol=tolerance, atol=tolerance * scale)


@pytest.mark.usefixtures("double_inside")
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("architecture", tiny.ALL)
def test_it_is_the_directional_derivative(
    architecture: str, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = tiny.model(architecture).double()
    step, each = 1e-5, torch.arange(PROMPT)
    up, down = (embed(model).repeat(PROMPT, 1, 1) for _ in range(2))
    up[each, each] *= 1 + step
    down[each, each] *= 1 - step
    with torch.no_grad():
        slopes = (score(name, model, up) - score(name, model, down)) / (2 * step)
    for mode in ("forward", "reverse"):
        force(mode, monkeypatch)
        close(table(name, reading(model, rivals=RIVALS)), slopes.numpy(), 1e-4)


def test_it_equals_captum(model: PreTrainedModel, monkeypatch: pytest.MonkeyPatch) -> None:
    theirs = []
    for m in range(ANSWER):
        explainer = InputXGradient(lambda e, m=m: score("gradient_x_input", model, e)[:, m])
        products = explainer.attribute(embed(model).requires_grad_()).sum(dim=-1)
        theirs.append(products[0, :PROMPT].detach().numpy())
    for mode in ("forward", "reverse"):
        force(mode, monkeypatch)
        for column, expected in zip(table("gradient_x_input", model).T, theirs, strict=True):
            close(column, expected)


@pytest.mark.parametrize("window", [4, 8, 64])
@pytest.mark.parametrize("architecture", ["mistral", "gemma2", "gemma3_text", "qwen3"])
def test_forward_equals_reverse_with_any_window_and_batch(
    architecture: str, window: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = {} if architecture == "qwen3" else {"sliding_window": window}
    model = tiny.model(architecture, **options).double()
    force("reverse", monkeypatch)
    expected = table("gradient_x_input_logprob", model)
    force("forward", monkeypatch)
    for rows in (1, 3, 16):
        monkeypatch.setattr(gradients, "ROWS_AT_ONCE", rows)
        close(table("gradient_x_input_logprob", model), expected)


def test_runner_up_where_no_rival_is_known() -> None:
    model = tiny.model("llama")
    logits = answer_logits(model, embed(model))[0]
    best = [
        next(t for t in row.argsort(descending=True).tolist() if t != own)
        for row, own in zip(logits, IDS[PROMPT:], strict=True)
    ]
    expected = table("gradient_x_input_contrast", reading(model, rivals=best))
    close(table("gradient_x_input_contrast", model), expected)
    # The model's own runner-up is taken, too, where the other model says the same token.
    same = reading(model, rivals=IDS[PROMPT:])
    close(table("gradient_x_input_contrast", same), expected)


def test_the_cheaper_mode_is_chosen() -> None:
    model = tiny.model("llama")

    def rows(prompt: int, answer: int, columns: int | None = None) -> bool:
        wanted = np.zeros((prompt, answer), dtype=bool)
        wanted[:, :columns] = True
        texts = Texts.together([Reading(model, [3] * (prompt + answer), prompt)])
        return gradients.rows_are_cheaper(texts, wanted)

    assert rows(48, 192)
    assert not rows(64, 32)
    assert not rows(48, 192, 1), "one column is one backward pass"


@pytest.mark.usefixtures("double_inside", "mode")
@pytest.mark.parametrize(("prompt", "length"), [(1, 2), (1, 6), (5, 6)])
def test_one_prompt_token_or_one_answer_token(prompt: int, length: int) -> None:
    model = tiny.model("llama").double()
    ids = IDS[:length]
    ours = table("gradient_x_input", Reading(model, ids, prompt))
    embedded = embed(model, ids).requires_grad_()
    chosen = of_answer(answer_logits(model, embedded, prompt).softmax(dim=-1), ids, prompt)
    for m in range(length - prompt):
        (gradient,) = torch.autograd.grad(chosen[0, m], embedded, retain_graph=True)
        close(ours[:, m], (gradient * embedded).sum(dim=-1)[0, :prompt].detach().numpy())


@pytest.mark.usefixtures("mode")
def test_parameters_get_no_gradient_and_the_model_is_left_as_it_was() -> None:
    model = tiny.model("llama")
    attention = model.config._attn_implementation
    table("gradient_x_input", model)
    assert all(parameter.grad is None for parameter in model.parameters())
    assert model.config._attn_implementation == attention
    assert not model.get_output_embeddings()._forward_pre_hooks


@pytest.mark.parametrize("layer", [0, 2])
def test_gradient_that_is_not_finite_names_the_layer(
    layer: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = tiny.model("llama")
    force("reverse", monkeypatch)

    class Overflow(torch.autograd.Function):
        generate_vmap_rule = True

        @staticmethod
        def forward(tensor: Tensor) -> Tensor:
            return tensor.clone()

        @staticmethod
        def setup_context(*_: Any) -> None: ...

        @staticmethod
        def backward(_: Any, gradient: Tensor) -> Tensor:
            return gradient * torch.inf

    architectures.feed_forward_out(model, layer).register_forward_pre_hook(
        lambda _, arguments: (Overflow.apply(arguments[0]),)
    )
    with pytest.raises(NotFiniteError, match=rf"base model becomes NaN .* layer {layer} .*float32"):
        table("gradient_x_input", model)


def test_gradients_too_large_for_half_precision_name_the_layer(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    force("reverse", monkeypatch)
    model = tiny.model("llama")
    with torch.no_grad():
        # A norm divides by the length of its input, so gradients of tiny embeddings are huge.
        model.get_input_embeddings().weight.mul_(1e-4)
        model.get_output_embeddings().weight.mul_(400)
    assert np.isfinite(table("gradient_x_input_logit", model)).all()
    half = model.half()
    assert torch.isfinite(answer_logits(half, embed(half))).all()
    with pytest.raises(NotFiniteError, match=r"layer 0 although .* dtype=torch.float32"):
        table("gradient_x_input_logit", half)


@pytest.mark.usefixtures("mode")
@pytest.mark.parametrize("architecture", ["llama", "gemma2"])
def test_half_precision_stays_close(architecture: str) -> None:
    exact = table("gradient_x_input_logprob", tiny.model(architecture))
    rough = table("gradient_x_input_logprob", tiny.model(architecture).bfloat16())
    assert np.corrcoef(exact.ravel(), rough.ravel())[0, 1] > 0.99


def test_wide_models_and_long_texts_are_done_in_smaller_batches() -> None:
    model = tiny.model("llama")
    short, long = (
        Texts([Reading(model, [3] * length, 8)], torch.zeros(1, length - 1, 1))
        for length in (12, 2000)
    )
    assert gradients._at_once(short, 16, 2**23) == 16
    assert 1 <= gradients._at_once(long, 16, 2**23) < 16


@pytest.mark.usefixtures("double_inside", "mode")
def test_a_model_of_one_layer() -> None:
    """What its only layer is given is the embedding itself."""
    model = tiny.model("llama").double()
    del model.model.layers[1:]
    text = reading(model)
    ours = table("gradient_x_input", text)
    embedded = embed(model).requires_grad_()
    chosen = of_answer(answer_logits(model, embedded).softmax(dim=-1))
    for m in range(ANSWER):
        (gradient,) = torch.autograd.grad(chosen[0, m], embedded, retain_graph=True)
        close(ours[:, m], (gradient * embedded).sum(dim=-1)[0, :PROMPT].detach().numpy())


def test_layers_that_share_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    model = tiny.model("llama")
    first, second, _ = architectures.layers(model)
    second.mlp.up_proj.weight = first.mlp.up_proj.weight
    second.self_attn.k_proj.weight = second.self_attn.v_proj.weight
    force("reverse", monkeypatch)
    expected = table("gradient_x_input", model)
    force("forward", monkeypatch)
    close(table("gradient_x_input", model), expected)


class CountedProducts(TorchDispatchMode):
    """Multiplications in products of matrices."""

    multiplications = 0

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        if func is torch.ops.aten.mm.default:
            self.multiplications += args[0].numel() * args[1].shape[1]
        return func(*args, **(kwargs or {}))


def test_forward_derivatives_repeat_no_product(monkeypatch: pytest.MonkeyPatch) -> None:
    force("forward", monkeypatch)
    monkeypatch.setattr(gradients, "ROWS_AT_ONCE", 2)
    model, operations, tables = tiny.model("llama"), [], []
    shape = architectures.sizes(model.config)
    for most in (0, products.MOST_NUMBERS):
        monkeypatch.setattr(products, "MOST_NUMBERS", most)
        with CountedProducts() as counted:
            tables.append(table("gradient_x_input", model))
        operations.append(counted.multiplications)
    close(tables[1], tables[0])
    inner = shape.hidden * shape.kv_heads // shape.heads
    weights = 2 * shape.hidden * (shape.hidden + inner) + 3 * shape.hidden * shape.intermediate
    behind = shape.hidden**2 + 3 * shape.hidden * shape.intermediate
    # Batches begin at each second token; what follows the last attention is not among them.
    places = sum(len(IDS) - 1 - start for start in range(0, PROMPT, 2))
    assert operations[0] - operations[1] >= places * (shape.layers * weights - behind)
