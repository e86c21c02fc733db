"""Every kind of occlusion against one independent forward pass per text."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor
from transformers import PreTrainedModel
from twinlens.compute.passes.conditions import Conditions, observed
from twinlens.compute.passes.reading import Reading
from twinlens.compute.saliency import estimates, gradients, occlusion
from twinlens.compute.saliency.occlusion import deletion_curve, read_intact
from twinlens.contract.wire import Array
from twinlens.errors import NotFiniteError, PromptError

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

GROUPS = {"word": [[0], [1, 2, 3], [4, 5], [6, 7]], "segment": [[0, 3, 7], [1, 2, 4, 5, 6]]}
REPLACEMENTS = [9, 300, 120, 33, 200, 201, 8, 77]
WINDOWED = ("mistral", "gemma2", "gemma3_text")


def logprobs(model: PreTrainedModel, embedded: Tensor, prompt: int = PROMPT) -> Array:
    """Of the answer, by a plain pass, shape [M]."""
    with torch.no_grad():
        scores = answer_logits(model, embedded, prompt).log_softmax(dim=-1)
    return of_answer(scores)[0].numpy()


def masked(model: PreTrainedModel, group: list[int]) -> Array:
    """The 4-D mask written out: causal, and a group hidden from every other token."""
    size = len(IDS)
    allowed = torch.ones(size, size).tril().bool()
    allowed[:, group] = False
    allowed |= torch.eye(size).bool()
    mask = torch.zeros(1, 1, size, size, dtype=model.dtype)
    mask = mask.masked_fill(~allowed, torch.finfo(model.dtype).min)
    model.set_attn_implementation("eager")
    with torch.no_grad():
        scores = model(
            torch.tensor([IDS]),
            attention_mask=mask,
            position_ids=torch.arange(size)[None],
            use_cache=False,
        ).logits[:, PROMPT - 1 : -1]
    return of_answer(scores.log_softmax(dim=-1))[0].numpy()


def changed(model: PreTrainedModel, kind: str, group: list[int]) -> Array:
    """The answer's log-probabilities after the change, one text at a time."""
    embedded = embed(model)
    if kind == "mask":
        return masked(model, group)
    if kind == "remove":
        kept = [n for n in range(len(IDS)) if n not in group]
        return logprobs(model, embedded[:, kept], PROMPT - len(group))
    if kind == "zero":
        embedded[0, group] = 0
    else:
        embedded[0, group] = embed(model, [REPLACEMENTS[n] for n in group])[0]
    return logprobs(model, embedded)


def expected(model: PreTrainedModel, kind: str, groups: list[list[int]]) -> Array:
    intact = logprobs(model, embed(model))
    result = np.full((PROMPT, ANSWER), np.nan)
    for group in groups:
        result[group] = intact - changed(model, kind, group)
    return result


NAMES = {
    "occlusion": ("mask", "token"),
    "occlusion_zero": ("zero", "token"),
    "occlusion_replace": ("replace", "token"),
    "occlusion_remove": ("remove", "token"),
    "occlusion_word": ("mask", "word"),
    "occlusion_segment": ("mask", "segment"),
}


@pytest.mark.parametrize("few", [1, 3, 16])
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("architecture", tiny.ALL)
def test_it_equals_independent_passes(
    architecture: str, name: str, few: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    kind, unit = NAMES[name]
    # Families with a window build two masks, so one written out cannot stand for both: there the
    # window is wider than the text, and the kinds without a mask are tried with a narrow one.
    narrow = architecture in WINDOWED and kind != "mask"
    options = {"sliding_window": 4 if narrow else 64} if architecture in WINDOWED else {}
    model = tiny.model(architecture, **options)
    monkeypatch.setattr(occlusion, "_ON_CPU", (few, 256))
    ours = table(name, reading(model, groups=GROUPS.__getitem__, replacements=REPLACEMENTS))
    groups = GROUPS.get(unit, [[n] for n in range(PROMPT)])
    np.testing.assert_allclose(ours, expected(model, kind, groups), atol=1e-5)
    assert np.abs(ours).max() > 0.01


@pytest.mark.parametrize("architecture", WINDOWED)
def test_the_window_itself_survives_a_prefix(
    architecture: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = tiny.model(architecture, sliding_window=4)
    ours = table("occlusion", model)
    intact = read_intact(reading(model)).logprobs
    for n in range(PROMPT):
        hidden = torch.arange(len(IDS))[None] == n
        with torch.no_grad(), observed(model, Conditions(hidden=hidden)):
            scores = model(torch.tensor([IDS]), use_cache=False).logits[:, PROMPT - 1 : -1]
        answer = of_answer(scores.log_softmax(dim=-1))[0]
        np.testing.assert_allclose(ours[n], (intact - answer).numpy(), atol=1e-5)
    wide = table("occlusion", tiny.model(architecture, sliding_window=64))
    assert np.abs(wide - ours).max() > 1e-3
    # With a window of 4 in every layer of Mistral, 3 layers see back 9 positions at most.
    if architecture == "mistral":
        assert np.allclose(ours[0, 3], 0, atol=1e-6)
        assert abs(wide[0, 3]) > 1e-5


def test_only_positions_from_the_token_on_are_computed(monkeypatch: pytest.MonkeyPatch) -> None:
    model = tiny.model("llama")
    monkeypatch.setattr(occlusion, "_ON_CPU", (2, 256))
    shapes: list[tuple[int, int]] = []
    model.model.layers[0].register_forward_pre_hook(
        lambda _, arguments: shapes.append(tuple(arguments[0].shape[:2]))
    )
    table("occlusion", model)
    read = len(IDS) - 1
    last = PROMPT - 1
    rows = [2 * (read - n) - 3 for n in range(0, last - 1, 2)]
    # The last prompt token is read although it is hidden: it predicts the first answer token.
    # The text itself is read with the first of them.
    rows = [read + rows[0], *rows[1:], 2 * (read - last)]
    assert shapes == [(1, length) for length in rows]


def test_rows_come_in_the_order_of_the_estimate(monkeypatch: pytest.MonkeyPatch) -> None:
    model = tiny.model("llama")
    monkeypatch.setattr(occlusion, "_ON_CPU", (2, 256))
    order = np.array([0, 0.1, 0, 0, -9, 0, 0, 2.0])
    wanted = np.ones((PROMPT, ANSWER), dtype=bool)
    pieces = occlusion.occlusion_rows(reading(model, order=order), lambda: wanted)
    assert [rows for rows, _, _ in pieces] == [[4, 5], [6, 7], [0, 1], [2, 3]]
    np.testing.assert_allclose(
        table("occlusion", reading(model, order=order)), table("occlusion", model), atol=1e-6
    )


def test_the_first_passes_are_small_where_somebody_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(occlusion, "_ON_CPU", (3, 256))
    monkeypatch.setattr(occlusion, "_AT_FIRST", (1, 2))
    order = np.array([0, 0.1, 0, 0, -9, 0, 0, 2.0])
    waiting = reading(tiny.model("llama"), order=order)
    groups = [[n] for n in range(PROMPT)]
    batches = list(occlusion._batches(waiting, groups, "mask"))
    assert batches == [[[4]], [[7]], [[0], [1], [2]], [[3], [5], [6]]]


def test_finished_rows_are_not_computed_again() -> None:
    model = tiny.model("llama")
    values = table("occlusion", model)
    whole = values.copy()
    values[3] = np.nan
    batches: list[int] = []
    model.model.layers[0].register_forward_pre_hook(
        lambda _, arguments: batches.append(arguments[0].shape[1])
    )
    table("occlusion", model, values=values)
    read = len(IDS) - 1
    assert batches == [read + read - 4], "the intact text, and behind token 3 alone"
    np.testing.assert_allclose(values, whole, atol=1e-5)


@pytest.mark.parametrize(("prompt", "length"), [(1, 2), (1, 6), (5, 6)])
@pytest.mark.parametrize("name", ["occlusion", "occlusion_zero", "occlusion_replace"])
def test_one_prompt_token_or_one_answer_token(name: str, prompt: int, length: int) -> None:
    model = tiny.model("llama")
    whole = Reading(model, IDS[:length], prompt)
    ours = table(name, whole)
    assert ours.shape == (prompt, length - prompt)
    if name == "occlusion_zero":
        embedded = embed(model, IDS[:length])
        before = of_answer(
            answer_logits(model, embedded, prompt).log_softmax(dim=-1), whole.ids, prompt
        )
        embedded[0, prompt - 1] = 0
        after = of_answer(
            answer_logits(model, embedded, prompt).log_softmax(dim=-1), whole.ids, prompt
        )
        np.testing.assert_allclose(ours[-1], (before - after)[0].detach().numpy(), atol=1e-5)


def test_removing_the_only_token_is_an_error() -> None:
    with pytest.raises(PromptError, match="removing the whole prompt"):
        table("occlusion_remove", Reading(tiny.model("llama"), IDS[:4], 1))


def test_numbers_that_are_not_finite_are_named() -> None:
    model = tiny.model("llama")
    model.model.layers[1].register_forward_hook(
        lambda _, __, output: output if output.shape[1] == len(IDS) - 1 else output * torch.inf
    )
    with pytest.raises(NotFiniteError, match="Occlusion of the base model is NaN or infinite"):
        table("occlusion", model)


def test_models_whose_attention_cannot_be_reached(monkeypatch: pytest.MonkeyPatch) -> None:
    model = tiny.model("llama")
    by_hiding = ("occlusion", "occlusion_zero", "occlusion_remove", "occlusion_replace")
    names = (*by_hiding, "gradient_x_input", "attention_knockout", "attention_rollout")
    usual = {name: table(name, reading(model, replacements=REPLACEMENTS)) for name in names}
    for module in (occlusion, gradients, estimates):
        monkeypatch.setattr(module, "hookable", lambda _: False)
    for name, value in usual.items():
        again = table(name, reading(model, replacements=REPLACEMENTS))
        np.testing.assert_allclose(again, value, atol=1e-5, err_msg=name)


def test_replacements_are_the_same_every_time() -> None:
    model = tiny.model("llama")
    first, second = table("occlusion_replace", model), table("occlusion_replace", model)
    np.testing.assert_array_equal(first, second)


def test_deletion_curve_hides_more_and_more() -> None:
    model = tiny.model("llama")
    importance = np.array([0.1, 5, 0, 3, -1, 2, 0.5, 0.2])
    share, most, least = deletion_curve(reading(model), importance, steps=4)
    np.testing.assert_allclose(share, [0, 0.25, 0.5, 0.75, 1])
    intact = masked(model, [])
    np.testing.assert_allclose(most[1], (intact - masked(model, [1, 3])).sum(), atol=1e-4)
    np.testing.assert_allclose(least[2], (intact - masked(model, [4, 2, 0, 7])).sum(), atol=1e-4)
    assert most[0] == least[0] == 0
    np.testing.assert_allclose(most[-1], least[-1], atol=1e-4)
