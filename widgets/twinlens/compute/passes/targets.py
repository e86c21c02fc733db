"""What of an answer is explained: a score of each of its tokens."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import torch
from torch import Tensor

from twinlens.compute.passes.reading import Reading

#: Scores of some answer tokens, shape [m], from their logits [m, vocabulary].
Target: TypeAlias = Callable[[Tensor, Reading, list[int]], Tensor]


def probability(logits: Tensor, reading: Reading, columns: list[int]) -> Tensor:
    """Softmax probability of the answer token: the paper's target."""
    return _pick(logits.softmax(dim=-1), reading.targets[columns])


def log_probability(logits: Tensor, reading: Reading, columns: list[int]) -> Tensor:
    """Logarithm of the answer token's probability, in nats."""
    return _pick(logits.log_softmax(dim=-1), reading.targets[columns])


def logit(logits: Tensor, reading: Reading, columns: list[int]) -> Tensor:
    """Logit of the answer token."""
    return _pick(logits, reading.targets[columns])


def contrast(logits: Tensor, reading: Reading, columns: list[int]) -> Tensor:
    """Logit of the answer token less that of its rival, or of the model's own runner-up."""
    targets = reading.targets[columns]
    rivals = logits.detach().scatter(-1, targets[:, None], -torch.inf).argmax(dim=-1)
    if reading.rivals is not None:
        given_rivals = targets.new_tensor(list(reading.rivals))[columns]
        rivals = torch.where(given_rivals == targets, rivals, given_rivals)
    return _pick(logits, targets) - _pick(logits, rivals)


def _pick(scores: Tensor, tokens: Tensor) -> Tensor:
    return scores.gather(-1, tokens[:, None])[:, 0]
