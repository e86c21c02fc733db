"""Effects of neurons against finite differences and ablation of the weights, and their cards."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from scipy.stats import spearmanr
from transformers import PreTrainedModel
from twinlens.compute.concepts.neurons import neuron_ablation
from twinlens.compute.live.live import LiveTrace, trace_pair
from twinlens.compute.models import architectures
from twinlens.compute.pair import Pair, demo_pair, load_pair
from twinlens.compute.passes import gates
from twinlens.compute.passes.gates import gate_gradients
from twinlens.compute.passes.reading import Reading
from twinlens.contract.wire import Array
from twinlens.contract.words import SIDES
from twinlens.errors import UnknownBlockError

from tests.support import tiny
from tests.support.saliency import ANSWER, IDS, PROMPT, answer_logits, embed


def _scaled(model: PreTrainedModel, layer: int, neuron: int, scale: float) -> Array:
    """Log-probability of each answer token with a neuron's value vector scaled, independently."""
    weight = architectures.feed_forward_out(model, layer).weight
    row = (
        weight[:, neuron]
        if isinstance(architectures.feed_forward_out(model, layer), torch.nn.Linear)
        else weight[neuron]
    )
    before = row.detach().clone()
    try:
        with torch.no_grad():
            row *= scale
            logits = answer_logits(model, embed(model))[0]
    finally:
        with torch.no_grad():
            row.copy_(before)
    chosen = logits.log_softmax(dim=-1).gather(1, torch.tensor(IDS[PROMPT:])[:, None])
    return chosen[:, 0].double().numpy()


@pytest.mark.parametrize("architecture", ["llama", "gpt2", "gemma2"])
def test_effects_equal_finite_differences_and_ablation_the_weights(architecture: str) -> None:
    model = tiny.model(architecture).double().requires_grad_(False)
    reading = Reading(model, IDS, PROMPT)
    (one,), (whole,) = (gate_gradients(reading, columns).neurons for columns in ([2], None))
    assert whole.shape == (3, 48)
    for layer, neuron in ((0, 3), (1, 40), (2, 17)):
        # No smaller steps: some families compute their norms in float32 whatever they are given.
        up, down = (_scaled(model, layer, neuron, 1 + step) for step in (1e-2, -1e-2))
        slope = (up - down) / 2e-2
        assert one[layer, neuron] == pytest.approx(slope[2], rel=1e-3, abs=1e-4)
        assert whole[layer, neuron] == pytest.approx(slope.sum(), rel=1e-3, abs=1e-4)
        lost = _scaled(model, layer, neuron, 1) - _scaled(model, layer, neuron, 0)
        exact = neuron_ablation(reading, layer, neuron, range(ANSWER))
        assert exact == pytest.approx(lost.sum(), rel=1e-4, abs=1e-5)
        assert neuron_ablation(reading, layer, neuron, [1]) == pytest.approx(
            lost[1], rel=1e-4, abs=1e-5
        )


def test_all_heads_and_neurons_from_one_backward_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    model = tiny.model("llama").requires_grad_(False)
    inputs: list[list[int]] = []
    grad = torch.autograd.grad

    def spy(outputs: object, wanted: Any, *rest: object, **options: object) -> object:
        inputs.append([part.numel() for part in wanted])
        return grad(outputs, wanted, *rest, **options)

    monkeypatch.setattr(torch.autograd, "grad", spy)
    gate_gradients(Reading(model, IDS, PROMPT))
    # One through the unembedding alone, one through the model.
    assert inputs == [[ANSWER * 32], [4] * 3 + [48] * 3]
    assert not any(module._forward_pre_hooks for module in model.modules())


def test_estimate_ranks_neurons_of_the_embedded_pair_like_ablation() -> None:
    trace = trace_pair(demo_pair(), "Name the opposite. hot", response="shared", max_new_tokens=8)
    effects = trace.array("neurons/effect/tuned/answer")
    rng = np.random.default_rng(0)
    top = np.argsort(-np.abs(effects), axis=None)[:16]
    for places in (top, rng.choice(effects.size, 16, replace=False)):
        pairs = [divmod(int(place), effects.shape[1]) for place in places]
        exact = [trace.array(f"neuron/ablation/tuned/{la}/{n}/answer")[0] for la, n in pairs]
        assert spearmanr([effects[pair] for pair in pairs], exact).statistic > 0.7


@pytest.fixture(scope="module")
def moved(tmp_path_factory: pytest.TempPathFactory) -> Pair:
    """In the last layer neuron 5 writes elsewhere, and neuron 9 is used twice as much."""
    base = tiny.model("llama")
    tuned = tiny.tuned_copy(base, size=0.0)
    mlp = tuned.model.layers[2].mlp
    with torch.no_grad():
        mlp.down_proj.weight[:, 5] = mlp.down_proj.weight[:, 5].flip(0)
        mlp.up_proj.weight[9] *= 2
    folder = tmp_path_factory.mktemp("moved")
    for name, model in (("base", base), ("tuned", tuned)):
        model.save_pretrained(folder / name)
        tiny.tokenizer().save_pretrained(folder / name)
    return load_pair(folder / "base", folder / "tuned")


def test_a_card_tells_a_moved_vector_from_more_use(moved: Pair) -> None:
    trace = trace_pair(moved, tiny.PROMPT, response="base", max_new_tokens=4)
    at = trace.manifest.prompt_length
    other, more = trace.block(f"neuron/change/2/5/{at}"), trace.block(f"neuron/change/2/9/{at}")
    with moved.model("base") as model:
        column = model.model.layers[2].mlp.down_proj.weight[:, 5]
        assert other["moved"] == pytest.approx(
            float((column.flip(0) - column).norm() / column.norm())
        )
        assert other["cosine"] == pytest.approx(
            float(torch.cosine_similarity(column.flip(0), column, dim=0)), abs=1e-6
        )
    assert other["used"] == 0
    assert more["moved"] == 0
    assert more["cosine"] == pytest.approx(1)
    assert more["tuned"] == pytest.approx(2 * more["base"], rel=1e-5)
    assert more["used"] == pytest.approx(abs(more["base"]), rel=1e-5)
    assert more["write"]["tuned"] == pytest.approx(2 * more["write"]["base"], rel=1e-5)
    listed = trace.block("neurons/all/answer")
    assert {(2, 5), (2, 9)} & {(entry["layer"], entry["neuron"]) for entry in listed}


def test_most_active_of_a_layer_and_of_all(trace: LiveTrace) -> None:
    first, length = trace.manifest.prompt_length, trace.manifest.length("base")
    values = trace.head_room._subject.captures["base"].neurons.numpy()
    answer = np.abs(values[:, first - 1 : length - 1]).mean(axis=1)
    norms = np.stack([trace.pair.concepts.value_norms("base", layer) for layer in range(3)])
    for key, strength in (
        ("neurons/all/answer", answer * norms),
        ("neurons/1/answer", (answer * norms)[1:2]),
        (f"neurons/all/{first + 2}", np.abs(values[:, first + 1]) * norms),
    ):
        listed = trace.block(key)
        layer, neuron = np.unravel_index(strength.argmax(), strength.shape)
        assert (layer + (key[8] == "1"), neuron) in {(e["layer"], e["neuron"]) for e in listed}
    entry = trace.block("neurons/1/answer")[0]
    assert entry["base"] == pytest.approx(answer[1, entry["neuron"]])


@pytest.mark.parametrize(
    "key",
    [
        "neurons/effect/base/99",
        "neurons/effect/both/answer",
        "neuron/ablation/base/3/0/answer",
        "neuron/ablation/base/0/48/0",
        "neuron/change/0/0/999",
        "components/3/ends",
    ],
)
def test_what_is_not_there_is_said(trace: LiveTrace, key: str) -> None:
    with pytest.raises(UnknownBlockError, match="there is no"):
        trace.block(key)


@pytest.mark.slow
def test_estimate_ranks_neurons_of_a_real_model_like_ablation() -> None:
    from tests.support.real_pair import smollm2_pair_folders

    pair = load_pair(*smollm2_pair_folders())
    trace = trace_pair(pair, "The capital of France is", response="shared", max_new_tokens=4)
    effects = trace.array("neurons/effect/base/answer")
    assert effects.shape == (30, 1536)
    # Not the largest: a few neurons write so much that no first-order estimate ranks them.
    chosen = np.random.default_rng(0).choice(effects.size, 12, replace=False)
    pairs = [divmod(int(place), 1536) for place in chosen]
    exact = [trace.array(f"neuron/ablation/base/{la}/{n}/answer")[0] for la, n in pairs]
    assert spearmanr([effects[pair] for pair in pairs], exact).statistic > 0.9


def test_both_sides_are_asked_for_by_name(trace: LiveTrace) -> None:
    effects = [trace.array(f"neurons/effect/{side}/0") for side in SIDES]
    assert not np.allclose(*effects)


def test_heads_and_neurons_share_a_pass(trace: LiveTrace, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[object] = []

    def counted(reading: Reading, columns: Any = None) -> gates.GateGradients:
        asked.append(columns)
        return gate_gradients(reading, columns)

    monkeypatch.setattr(gates, "gate_gradients", counted)
    for column in ("answer", 2, 4):
        trace.array(f"heads/effect/base/{column}")
        trace.array(f"neurons/effect/base/{column}")
    assert asked == [None, [2], [4]]
