"""Exchanged parts against whole models, own hooks, and edits of a known place."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from transformers import PreTrainedModel
from twinlens.compute.exchange import smallest_set
from twinlens.compute.exchange.exchanged_weights import with_weights_of_base
from twinlens.compute.exchange.parts import Layout, Place
from twinlens.compute.exchange.passes import (
    Exchange,
    compared,
    divergence,
    integrated_gates,
    rows_of,
)
from twinlens.compute.exchange.smallest_set import Measured, carried, ranking
from twinlens.compute.models import architectures
from twinlens.compute.passes.capture import capture
from twinlens.contract.wire import Array

from tests.support import tiny
from tests.support.saliency import IDS, PROMPT, answer_logits, embed, reading


def exchange(tuned: PreTrainedModel, base: PreTrainedModel) -> Exchange:
    captured = capture(base, IDS, PROMPT, side="base")
    return Exchange(reading(tuned), base, captured, nullcontext(), nullcontext())


@pytest.mark.parametrize("vocabulary", [7, 2**16 + 1])
def test_predictions_are_compared_row_by_row(vocabulary: int) -> None:
    generator = torch.Generator().manual_seed(0)
    logits = 3 * torch.randn(3, 2, vocabulary, generator=generator)
    donor = torch.randn(2, vocabulary, generator=generator).double().log_softmax(dim=-1)
    targets = torch.tensor([1, vocabulary - 1])
    nats, apart = compared(logits, targets, donor)
    whole = torch.distributions.Categorical(logits=logits.double())
    np.testing.assert_allclose(nats, whole.log_prob(targets), rtol=1e-12)
    theirs = torch.distributions.Categorical(logits=donor)
    expected = torch.distributions.kl_divergence(whole, theirs)
    np.testing.assert_allclose(apart, expected, rtol=1e-10)


@pytest.mark.parametrize("noise", [0, 4e-4, -4e-4])
def test_parts_that_rounding_cannot_tell_apart_keep_their_place(noise: float) -> None:
    assert ranking([0.2, 0.5 + noise, 0.9, 0.5, -0.1]) == [2, 1, 3, 0, 4]
    assert ranking([]) == []


def predicted(model: PreTrainedModel) -> Tensor:
    with torch.no_grad():
        return answer_logits(model, embed(model))[0].double().log_softmax(dim=-1)


def kl(of: Tensor, beside: Tensor) -> Array:
    return np.asarray((of.exp() * (of - beside)).sum(dim=-1))


@pytest.mark.parametrize("family", tiny.ALL)
def test_all_parts_are_the_other_model_and_none_is_the_own(family: str) -> None:
    base = tiny.model(family)
    tuned = tiny.tuned_copy(base)
    pair = exchange(tuned, base)
    with torch.no_grad():
        everything, nothing = pair.logprobs(rows_of(pair.layout, [range(pair.layout.count), []]))
    np.testing.assert_allclose(everything, predicted(base), atol=2e-5)
    np.testing.assert_allclose(nothing, predicted(tuned), atol=2e-5)
    assert kl(predicted(tuned), predicted(base)).max() > 1e-3


@pytest.mark.parametrize("family", ["llama", "gpt_neox", "gpt2", "olmo2"])
def test_passes_that_begin_at_the_first_change_equal_whole_ones(family: str) -> None:
    base = tiny.model(family)
    tuned = tiny.tuned_copy(base)
    whole = exchange(tuned, base)
    own = capture(tuned, IDS, PROMPT, side="tuned")
    late = replace(whole, own=own)
    layout = whole.layout
    ran: list[int] = []
    handle = architectures.feed_forward_out(tuned, 1).register_forward_hook(
        lambda *_: ran.append(1)
    )
    for places in ([], [layout.unembedding], [layout.feed_forward(2)], [layout.head(1, 2)], [0]):
        rows = rows_of(layout, [places, [layout.unembedding]])
        with torch.no_grad():
            expected = whole.logprobs(rows)
            ran.clear()
            torch.testing.assert_close(late.logprobs(rows), expected, atol=2e-5, rtol=0)
        first = layout.first(rows.any(dim=0))
        assert len(ran) == (first <= 1)
    handle.remove()
    with torch.no_grad():
        ours, expected = dict(with_weights_of_base(late)), dict(with_weights_of_base(whole))
        assert ours.keys() == expected.keys()
        for block, logits in expected.items():
            torch.testing.assert_close(ours[block], logits, atol=2e-5, rtol=0)


def test_blocks_that_were_not_changed_share_one_pass() -> None:
    base = tiny.model("llama")
    tuned = copy.deepcopy(base)
    with torch.no_grad():
        architectures.feed_forward_out(tuned, 1).weight *= 3
    pair = replace(exchange(tuned, base), own=capture(tuned, IDS, PROMPT, side="tuned"))
    assert pair.can_begin_apart
    ran: list[int] = []
    handle = architectures.feed_forward_out(tuned, 1).register_forward_hook(
        lambda *_: ran.append(1)
    )
    found = dict(with_weights_of_base(pair))
    handle.remove()
    assert ran == [1]
    assert len(found) == 2 * len(architectures.layers(tuned)) + 2
    for block, logits in found.items():
        expected = base if block == Place("feed_forward", 1) else tuned
        predictions = logits[0].double().log_softmax(dim=-1)
        torch.testing.assert_close(predictions, predicted(expected), atol=2e-5, rtol=0)


@pytest.mark.parametrize("family", ["llama", "gpt2"])
def test_sets_that_are_nearly_another_begin_where_they_differ_from_it(family: str) -> None:
    base = tiny.model(family)
    tuned = tiny.tuned_copy(base)
    pair = replace(exchange(tuned, base), own=capture(tuned, IDS, PROMPT, side="tuned"))
    layout = pair.layout
    near = [layout.embedding, layout.head(0, 1), layout.feed_forward(2)]
    sets = [[*near, layout.head(2, 0)], near[:-1], [*near, layout.unembedding]]
    alone, together = Measured(pair), Measured(pair)
    alone.measure(sets)
    ran: list[int] = []
    handle = architectures.feed_forward_out(tuned, 1).register_forward_hook(
        lambda _, __, output: ran.append(len(output.reshape(-1, len(IDS) - 1, output.shape[-1])))
    )
    together.measure(sets, near)
    handle.remove()
    assert ran == [1], "what comes in front of the last layer is read once"
    # What a set gave in front of each layer is kept for those that are nearly that one.
    after = [*near, layout.head(2, 0), layout.feed_forward(1)]
    for measured in alone, together:
        close = measured is together
        measured.measure([near[1:], [near[0], near[2]]], near if close else None)
        measured.measure([after], sets[0] if close else None)
        measured.measure([after[1:]], after if close else None)
        measured.measure([[layout.head(1, 0), after[-1]]], [after[-1]] if close else None)
    assert alone.known.keys() == together.known.keys()
    for key, expected in alone.known.items():
        np.testing.assert_allclose(together.known[key], expected, atol=2e-5)


@contextmanager
def putting(module: nn.Module, put: Callable[[Tensor], Tensor]) -> Iterator[None]:
    handle = module.register_forward_hook(lambda _, __, output: put(output))
    try:
        yield
    finally:
        handle.remove()


@pytest.mark.parametrize("family", ["llama", "gpt2"])
def test_a_part_is_what_an_own_hook_puts_there(family: str) -> None:
    base = tiny.model(family)
    tuned = tiny.tuned_copy(base)
    pair = exchange(tuned, base)
    seen: dict[str, Tensor] = {}
    out = architectures.feed_forward_out(base, 1)
    handle = out.register_forward_hook(lambda _, __, output: seen.update(block=output))
    heads = architectures.attention_out(base, 1)
    keep = heads.register_forward_pre_hook(lambda _, given: seen.update(heads=given[0]))
    predicted(base)
    handle.remove()
    keep.remove()

    with putting(architectures.feed_forward_out(tuned, 1), lambda _: seen["block"]):
        block = predicted(tuned)

    own: dict[str, Tensor] = {}
    size = 32 // 4

    def weight(model: PreTrainedModel) -> Tensor:
        raw = architectures.attention_out(model, 1).weight.detach()
        return (raw.T if family == "gpt2" else raw)[:, 2 * size : 3 * size]

    def put(output: Tensor) -> Tensor:
        theirs = seen["heads"][..., 2 * size : 3 * size] @ weight(base).T
        mine = own["heads"][..., 2 * size : 3 * size] @ weight(tuned).T
        both = output + theirs - mine
        if family == "gpt2":  # a fourth of the biases goes with each of four heads
            both = both + (architectures.attention_out(base, 1).bias - out_bias) / 4
        return both

    module = architectures.attention_out(tuned, 1)
    out_bias = getattr(module, "bias", None)
    keep = module.register_forward_pre_hook(lambda _, given: own.update(heads=given[0]))
    with putting(module, put):
        head = predicted(tuned)
    keep.remove()

    layout = pair.layout
    with torch.no_grad():
        rows = pair.logprobs(rows_of(layout, [[layout.feed_forward(1)], [layout.head(1, 2)]]))
    np.testing.assert_allclose(rows[0], block, atol=2e-5)
    np.testing.assert_allclose(rows[1], head, atol=2e-5)


def test_gates_on_the_path_add_up_to_the_divergence() -> None:
    base = tiny.model("llama")
    pair = exchange(tiny.tuned_copy(base), base)
    whole = kl(predicted(pair.model), predicted(base))
    answer, third = integrated_gates(pair, [None, 2])
    assert float(answer.sum()) == pytest.approx(whole.sum(), rel=0.02)
    assert float(third.sum()) == pytest.approx(whole[2], rel=0.05)


def test_every_place_has_a_part_and_every_part_a_block() -> None:
    layout = Layout(3, 4)
    parts = [layout.part(place) for place in range(layout.count)]
    assert len(set(parts)) == layout.count == 3 * 4 + 3 + 2
    assert parts[layout.head(2, 3)] == Place("head", 2, 3)
    assert parts[layout.feed_forward(1)] == Place("feed_forward", 1)
    assert sorted(place for places in layout.blocks().values() for place in places) == list(
        range(layout.count)
    )


def edited(edit: Callable[[PreTrainedModel], None]) -> Measured:
    base = tiny.model("llama")
    tuned = copy.deepcopy(base)
    with torch.no_grad():
        edit(tuned)
    return Measured(exchange(tuned, base))


def _feed_forward(model: PreTrainedModel) -> None:
    architectures.feed_forward_out(model, 1).weight *= -1


def _head(model: PreTrainedModel) -> None:
    architectures.attention_out(model, 1).weight[:, 8:16] *= -3


def _unembedding(model: PreTrainedModel) -> None:
    model.lm_head.weight += torch.randn_like(model.lm_head.weight) * 0.1


def _embedding(model: PreTrainedModel) -> None:
    model.model.embed_tokens.weight *= 1.5


@pytest.mark.parametrize(
    ("edit", "block", "part"),
    [
        (_feed_forward, ("feed_forward", 1, -1), ("feed_forward", 1, -1)),
        (_head, ("attention", 1, -1), ("head", 1, 1)),
        (_unembedding, ("unembedding", -1, -1), ("unembedding", -1, -1)),
        (_embedding, ("embedding", -1, -1), ("embedding", -1, -1)),
    ],
)
def test_an_edit_is_found_at_its_place(
    edit: Callable[[PreTrainedModel], None], block: tuple[object, ...], part: tuple[object, ...]
) -> None:
    found = carried(edited(edit))
    first = found["blocks"][0]
    assert (first["kind"], first["layer"], first["head"]) == block
    assert first["share"] == pytest.approx(1, abs=1e-4)
    by_weights = found["weights"]
    assert (by_weights[0]["kind"], by_weights[0]["layer"]) == block[:2]
    assert by_weights[0]["share"] == pytest.approx(1, abs=1e-4)
    assert all(abs(other["share"]) < 1e-4 for other in by_weights[1:])
    assert [(p["kind"], p["layer"], p["head"]) for p in found["parts"]] == [part]
    assert found["parts"][0]["together"] == pytest.approx(found["shift"], rel=1e-4)
    assert len(found["random"]) == 10


def test_two_edits_at_once_are_the_two_weights_that_matter() -> None:
    def edit(model: PreTrainedModel) -> None:
        _feed_forward(model)
        architectures.layers(model)[2].self_attn.v_proj.weight *= -1

    found = carried(edited(edit))["weights"]
    assert {(part["kind"], part["layer"]) for part in found[:2]} == {
        ("feed_forward", 1),
        ("attention", 2),
    }
    assert all(abs(other["share"]) < 1e-4 for other in found[2:])


def test_a_model_beside_itself_has_nothing_to_carry() -> None:
    found = carried(edited(lambda _: None))
    assert found["parts"] == []
    assert found["kl"] == pytest.approx(0, abs=1e-6)


def test_what_is_measured_is_measured_once(monkeypatch: pytest.MonkeyPatch) -> None:
    measured = edited(_head)
    first = carried(measured, 1)
    passes: list[int] = []
    run = Exchange.logprobs
    monkeypatch.setattr(Exchange, "logprobs", lambda s, g: (passes.append(len(g)), run(s, g))[1])
    again = carried(measured, 1)
    assert again == first
    assert passes == []


def test_divergence_is_that_of_torch() -> None:
    a, b = (torch.randn(3, 7, dtype=torch.float64).log_softmax(dim=-1) for _ in range(2))
    reference = torch.nn.functional.kl_div(b, a, log_target=True, reduction="none").sum(dim=-1)
    np.testing.assert_allclose(divergence(a, b), reference)


@pytest.mark.parametrize("family", ["llama", "gemma2"])
def test_what_carries_is_the_same_whether_sets_join_a_pass_or_not(
    family: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    base = tiny.model(family)
    tuned = tiny.tuned_copy(base)
    pair = replace(exchange(tuned, base), own=capture(tuned, IDS, PROMPT, side="tuned"))
    assert pair.can_begin_apart
    joined = carried(Measured(pair))
    monkeypatch.setattr(smallest_set, "_NUMBERS_KEPT", 0)
    read_again = carried(Measured(pair))
    apart = carried(Measured(replace(pair, own=None)))
    for other in read_again, apart:
        for name in ("blocks", "weights", "parts"):
            for mine, yours in zip(joined[name], other[name], strict=True):
                assert {k: v for k, v in mine.items() if isinstance(v, (str, int))} == {
                    k: v for k, v in yours.items() if isinstance(v, (str, int))
                }
                assert mine["share"] == pytest.approx(yours["share"], abs=1e-4)
        np.testing.assert_allclose(joined["random"], other["random"], atol=1e-4)
