"""Quantised weights: unpacked as they are used, or refused, in every block alike."""

from __future__ import annotations

import copy
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from transformers import PreTrainedModel
from twinlens.compute.live.live import LiveTrace, trace_pair
from twinlens.compute.models.derivatives import check_differentiable, has_forward_mode
from twinlens.compute.pair import load_pair
from twinlens.errors import NotDifferentiableError, UnsupportedArchitectureError

from tests.support import tiny
from tests.support.forms import alike

#: All that is read of weights.
OF_WEIGHTS = (
    "neuron/1/3",
    "neuron/change/1/3/answer",
    "neurons/1/answer",
    "heads/write/tuned/1/neuron:3",
    "components/1",
    "rotation",
    "heads/circuits",
    "word_pairs/info",
)


class Packed(Tensor):
    """Numbers that are a thousand times too large, and say so."""

    def dequantize(self) -> Tensor:
        return self.as_subclass(Tensor) / 1000


class PackedLinear(nn.Linear):
    """A linear map with packed weights."""

    def forward(self, given: Tensor) -> Tensor:
        return nn.functional.linear(given, self.weight.dequantize())


class WronglyPackedLinear(nn.Linear):
    """One that has been laid out anew since its weights were packed."""

    def forward(self, given: Tensor) -> Tensor:
        return nn.functional.linear(given, self.weight.dequantize().flip(0))


class Float8Linear(nn.Module):
    """Eight bits and a scale beside them, as in FP8 checkpoints."""

    def __init__(self, of: nn.Linear) -> None:
        super().__init__()
        self.in_features, self.out_features = of.in_features, of.out_features
        scale = of.weight.detach().abs().max() / 448
        self.weight = nn.Parameter((of.weight / scale).to(torch.float8_e4m3fn), requires_grad=False)
        self.weight_scale_inv = nn.Parameter(scale, requires_grad=False)

    def forward(self, given: Tensor) -> Tensor:
        return nn.functional.linear(given, self.weight.to(given.dtype) * self.weight_scale_inv)


class IntegerLinear(nn.Module):
    """Whole numbers and scales under names of its own, as GPTQ and AWQ have."""

    def __init__(self, of: nn.Linear) -> None:
        super().__init__()
        self.in_features, self.out_features = of.in_features, of.out_features
        scales = of.weight.detach().abs().amax(dim=1, keepdim=True) / 7
        self.register_buffer("qweight", (of.weight / scales).round().to(torch.int8))
        self.register_buffer("scales", scales)

    def forward(self, given: Tensor) -> Tensor:
        return nn.functional.linear(given, self.qweight.to(given.dtype) * self.scales)


class SilentLinear(PackedLinear):
    """One whose kernel knows no gradient and says nothing."""

    def forward(self, given: Tensor) -> Tensor:
        return super().forward(given.detach())


def packed(model: PreTrainedModel, kind: type[nn.Module]) -> PreTrainedModel:
    """A copy of a model with the linear maps of its layers packed."""
    model = copy.deepcopy(model)
    for block in model.model.layers:
        for module in list(block.modules()):
            for name, child in list(module.named_children()):
                if isinstance(child, nn.Linear) and not issubclass(kind, nn.Linear):
                    setattr(module, name, kind(child))
                elif isinstance(child, nn.Linear):
                    made = kind(child.in_features, child.out_features, bias=False)
                    weight = (child.weight.detach() * 1000).as_subclass(Packed)
                    made.weight = nn.Parameter(weight, requires_grad=False)
                    setattr(module, name, made)
    return model


@pytest.fixture(scope="module")
def traced() -> Callable[[type[nn.Module] | None], LiveTrace]:
    base = tiny.model("llama")
    models = base, tiny.tuned_copy(base)

    def make(kind: type[nn.Module] | None) -> LiveTrace:
        sides = [packed(model, kind) for model in models] if kind else models
        return trace_pair(
            load_pair(*sides, tokenizer=tiny.tokenizer()), tiny.PROMPT, response=" plain words"
        )

    return make


@pytest.fixture(scope="module")
def plain(traced: Any) -> LiveTrace:
    return traced(None)


def test_weights_are_unpacked_in_every_block(traced: Any, plain: LiveTrace) -> None:
    trace = traced(PackedLinear)
    for key in (*OF_WEIGHTS, "saliency/tuned/gradient_x_input", "heads/effect/tuned/answer"):
        alike(trace.block(key), plain.block(key))
    with pytest.raises(UnsupportedArchitectureError, match="what chance does to quantised"):
        trace.block("null")


@pytest.mark.parametrize("kind", [WronglyPackedLinear, Float8Linear, IntegerLinear])
def test_what_cannot_be_unpacked_is_refused_in_every_block(
    traced: Any, kind: type[nn.Module]
) -> None:
    trace = traced(kind)
    for key in OF_WEIGHTS:
        with pytest.raises(UnsupportedArchitectureError, match="are quantised and cannot be look"):
            trace.block(key)
    trace.block("saliency/tuned/gradient_x_input")


def test_what_cannot_be_differentiated_says_so(traced: Any, plain: LiveTrace) -> None:
    trace = traced(SilentLinear)
    gradients = (
        "saliency/tuned/gradient_x_input",
        "heads/effect/base/answer",
        "neurons/effect/tuned/answer",
    )
    for key in gradients:
        with pytest.raises(NotDifferentiableError, match="do not pass through SilentLinear"):
            trace.block(key)
    occlusion = "saliency/tuned/occlusion"
    np.testing.assert_allclose(trace.array(occlusion), plain.array(occlusion), atol=1e-4)


def test_rounded_inputs_have_no_gradient_and_all_else_is_shown(plain: LiveTrace) -> None:
    """As compressed-tensors runs checkpoints whose activations are quantised, too."""
    with plain.pair.model("base") as base, plain.pair.model("tuned") as tuned:
        sides = [copy.deepcopy(model) for model in (base, tuned)]
    for module in (module for side in sides for module in side.model.layers.modules()):
        if isinstance(module, nn.Linear):
            module.quantization_scheme = SimpleNamespace(input_activations="8 bits")
            module.forward = lambda given, module=module: nn.functional.linear(
                (given * 32).round() / 32, module.weight
            )
    pair = load_pair(*sides, tokenizer=tiny.tokenizer())
    trace = trace_pair(pair, tiny.PROMPT, response=" plain words")
    for key in ("components/1", "heads/circuits"):
        alike(trace.block(key), plain.block(key))
    with pytest.raises(NotDifferentiableError, match="do not pass through Linear modules"):
        trace.block("saliency/tuned/gradient_x_input")
    np.testing.assert_allclose(
        trace.array("saliency/tuned/occlusion"), plain.array("saliency/tuned/occlusion"), atol=0.5
    )


def test_plain_models_are_not_tried(plain: LiveTrace) -> None:
    with plain.pair.model("base") as model:
        check_differentiable(model)
        assert has_forward_mode(model)
        one_way = packed(model, OneWayLinear)
        check_differentiable(one_way)
        assert not has_forward_mode(one_way)


class _Doubled(torch.autograd.Function):
    """Knows how it is differentiated backwards, and not forwards."""

    @staticmethod
    def forward(context: Any, given: Tensor) -> Tensor:
        return given * 2

    @staticmethod
    def backward(context: Any, gradient: Tensor) -> Tensor:
        return gradient * 2


class OneWayLinear(PackedLinear):
    """One with a backward pass only, as bitsandbytes has for 8 bits."""

    def forward(self, given: Tensor) -> Tensor:
        return super().forward(_Doubled.apply(given))
