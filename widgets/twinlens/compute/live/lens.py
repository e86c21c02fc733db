"""Logit lens: what each layer's residual stream would already answer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from twinlens.compute.models import architectures

if TYPE_CHECKING:
    from collections.abc import Callable

    from transformers import PreTrainedModel

TOP = 5


def logit_lens(model: PreTrainedModel, residual: Tensor) -> Tensor:
    """Log-probabilities of the next token after each layer, in nats.

    Parameters
    ----------
    residual : float32 tensor, shape [layers + 1, hidden]
        The residual stream at one position, before the final norm, which is applied here.

    Returns
    -------
    float32 tensor, shape [layers + 1, vocabulary]
        The last row is the model's own prediction.
    """
    with torch.no_grad():
        scores = architectures.logits(model, residual.to(model.device, model.dtype))
        return scores.float().log_softmax(dim=-1).cpu()


def lens_block(logprobs: Tensor, target: int, show: Callable[[int], str]) -> dict[str, Any]:
    """A ``lens`` block, see `twinlens.contract.blocks`."""
    of_target = logprobs[:, target]
    ranks = (logprobs > of_target[:, None]).sum(dim=-1) + 1
    return {
        "target": show(target),
        "layers": [
            {"logprob": float(of_target[i]), "rank": int(ranks[i]), "top": likeliest(row, show)}
            for i, row in enumerate(logprobs)
        ],
    }


def likeliest(
    logprobs: Tensor, show: Callable[[int], str], besides: int | None = None
) -> list[list[Any]]:
    """The five likeliest tokens with their probabilities, leaving one out if asked."""
    top = logprobs.topk(TOP + (besides is not None))
    pairs = zip(top.indices.tolist(), top.values.exp().tolist(), strict=True)
    return [[show(i), p] for i, p in pairs if i != besides][:TOP]
