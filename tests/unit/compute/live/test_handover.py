"""Layers of one model above those of the other, against models put together from both."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from scipy.stats import entropy
from transformers import PreTrainedModel
from twinlens.compute.live.handover import continued
from twinlens.compute.live.live import LiveTrace
from twinlens.compute.pair import Pair
from twinlens.compute.passes.capture import capture
from twinlens.contract import blocks
from twinlens.contract.words import SIDES, Side

from tests.support.saliency import IDS, PROMPT, reading


@pytest.mark.parametrize("lower", SIDES)
def test_handing_over_is_a_model_made_of_both(pair: Pair, trace: LiveTrace, lower: Side) -> None:
    upper = SIDES[1 - SIDES.index(lower)]
    found = trace.array(blocks.handover(lower))
    m = trace.manifest
    answer = [token.id for token in m.answers["tuned"].tokens]
    ids = torch.tensor([[*(token.id for token in m.prompt_tokens), *answer]])
    with pair.model(lower) as below, pair.model(upper) as above:
        parts, made = copy.deepcopy(below), copy.deepcopy(above)

    def predicted(model: torch.nn.Module) -> np.ndarray:
        with torch.no_grad():
            return model(ids).logits[0, m.prompt_length - 1 : -1].double().softmax(-1).numpy()

    with pair.model("tuned") as model:
        tuned = predicted(model)
    for layer in range(len(made.model.layers) + 1):
        if layer:
            made.set_input_embeddings(parts.get_input_embeddings())
            made.model.layers[layer - 1] = parts.model.layers[layer - 1]
        rows = predicted(made)
        logprobs = np.log(rows[range(len(answer)), answer])
        np.testing.assert_allclose(found[layer, :, 0], logprobs, atol=1e-4)
        np.testing.assert_allclose(
            found[layer, :, 1], [entropy(*pq) for pq in zip(tuned, rows, strict=True)], atol=1e-4
        )
    own = trace.array(blocks.logprob(upper))
    np.testing.assert_allclose(found[0, :, 0], own, atol=1e-6)
    read_by_upper = trace.array(blocks.lens_table(lower, upper))[-1, :, 0]
    np.testing.assert_allclose(found[-1, :, 0], read_by_upper, atol=1e-4)
    assert np.abs(np.diff(found[..., 0].sum(axis=1))).min() > 1e-3


def test_a_model_goes_on_from_its_own_stream(model: PreTrainedModel) -> None:
    captured = capture(model, IDS, PROMPT, side="tuned")
    for layer in range(len(captured.residual)):
        again = continued(reading(model), captured.residual[layer, :-1], layer, captured.returned)
        np.testing.assert_allclose(again, captured.logprobs, atol=1e-4)
