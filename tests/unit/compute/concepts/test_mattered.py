"""Units taken off where a token is read: against hooks on whole texts."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor
from transformers import PreTrainedModel
from twinlens.compute.concepts.mattered import LayerUnits, integrated_gradient, without
from twinlens.compute.concepts.units import Concepts
from twinlens.compute.live.live import LiveTrace
from twinlens.compute.models import architectures
from twinlens.compute.pair import Pair
from twinlens.compute.passes.capture import capture
from twinlens.compute.passes.subject import Ending, ending
from twinlens.contract.words import SIDES

from tests.support import tiny
from tests.support.saliency import IDS, PROMPT, answer_logits, embed, of_answer, reading

LAYER = 1


def loss(model: PreTrainedModel, position: int, part: Tensor, columns: list[int]) -> float:
    """What the target loses with a part taken off the block's output at one position."""

    def hook(_: object, __: object, output: Tensor) -> Tensor:
        new = output.clone()
        new[:, position] -= part
        return new

    def target() -> float:
        with torch.no_grad():
            logprobs = answer_logits(model, embed(model)).double().log_softmax(dim=-1)
        return float(of_answer(logprobs)[0, columns].sum())

    whole = target()
    handle = architectures.feed_forward_out(model, LAYER).register_forward_hook(hook)
    try:
        return whole - target()
    finally:
        handle.remove()


@pytest.mark.parametrize(
    ("position", "columns"), [(3, list(range(len(IDS) - PROMPT))), (PROMPT + 1, [2])]
)
@pytest.mark.parametrize("family", ["llama", "gpt2", "gemma2"])
def test_a_part_off_the_block_is_what_a_hook_takes_off(
    family: str, position: int, columns: list[int]
) -> None:
    model = tiny.model(family)
    captured = capture(model, IDS, PROMPT, side="base")
    vectors = architectures.value_vectors(model, LAYER).detach()
    activations = captured.neurons[LAYER][position]
    parts = torch.stack([activations[j] * vectors[j] for j in (0, 7)])
    written = captured.feed_forward_out[LAYER, position]
    parts = torch.cat([parts * 20, written[None]])
    read = reading(model)
    for start in (ending(read, position), Ending(0, {})):
        block = LayerUnits(read, captured, LAYER, position, columns, start)
        expected = [loss(model, position, part, columns) for part in parts]
        np.testing.assert_allclose(without(block, parts), expected, atol=5e-5)
        assert abs(expected[-1]) > 1e-3
        slope = integrated_gradient(block)
        # Of the whole block it adds up; through a norm behind it, it is of first order.
        place, rel = (1, 0.5) if family == "gemma2" else (2, 0.05)
        assert float(slope @ parts[place]) == pytest.approx(expected[place], rel=rel, abs=1e-4)


def test_units_of_both_models_are_measured_largest_first(trace: LiveTrace, pair: Pair) -> None:
    n = trace.manifest.prompt_length
    token = n + 2
    rows = trace.unit_effects(LAYER, token).value
    sizes = [max(abs(row[side]) for side in SIDES) for row in rows]
    assert sizes == sorted(sizes, reverse=True)
    assert len({row["unit"] for row in rows}) == len(rows)
    ids = [t.id for t in (*trace.manifest.prompt_tokens, *trace.manifest.answers["tuned"].tokens)]
    concepts = Concepts(pair)
    for side in SIDES:
        directions = torch.from_numpy(np.array(concepts.directions(side, LAYER))).float()
        for kind in ("neuron", "component"):
            row = next(row for row in rows if row["unit"].startswith(kind))
            number = int(row["unit"].partition(":")[2])
            with pair.model(side) as model:
                out = architectures.feed_forward_out(model, LAYER)
                effect = without_by_hook(model, out, ids, n, kind, number, directions)
            assert row[side] == pytest.approx(effect, abs=1e-4, rel=1e-3), (side, row)
    estimates = {row["unit"]: row for row in trace.unit_effects(LAYER, token, exact=False).value}
    pairs = np.array([[estimates[row["unit"]][s], row[s]] for row in rows for s in SIDES])
    assert np.corrcoef(pairs.T)[0, 1] > 0.9
    assert trace.unit_effects(LAYER, 3).to_frame()["tuned"].abs().max() > 0


def without_by_hook(
    model: PreTrainedModel,
    out: torch.nn.Linear,
    ids: list[int],
    n: int,
    kind: str,
    number: int,
    directions: Tensor,
) -> float:
    at = n + 1  # where the third answer token is predicted

    def hook(module: torch.nn.Linear, given: tuple[Tensor], output: Tensor) -> Tensor:
        new = output.clone()
        if kind == "neuron":
            new[0, at] -= given[0][0, at, number] * module.weight[:, number]
        else:
            new[0, at] -= (output[0, at] @ directions[number]) * directions[number]
        return new

    def target() -> float:
        with torch.no_grad():
            logits = model(torch.tensor([ids]), use_cache=False).logits[0, at]
        return float(logits.double().log_softmax(dim=-1)[ids[at + 1]])

    whole = target()
    handle = out.register_forward_hook(hook)
    try:
        return whole - target()
    finally:
        handle.remove()


def test_what_comes_behind_the_last_layer_has_no_effect(trace: LiveTrace) -> None:
    last = trace.manifest.pair.layers - 1
    rows = trace.unit_effects(last, 3).value
    assert max(abs(row[side]) for row in rows for side in SIDES) < 1e-5
