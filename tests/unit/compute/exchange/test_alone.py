"""Parts exchanged one by one, at a position, either way: against hooks on transformers' models."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from transformers import PreTrainedModel
from twinlens.compute.exchange.alone import (
    as_it_is,
    likely_neurons,
    of_heads,
    of_layers,
    of_neurons,
)
from twinlens.compute.exchange.passes import Exchange, rows_of
from twinlens.compute.live.live import LiveTrace, trace_pair
from twinlens.compute.models import architectures
from twinlens.compute.pair import load_pair
from twinlens.compute.passes.capture import capture
from twinlens.contract import blocks
from twinlens.errors import UnsupportedArchitectureError

from tests.support import tiny
from tests.support.saliency import IDS, PROMPT, answer_logits, embed, of_answer, reading

#: Modules of a layer that give its attention and its feed-forward block, norms behind included.
MODULES: dict[str, tuple[str, str]] = {
    "llama": ("self_attn.o_proj", "mlp"),
    "gpt2": ("attn.c_proj", "mlp"),
    "gemma2": ("post_attention_layernorm", "post_feedforward_layernorm"),
}
LAYER = 1
POSITIONS = [None, 3, PROMPT, len(IDS) - 2]


def exchange(into: PreTrainedModel, other: PreTrainedModel, at: int | None = None) -> Exchange:
    own, theirs = (capture(model, IDS, PROMPT, side="base") for model in (into, other))
    return Exchange(reading(into), other, theirs, nullcontext(), nullcontext(), own, at)


def predicted(model: PreTrainedModel) -> Tensor:
    with torch.no_grad():
        return answer_logits(model, embed(model))[0].double().log_softmax(dim=-1)


def first(output: Any) -> Tensor:
    return output[0] if isinstance(output, tuple) else output


@contextmanager
def hooked(module: nn.Module, put: Callable[[Tensor], Tensor | None]) -> Iterator[None]:
    def hook(_: nn.Module, __: Any, output: Any) -> Any:
        new = put(first(output))
        if new is None:
            return output
        return (new, *output[1:]) if isinstance(output, tuple) else new

    handle = module.register_forward_hook(hook)
    try:
        yield
    finally:
        handle.remove()


def patched(
    into: PreTrainedModel, other: PreTrainedModel, names: tuple[str, ...], at: int | None
) -> Tensor:
    """Predictions with what modules of a layer give replaced, by hooks alone."""
    stacks = [
        model.base_model.get_submodule("h" if hasattr(model.base_model, "h") else "layers")
        for model in (into, other)
    ]
    seen: dict[str, Tensor] = {}
    with ExitStack() as stack:
        for name in names:
            module = stacks[1][LAYER].get_submodule(name)
            stack.enter_context(hooked(module, lambda x, n=name: seen.update({n: x})))
        predicted(other)

    def replaced(own: Tensor, name: str) -> Tensor:
        new = own.clone()
        here = slice(None) if at is None else at
        new[:, here] = seen[name][:, here]
        return new

    with ExitStack() as stack:
        for name in names:
            module = stacks[0][LAYER].get_submodule(name)
            stack.enter_context(hooked(module, lambda x, n=name: replaced(x, n)))
        return predicted(into)


@pytest.mark.parametrize("at", POSITIONS)
@pytest.mark.parametrize("family", MODULES)
def test_each_part_is_what_hooks_put_there(family: str, at: int | None) -> None:
    base = tiny.model(family)
    tuned = tiny.tuned_copy(base)
    for into, other in ((tuned, base), (base, tuned)):
        pair = exchange(into, other, at)
        left = of_layers(pair, as_it_is(pair))
        donor = predicted(other)
        for part, name in enumerate(("", *MODULES[family])):
            expected = patched(into, other, (name,), at)
            np.testing.assert_allclose(
                left.nats[LAYER + 1, part], of_answer(expected[None])[0], atol=2e-5
            )
            kl = (expected.exp() * (expected - donor)).sum(dim=-1)
            np.testing.assert_allclose(left.kl[LAYER + 1, part], kl, atol=2e-5)
        own = of_answer(predicted(into)[None])[0]
        np.testing.assert_allclose(left.nats[0, 1:], [own, own], atol=2e-5)


@pytest.mark.parametrize("at", [2, PROMPT - 1, PROMPT + 1])
@pytest.mark.parametrize("family", ["llama", "gemma2", "gpt_neox"])
def test_everything_at_a_position_is_the_other_model_there_and_nothing_is_the_own(
    family: str, at: int
) -> None:
    base = tiny.model(family)
    tuned = tiny.tuned_copy(base)
    pair = exchange(tuned, base, at)
    own, donor = predicted(tuned), predicted(base)
    with torch.no_grad():
        rows = rows_of(pair.layout, [range(pair.layout.count), []])
        everything, nothing = pair.logprobs(rows)
    np.testing.assert_allclose(nothing, own, atol=2e-5)
    for place, found in enumerate(everything):
        position = PROMPT - 1 + place
        if position == at:
            np.testing.assert_allclose(found, donor[place], atol=2e-5)
        elif position < at:
            np.testing.assert_allclose(found, own[place], atol=2e-5)
        elif at >= PROMPT - 1:
            assert float((found - own[place]).abs().max()) > 1e-5


def test_a_model_beside_its_copy_has_nothing_to_exchange() -> None:
    base = tiny.model("llama")
    pair = exchange(copy.deepcopy(base), base)
    whole = as_it_is(pair)
    left = of_layers(pair, whole)
    np.testing.assert_allclose(whole.kl, 0, atol=1e-6)
    np.testing.assert_allclose(left.nats[:, 0], np.tile(whole.nats, (4, 1)), atol=2e-5)


@pytest.mark.parametrize("at", [None, 4])
def test_a_head_and_a_neuron_are_what_hooks_put_there(at: int | None) -> None:
    base = tiny.model("llama")
    tuned = tiny.tuned_copy(base)
    here = slice(None) if at is None else slice(at, at + 1)
    outs = {
        "heads": [m.model.layers[LAYER].self_attn.o_proj for m in (tuned, base)],
        "neuron": [m.model.layers[LAYER].mlp.down_proj for m in (tuned, base)],
    }
    picks = {"heads": slice(16, 24), "neuron": slice(7, 8)}
    pair = exchange(tuned, base, at)
    found = {
        "heads": of_heads(pair, LAYER).nats[2],
        "neuron": of_neurons(pair, LAYER, [3, 7]).nats[1],
    }
    for kind, (mine, theirs) in outs.items():
        given: list[Tensor] = []
        handle = theirs.register_forward_pre_hook(lambda _, x, to=given: to.append(x[0]))
        predicted(base)
        handle.remove()
        pick = picks[kind]

        def put(
            module: nn.Module,
            inside: tuple[Tensor],
            output: Tensor,
            pick: slice = pick,
            other: nn.Module = theirs,
            their: list[Tensor] = given,
        ) -> Tensor:
            new = output.clone()
            new[:, here] += their[0][:, here, pick] @ other.weight[:, pick].T
            new[:, here] -= inside[0][:, here, pick] @ module.weight[:, pick].T
            return new

        handle = mine.register_forward_hook(put)
        expected = of_answer(predicted(tuned)[None])[0]
        handle.remove()
        np.testing.assert_allclose(found[kind], expected, atol=2e-5)
        assert np.abs(found[kind] - as_it_is(pair).nats[0]).max() > 1e-5


@pytest.mark.parametrize(("into", "other"), [("tuned", "base"), ("base", "tuned")])
def test_outputs_everywhere_are_the_handover(trace: LiveTrace, into: str, other: str) -> None:
    found = np.asarray(trace.exchanged(into))
    over = np.asarray(trace.handover(other))[..., 0].sum(axis=1)
    own = float(np.asarray(trace.logprob(into)).sum())
    sign = 1 if into == "tuned" else -1
    np.testing.assert_allclose(found[1:, 0, 0], sign * (own - over[1:]), atol=1e-3)
    rows = trace.exchanged(into).to_frame()
    assert set(rows["part"]) == {"output", "attention", "feed_forward"}
    assert set(rows["measure"]) == {"nats", "share"}


def test_a_later_position_changes_nothing_before_it(trace: LiveTrace) -> None:
    n = trace.manifest.prompt_length
    late = np.asarray(trace.exchanged("tuned", n + 3, 1))
    np.testing.assert_allclose(late, 0, atol=1e-4)
    here = np.asarray(trace.exchanged("tuned", n + 3, 3))
    assert np.abs(here[..., 1]).max() > 0.01
    assert trace.exchanged("tuned", n + 3, 3, heads_of=2).shape == (4, 2)
    assert trace.exchanged("base", neuron=(1, 5)).to_frame()["value"].notna().all()


@pytest.mark.parametrize("at", [None, PROMPT])
@pytest.mark.parametrize("family", ["llama", "gpt2", "gemma2"])
def test_changed_neurons_are_found(family: str, at: int | None) -> None:
    base = tiny.model(family)
    tuned = copy.deepcopy(base)
    out = architectures.feed_forward_out(tuned, LAYER)
    changed = [5, 11]
    with torch.no_grad():
        weight = architectures.value_vectors(tuned, LAYER)
        moved = weight.clone()
        moved[changed] *= -40
        # Stored the other way round in some families.
        out.weight.copy_(moved.T if out.weight.shape == moved.T.shape else moved)
    pair = exchange(tuned, base, at)
    whole, left = as_it_is(pair), of_neurons(pair, LAYER, range(len(weight)))
    taken = whole.kl.sum() - left.kl.sum(axis=-1)
    assert set(np.flatnonzero(np.abs(taken) > 1e-4)) <= set(changed)
    found = likely_neurons(pair, LAYER, None)
    assert set(found[:2]) == set(changed)
    of_last = likely_neurons(pair, LAYER, len(IDS) - PROMPT - 1)
    assert set(of_last[:2]) == set(changed)


def test_neurons_are_listed_with_most_first(trace: LiveTrace) -> None:
    rows = trace.exchanged_neurons(2, "base")
    shares = [share for _, _, share in rows.value]
    assert shares == sorted(shares, reverse=True)
    for neuron, nats, share in rows.value[:2]:
        alone = np.asarray(trace.exchanged("base", neuron=(2, neuron)))
        np.testing.assert_allclose(alone, [[nats, share]], atol=1e-4)
    assert list(rows.to_frame().columns)[:3] == ["neuron", "nats", "share"]


def test_neurons_of_experts_are_refused() -> None:
    experts = tiny.model("qwen3_moe")
    with pytest.raises(UnsupportedArchitectureError, match="mixtures of experts"):
        of_neurons(exchange(experts, experts), 0, [0])


def test_a_pair_with_itself_and_an_answer_of_one_token(folders: tuple[Path, Path]) -> None:
    itself = load_pair(folders[0], folders[0])
    trace = trace_pair(itself, tiny.PROMPT, response="shared", max_new_tokens=1)
    assert trace.manifest.answer_length("tuned") == 1
    n = trace.manifest.prompt_length
    for found in (trace.exchanged(), trace.exchanged("base", n, 0), trace.exchanged(heads_of=0)):
        np.testing.assert_allclose(found, 0, atol=1e-4)
    assert trace.carried().value["parts"] == []
    (only,) = trace.block(blocks.findings())
    assert "".join(piece for _, piece in only["text"]) == "Both models predict the same."
    assert trace.unit_effects(0, n).value[0]["tuned"] is not None
    keys = list(trace.keys())
    assert sum(key.startswith("units/") for key in keys) == trace.manifest.pair.layers
    # Into either model, at three places: all layers, and the heads of each.
    layers = trace.manifest.pair.layers
    assert sum(key.startswith("exchanged/") for key in keys) == 2 * 3 * (1 + layers)
