"""Derivatives layer by layer are those of one graph, and keep no such graph."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import astuple

import numpy as np
import pytest
import torch
from torch import Tensor
from transformers import PreTrainedModel
from twinlens.compute.models import architectures
from twinlens.compute.passes import by_layer, footprint, gates
from twinlens.compute.passes.folding import Texts
from twinlens.compute.passes.gates import gate_gradients
from twinlens.compute.passes.reading import Reading, log_probability, probability
from twinlens.compute.saliency import estimates, gradients
from twinlens.contract.wire import Array

from tests.support import tiny
from tests.support.saliency import ANSWER, IDS, reading, table

MODULES = (estimates, gates, gradients)


@pytest.fixture
def too_long(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """From its call on no graph fits."""

    def begin() -> None:
        monkeypatch.setattr(gradients, "FORWARD_OVER_REVERSE", 1e9)
        for module in MODULES:
            monkeypatch.setattr(module, "fits", lambda *_: False)

    return begin


def close(ours: Array, expected: Array) -> None:
    assert np.abs(expected).max() > 0
    np.testing.assert_allclose(ours, expected, atol=1e-5 * np.abs(expected).max(), rtol=1e-4)


@pytest.mark.parametrize(
    ("family", "name"),
    [
        ("gemma2", "gradient_x_input"),
        ("gpt2", "gradient_norm"),
        ("llama", "integrated_gradients"),
        ("gemma2", "attention_knockout"),
    ],
)
def test_methods(family: str, name: str, too_long: Callable[[], None]) -> None:
    model = tiny.model(family)
    expected = table(name, model)
    too_long()
    close(table(name, model), expected)


def test_heads_and_neurons(model: PreTrainedModel, too_long: Callable[[], None]) -> None:
    model.requires_grad_(False)

    def computed() -> list[Array]:
        return [
            values
            for columns in (None, [0, 2])
            for values in astuple(gate_gradients(reading(model), columns))
        ]

    expected = computed()
    too_long()
    for ours, theirs in zip(computed(), expected, strict=True):
        close(ours, theirs)
    assert not any(module._forward_pre_hooks for module in model.modules())


@pytest.mark.parametrize("at_once", [1, 3])
def test_any_number_of_columns_together(
    at_once: int, too_long: Callable[[], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    model = tiny.model("qwen3")
    expected = table("gradient_x_input", model, columns=[0, 2, 3])
    too_long()
    monkeypatch.setattr(gradients, "COLUMNS_AT_ONCE", at_once)
    monkeypatch.setattr(by_layer, "_NUMBERS_ON_THE_WAY", 2 * 32 * len(IDS))
    close(table("gradient_x_input", model, columns=[0, 2, 3])[:, [0, 2, 3]], expected[:, [0, 2, 3]])


def test_texts_together(too_long: Callable[[], None]) -> None:
    model = tiny.model("llama")
    readings = [Reading(model, IDS, 8), Reading(model, IDS[:7], 4)]
    expected = gradients.slopes_together(readings, probability)
    too_long()
    for ours, theirs in zip(
        gradients.slopes_together(readings, probability), expected, strict=True
    ):
        close(ours, theirs)


def test_no_more_than_one_layer_waits_for_gradients(monkeypatch: pytest.MonkeyPatch) -> None:
    """What autograd keeps at a time, of a model that is twice as deep."""
    monkeypatch.setattr(footprint, "_SCORES", 0)

    def most_kept(layers: int) -> int:
        model = tiny.model("llama", num_hidden_layers=layers).requires_grad_(False)
        text = by_layer.read_by_layer(
            Texts.together([reading(model)]), log_probability, range(ANSWER)
        )
        most, kept = 0, list[Tensor]()

        def pack(tensor: Tensor) -> Tensor:
            nonlocal most
            kept.append(tensor)
            most = max(most, sum(tensor.numel() for tensor in kept))
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            for layer, _ in text.backward(text.weights[None], 1):
                assert layer < len(architectures.layers(model))
                kept.clear()
        return most

    assert most_kept(6) == most_kept(3)
