"""What a long text needs is known before a model runs."""

from __future__ import annotations

from collections import namedtuple
from typing import Any

import pytest
import torch
from twinlens.compute.live.live import trace_pair
from twinlens.compute.pair import Pair
from twinlens.compute.passes import footprint
from twinlens.compute.passes.capture import capture
from twinlens.compute.passes.folding import embed, fold
from twinlens.compute.passes.reading import Reading, log_probability
from twinlens.compute.saliency import gradients
from twinlens.errors import MemoryNeededError

from tests.support import tiny


def test_it_is_what_a_pass_leaves(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(footprint, "_SCORES", 0)
    length = 40
    with pair.model("base") as model:
        kept = capture(model, [5] * length, 30, side="base")
    tensors = (*kept.heads, kept.attention_out, kept.feed_forward_out, kept.residual, kept.neurons)
    held = sum(tensor.nbytes for tensor in tensors) + kept.attention.packed.nbytes
    assert footprint.footprint(pair, length) == pytest.approx(2 * held, rel=0.1)


def test_text_that_does_not_fit_is_refused_before_a_model_runs(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    memory = namedtuple("memory", "available")(20_000)
    monkeypatch.setattr(footprint.psutil, "virtual_memory", lambda: memory)
    monkeypatch.setattr(pair, "model", None)
    with pytest.raises(MemoryNeededError, match="tokens with both models takes about"):
        trace_pair(pair, tiny.PROMPT, max_new_tokens=4)


def test_much_of_it_is_said(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(footprint, "_WORTH_SAYING", 1000)
    said: list[Any] = []
    footprint.check_footprint(pair, 50, lambda *state: said.append(state))
    assert said == [(0, 2, "reading 50 tokens, about 0.0 GB of memory")]


def test_how_long_it_takes_is_said_of_long_texts(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(footprint, "_TAKES_SECONDS", 640)
    monkeypatch.setattr(footprint, "seconds", lambda models, length: length / 10)
    said: list[Any] = []
    for length in (639, 640):
        footprint.check_footprint(pair, length, lambda *state: said.append(state))
    assert said == [(0, 2, "reading 640 tokens, about 64 s")]


def test_seconds_grow_with_the_text_and_its_square(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By a clock that says 1 s for the short pass."""
    clock = iter(range(4))
    monkeypatch.setattr(footprint.time, "perf_counter", lambda: next(clock))
    shape, weights = pair.sizes, pair.info.base.parameters

    def products(length: int) -> int:
        return length * weights + 2 * shape.layers * shape.hidden * length**2

    for length in (64, 6400):
        expected = 2 * products(length) / products(64)
        assert footprint.seconds(pair, length) == pytest.approx(expected)


@pytest.mark.parametrize("family", ["llama", "gpt2", "opt"])
def test_a_graph_is_what_autograd_keeps(family: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(footprint, "_SCORES", 0)
    model = tiny.model(family).requires_grad_(False)

    def kept(length: int) -> int:
        storages: dict[int, torch.UntypedStorage] = {}

        def pack(tensor: torch.Tensor) -> torch.Tensor:
            storages[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage()
            return tensor

        reading = Reading(model, [5] * (length + 1), length - 4)
        point = embed(reading).requires_grad_()
        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            fold(reading, log_probability, range(5), point)
        return sum(storage.nbytes() for storage in storages.values())

    # Weights are kept whatever the length is.
    grown = kept(120) - kept(40)
    expected = footprint.graph(model, 1, 120) - footprint.graph(model, 1, 40)
    assert expected == pytest.approx(grown, rel=0.15)


def test_derivatives_that_do_not_fit_are_refused_before_they_run(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    trace = trace_pair(pair, tiny.PROMPT, answer=" in plain words", max_new_tokens=4)
    monkeypatch.setattr(footprint, "free_memory", lambda _: 20_000)
    monkeypatch.setattr(gradients, "FORWARD_OVER_REVERSE", 1e9)  # by backward passes
    for key in (
        "saliency/tuned/gradient_x_input",
        "saliency/tuned/attention_knockout",
        "heads/effect/tuned/answer",
        "neurons/effect/tuned/answer",
    ):
        with pytest.raises(
            MemoryNeededError, match=r"derivatives over \d+ tokens .* layer by layer.* use"
        ):
            trace.block(key)
    # Occlusion needs none, not even to find what comes first.
    assert torch.isfinite(torch.from_numpy(trace.array("saliency/tuned/occlusion").copy())).all()
