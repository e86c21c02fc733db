"""The update with its signs drawn anew: what it keeps, and that nothing of it stays."""

from __future__ import annotations

import copy
import zlib
from contextlib import nullcontext

import numpy as np
import pytest
import torch
from transformers import PreTrainedModel
from twinlens.compute.exchange import changed_weights as changing
from twinlens.compute.exchange import null as null_module
from twinlens.compute.exchange.changed_weights import Change, Changed, Rows, changed_weights
from twinlens.compute.exchange.null import DRAWS, _moved, _signs, null, update_of
from twinlens.compute.passes.joining import can_join
from twinlens.contract.forms import Null
from twinlens.contract.words import SIDES
from twinlens.measures.chance import LEVEL, changed_places, p_value, times_as_far

from tests.support import tiny
from tests.support.saliency import IDS, reading

FREE = {side: nullcontext() for side in SIDES}


def null_of(base: PreTrainedModel, tuned: PreTrainedModel) -> Null:
    readings = {"base": reading(base), "tuned": reading(tuned)}
    said = {side: read.logits()[0].log_softmax(dim=-1) for side, read in readings.items()}
    return null(readings["base"], readings["tuned"], said, FREE)


def weights(model: PreTrainedModel) -> dict[str, torch.Tensor]:
    return {name: weight.detach().clone() for name, weight in model.named_parameters()}


def weights_of(change: Change, name: str, weight: torch.Tensor) -> list[torch.Tensor]:
    changed = change(name, weight.detach())
    return list(changed.rows(...)) if changed else []


def twice_as_large(_: str, weight: torch.Tensor) -> Changed:
    return Changed([0], lambda rows: [weight[rows] * 2])


@pytest.mark.parametrize("tied", [False, True])
def test_the_weights_of_a_pass_are_changed_and_put_back(tied: bool) -> None:
    model = tiny.model("llama", tie_word_embeddings=tied)
    before = weights(model)
    with changed_weights(model, twice_as_large), torch.no_grad():
        model(torch.tensor([IDS]))
        with pytest.raises(TypeError):
            model.model.layers[0].self_attn.q_proj("no tensor")
        assert all(torch.equal(weight, before[name]) for name, weight in weights(model).items())
    assert (model.lm_head.weight is model.model.embed_tokens.weight) == tied
    assert not any("forward" in vars(module) for module in model.modules())


@pytest.mark.parametrize("at_once", [100, 2**20])
@pytest.mark.parametrize("family", [*tiny.ALL, "opt", "gpt_oss", "mixtral"])
def test_weights_in_pieces_are_those_of_a_changed_model(
    family: str, at_once: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(changing, "_IN_PRODUCT", at_once)
    model, twice = tiny.model(family), tiny.model(family)
    ids = torch.tensor([IDS])
    with torch.no_grad():
        for parameter in twice.parameters():
            parameter *= 2
        with changed_weights(model, twice_as_large):
            np.testing.assert_allclose(model(ids).logits, twice(ids).logits, atol=1e-4)


@pytest.mark.parametrize("at_once", [100, 2**20])
@pytest.mark.parametrize("family", tiny.ALL)
def test_each_text_may_have_weights_of_its_own(
    family: str, at_once: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(changing, "_IN_PRODUCT", at_once)
    model, twice, thrice = (tiny.model(family) for _ in range(3))
    assert can_join(model)
    changed = {name for name, _ in model.named_parameters() if ".1." in name or "wpe" in name}
    factors = {1: 2, 2: 3}
    ids = torch.tensor([IDS])
    with torch.no_grad():
        for factor, other in zip(factors.values(), (twice, thrice), strict=True):
            for name, parameter in other.named_parameters():
                parameter *= factor if name in changed else 1

    def times(name: str, weight: torch.Tensor) -> Changed | None:
        if name not in changed:
            return None
        return Changed([*factors], lambda rows: [weight[rows] * f for f in factors.values()])

    with changed_weights(model, times, 3), torch.no_grad():
        found = model(ids.expand(3, -1)).logits
    for own, other in zip(found, (tiny.model(family), twice, thrice), strict=True):
        with torch.no_grad():
            np.testing.assert_allclose(own, other(ids).logits[0], atol=1e-4)


@pytest.mark.parametrize("family", ["llama", "gpt2", "opt", "mixtral"])
def test_draws_read_together_are_those_read_alone(
    family: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    base = tiny.model(family)
    tuned = tiny.tuned_copy(base)
    together = null_of(base, tuned)
    monkeypatch.setattr(null_module, "_TOGETHER", 1)
    alone = null_of(base, tuned)
    for key in ("update", "scrambled", "rounding"):
        np.testing.assert_allclose(together[key], alone[key], rtol=1e-3, atol=1e-9)


def test_the_update_keeps_its_entries_and_its_places_but_for_signs() -> None:
    base = tiny.model("llama")
    tuned = tiny.tuned_copy(base)
    update = update_of(base, tuned, FREE)
    theirs = dict(tuned.named_parameters())
    names = {name: name for name in theirs}
    for name, weight in base.named_parameters():
        added = theirs[name].detach() - weight.detach()
        drawn = weights_of(_moved(update, [3, 3, 4], 0.5, names), name, weight)
        assert torch.equal(drawn[0], drawn[1])
        if added.any():
            assert not torch.equal(drawn[0], drawn[2])
        torch.testing.assert_close((drawn[0] - weight).abs(), 0.5 * added.abs(), atol=1e-6, rtol=0)
        (whole,) = weights_of(_moved(update, [None], 1.0, names), name, weight)
        torch.testing.assert_close(whole, theirs[name].detach())


def test_what_is_the_same_in_both_is_compared_once() -> None:
    base = tiny.model("llama")
    tuned = copy.deepcopy(base)
    with torch.no_grad():
        tuned.model.layers[1].self_attn.o_proj.weight *= 1.5
    update = update_of(base, tuned, FREE)
    added = {name: update(name, weight.detach()) for name, weight in base.named_parameters()}
    assert [name for name, found in added.items() if found is not None] == [
        "model.layers.1.self_attn.o_proj.weight"
    ]
    with torch.no_grad():
        for weight in tuned.parameters():
            weight.fill_(torch.nan)
    for name, weight in base.named_parameters():
        assert (update(name, weight.detach()) is None) == (added[name] is None), "not read again"


def test_signs_fall_either_way() -> None:
    signs = _signs("a", torch.zeros(100, 99), 0)(...).float()
    assert set(signs.unique().tolist()) == {-1, 1}
    assert float(signs.mean()) == pytest.approx(0, abs=0.05)


@pytest.mark.parametrize("rows", [slice(3, 7), slice(90, 120), torch.tensor([0, 42])])
def test_signs_of_some_rows_are_those_of_all(rows: Rows) -> None:
    signs = _signs("a", torch.zeros(100, 3, 11), 0)
    assert torch.equal(signs(rows), signs(...)[rows])
    (drawn,) = np.random.default_rng([1, zlib.crc32(b"a")]).bytes(1)
    assert signs(slice(0, 1)).ravel()[:8].tolist() == [
        1 if drawn & bit else -1 for bit in (128, 64, 32, 16, 8, 4, 2, 1)
    ]


@pytest.mark.parametrize("seed", [0, 1])
def test_noise_is_one_draw_among_the_others(seed: int) -> None:
    base = tiny.model("llama")
    tuned = copy.deepcopy(base)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for weight in tuned.parameters():
            weight += torch.randn(weight.shape, generator=generator) * 0.02
    found = null_of(base, tuned)
    assert changed_places(found) == []
    assert p_value(found["update"], found["scrambled"]) > LEVEL
    assert 0.5 < times_as_far(found) < 2


def test_an_update_that_points_somewhere_is_not() -> None:
    base = tiny.model("llama")
    tuned = copy.deepcopy(base)
    ids = torch.tensor([IDS])
    steps = torch.optim.Adam(tuned.parameters(), lr=3e-3)
    for _ in range(5):
        steps.zero_grad()
        tuned(ids, labels=ids).loss.backward()
        steps.step()
    found = null_of(base, tuned)
    assert p_value(found["update"], found["scrambled"]) < LEVEL
    assert np.mean(found["scrambled"]) < 0.01


def test_a_change_of_one_place_is_told_by_its_place() -> None:
    base = tiny.model("llama")
    tuned = copy.deepcopy(base)
    with torch.no_grad():
        tuned.model.layers[1].self_attn.o_proj.weight *= 1.5
    found = null_of(base, tuned)
    (place,) = changed_places(found)
    assert (place["kind"], place["layer"]) == ("attention", 1)
    own = [weight.detach() for weight in base.model.layers[1].self_attn.parameters()]
    own.append(base.model.layers[1].input_layernorm.weight.detach())
    count = sum(weight.numel() for weight in own)
    assert place["weights"] == pytest.approx(count / base.num_parameters())
    length = torch.cat([weight.ravel() for weight in own]).norm()
    out = base.model.layers[1].self_attn.o_proj.weight.detach().norm()
    assert place["length"] == pytest.approx(float(0.5 * out / length), rel=1e-4)


@pytest.mark.parametrize("tied", [False, True])
def test_an_unembedding_is_told_from_the_embedding_it_was_tied_to(tied: bool) -> None:
    base = tiny.model("llama", tie_word_embeddings=True)
    tuned = copy.deepcopy(base)
    with torch.no_grad():
        if tied:
            tuned.lm_head.weight *= 1.5
        else:
            tuned.lm_head.weight = torch.nn.Parameter(tuned.lm_head.weight * 1.5)
            tuned.config.tie_word_embeddings = False
    found = null_of(base, tuned)
    changed = [place["kind"] for place in found["changed"] if place["length"] > 0]
    assert changed == ["embedding" if tied else "unembedding"]
    assert np.mean(found["update"]) > 0


def test_a_model_beside_itself_does_not_move() -> None:
    model = tiny.model("llama")
    found = null_of(model, model)
    assert len(found["scrambled"]) == DRAWS
    assert np.abs([found["update"], *found["scrambled"]]).max() < 1e-9
    assert p_value(found["update"], found["scrambled"]) == 1
    assert changed_places(found) == []
    assert 0 < max(found["rounding"]) < 0.1
