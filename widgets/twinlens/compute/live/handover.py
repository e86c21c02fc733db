"""Handing the residual stream over: lower layers of one model, the layers above of the other."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from transformers import PreTrainedModel

from twinlens.compute.live.lens import divergence
from twinlens.compute.models.layer_forms import check_layers_alone
from twinlens.compute.passes.onward import onward
from twinlens.compute.passes.reading import Reading, precise
from twinlens.compute.passes.subject import Subject
from twinlens.contract.wire import Array
from twinlens.contract.words import SIDES, Side
from twinlens.support.progress import Report, told


def handed_over(subject: Subject, lower: Side, report: Report | None = None) -> Array:
    """Answer under the lower layers of one model and the upper ones of the other.

    Parameters
    ----------
    lower : Side
        Whose the lower layers are.

    Returns
    -------
    float32 array, shape [layers + 1, M, 2]
        With the first l layers and, from l = 1 on, the embedding of `lower`: log-probability of
        each answer token, and KL(tuned || this), nats. At l = 0 it is the other model itself, at
        the last l what that model's final norm and unembedding make of `lower`'s residual stream.

    Raises
    ------
    UnsupportedArchitectureError
        If layers read more than the residual stream.
    """
    upper = SIDES[1 - SIDES.index(lower)]
    residual, own = subject.captures[lower].residual, subject.captures[upper].logprobs
    check_layers_alone(
        subject.models.configs[upper], "layers of one model cannot go on above those of the other"
    )
    depth = len(residual)
    tuned = subject.captures["tuned"].logprobs
    target = torch.tensor(subject.answer_ids(upper))[:, None]
    rows = []
    for layer in told(
        range(depth), f"upper layers of {upper} above lower layers of {lower}", report
    ):
        if layer == 0:
            logprobs = own
        else:
            # The other model gets through between two passes.
            with subject.models.model(upper) as model:
                reading = subject.reading(upper, model)
                returned = subject.captures[upper].returned
                logprobs = continued(reading, residual[layer, :-1], layer, returned)
        common = min(tuned.shape[1], logprobs.shape[1])
        ours, theirs = (
            row[:, :common].double().log_softmax(dim=-1) for row in (tuned, logprobs.cpu())
        )
        of_answer = logprobs.cpu().gather(1, target)[:, 0].double()
        rows.append(torch.stack([of_answer, divergence(ours, theirs)], dim=-1))
    return np.asarray(torch.stack(rows).float())


def continued(reading: Reading, residual: Tensor, layer: int, returned: int) -> Tensor:
    """Log-probabilities [M, vocabulary] of a model that goes on from another residual stream.

    Parameters
    ----------
    residual : tensor [T - 1, hidden]
        In front of the layer; behind the last layer where `layer` is their number.
    returned : int
        See `Capture.returned`.
    """
    model: PreTrainedModel = reading.model
    with torch.no_grad(), reading.at_its_length(), onward(model, layer, residual, returned):
        output = model(reading.read, use_cache=False, logits_to_keep=reading.positions)
    return precise(output.logits)[0].log_softmax(dim=-1)
