"""Logit lens: what each layer's residual stream would already answer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel

from twinlens.compute.models import architectures

TOP = 5


def logit_lens(model: PreTrainedModel, residual: Tensor) -> Tensor:
    """Log-probabilities of the next token after each layer, in nats.

    Parameters
    ----------
    residual : float32 tensor, shape [layers + 1, hidden]
        The residual stream at one position, or that of one layer at some, before the final norm,
        which is applied here.

    Returns
    -------
    float32 tensor, shape [layers + 1, vocabulary]
        The last row is the model's own prediction.
    """
    with torch.no_grad():
        scores = architectures.logits(model, residual.to(model.device, model.dtype))
        return scores.float().log_softmax(dim=-1).cpu()


def lens_table(model: PreTrainedModel, residual: Tensor, targets: Sequence[int]) -> Tensor:
    """Log-probability and rank of some tokens after each layer.

    Parameters
    ----------
    model : PreTrainedModel
        Whose final norm and unembedding read the stream.
    residual : float32 tensor, shape [layers + 1, M, hidden]
        The residual stream where each token is predicted.
    targets : sequence of int
        M tokens.

    Returns
    -------
    float32 tensor, shape [layers + 1, M, 2]
        Nats, and a rank from 1.
    """
    index = torch.tensor(list(targets))[:, None]
    table = []
    for of_layer in residual:  # one at a time: a vocabulary is wide
        logprobs = logit_lens(model, of_layer)
        of_targets = logprobs.gather(1, index)
        ranks = (logprobs > of_targets).sum(dim=-1, keepdim=True) + 1
        table.append(torch.cat([of_targets, ranks.to(of_targets)], dim=-1))
    return torch.stack(table)


def lens_block(logprobs: Tensor, target: int, show: Callable[[int], str]) -> dict[str, Any]:
    """A ``lens`` block, see `twinlens.contract.blocks`."""
    of_target = logprobs[:, target]
    top = logprobs.topk(TOP)
    ranks = (logprobs > of_target[:, None]).sum(dim=-1) + 1
    return {
        "target": show(target),
        "layers": [
            {
                "logprob": logprob,
                "rank": rank,
                "top": [[show(i), p] for i, p in zip(*pair, strict=True)],
            }
            for logprob, rank, *pair in zip(
                of_target.tolist(),
                ranks.tolist(),
                top.indices.tolist(),
                top.values.exp().tolist(),
                strict=True,
            )
        ],
    }


def likeliest(
    logprobs: Tensor, show: Callable[[int], str], besides: int | None = None
) -> list[list[Any]]:
    """The five likeliest tokens with their probabilities, leaving one out if asked."""
    top = logprobs.topk(TOP + (besides is not None))
    pairs = zip(top.indices.tolist(), top.values.exp().tolist(), strict=True)
    return [[show(i), p] for i, p in pairs if i != besides][:TOP]
