"""What is left of the difference: predictions beside those of the other model."""

from __future__ import annotations

import torch
from torch import Tensor

from twinlens.contract.wire import Array

#: Numbers that are worked on at once on a processor: they stay in its cache, which is four times
#: as fast for a large vocabulary.
_AT_ONCE = 2**16


def divergence(logprobs: Tensor, donor: Tensor) -> Tensor:
    """KL(predicted || donor's) of each answer token, nats, shape [B, M]."""
    return (logprobs.exp() * (logprobs - donor)).sum(dim=-1)


@torch.no_grad()
def compared(logits: Tensor, targets: Tensor, donor: Tensor) -> tuple[Array, Array]:
    """Log-probability of the answer and KL(predicted || donor's), nats, float64 [B, M] each.

    Parameters
    ----------
    logits : tensor [B, M, vocabulary]
    targets : int tensor [M]
        The answer tokens.
    donor : float64 tensor [M, vocabulary]
        Log-probabilities of the other model.
    """
    batch, answer, vocabulary = logits.shape
    size = max(1, _AT_ONCE // vocabulary) if logits.device.type == "cpu" else batch
    of_answer = logits.new_empty(batch, answer, dtype=torch.float64)
    apart = torch.empty_like(of_answer)
    for token in range(answer):
        for first in range(0, batch, size):
            some = slice(first, first + size)
            logprobs = logits[some, token].double().log_softmax(dim=-1)
            of_answer[some, token] = logprobs[:, targets[token]]
            apart[some, token] = divergence(logprobs, donor[token])
    return of_answer.cpu().numpy(), apart.cpu().numpy()
