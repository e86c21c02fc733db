"""How likely tokens are where they are predicted, without all logits in memory at once."""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from twinlens.compute.models import architectures
from twinlens.compute.models.dense import is_plain

#: Logits that are held, and log-probabilities that are worked out at once. Fewer of these on a
#: processor: they stay in its cache.
_LOGITS_AT_ONCE = 2**23
_LOGPROBS_AT_ONCE, _LOGPROBS_ELSEWHERE = 2**18, 2**26
#: Places and tokens of which a processor multiplies at once: their logits, too, stay in its cache.
_PLACES, _TOKENS = 512, 1024
#: Numbers after which a row of logits begins: products write aligned rows faster.
_ROUND = 16


def logprobs(model: PreTrainedModel, states: Tensor, targets: Tensor) -> Tensor:
    """Log-probability of a token at each of some places, [places].

    Parameters
    ----------
    states : tensor [places, hidden]
        What is unembedded there, after the final norm; no gradients go through.
    targets : tensor [places]
    """
    weight = _plain_weight(model, states)
    size = _PLACES if weight is not None else _LOGITS_AT_ONCE // int(model.config.vocab_size)
    count = max(1, -(-len(states) // max(1, size)))
    # As many each: all weights are fetched for the last few, too.
    pairs = zip(states.tensor_split(count), targets.tensor_split(count), strict=True)
    with torch.no_grad():
        if weight is not None:
            return torch.cat([_by_tokens(model, weight, *pair) for pair in pairs])
        return torch.cat(
            [logprobs_of(architectures.scores(model, some), tokens) for some, tokens in pairs]
        )


def _by_tokens(model: PreTrainedModel, weight: Tensor, states: Tensor, targets: Tensor) -> Tensor:
    """`logprobs`, by logits of a part of the vocabulary after the other."""
    room = weight.new_empty(len(states), min(_TOKENS, len(weight)))
    dtype = torch.promote_types(weight.dtype, torch.float32)
    chosen = torch.empty(len(states), dtype=torch.float64)
    totals: list[Tensor] = []
    for first in range(0, len(weight), _TOKENS):
        part = weight[first : first + _TOKENS]
        logits = torch.mm(states, part.t(), out=room[:, : len(part)])
        logits = architectures.scaled(model.config, logits)
        place = targets - first
        inside = (place >= 0) & (place < len(part))
        # The logarithm of the sum is what a token's logit exceeds its log-probability by; by that
        # of the target, where it is one of these, next to nothing is rounded away.
        token = place.clamp(0, len(part) - 1)[:, None]
        logit = logits.gather(-1, token)[:, 0].double()
        totals.append(logit - logits.log_softmax(dim=-1, dtype=dtype).gather(-1, token)[:, 0])
        chosen = torch.where(inside, logit, chosen)
    return (chosen - torch.stack(totals).logsumexp(dim=0)).to(dtype)


def _plain_weight(model: PreTrainedModel, states: Tensor) -> Tensor | None:
    """Weight [vocabulary, hidden] of an unembedding that is a product and no more, on a processor.

    None if it is more than that.
    """
    head = cast(Any, architectures.output_embeddings(model))
    plain = type(head) is nn.Linear and is_plain(head) and head.bias is None
    if not plain or hasattr(head, "_hf_hook") or head._forward_hooks or head._forward_pre_hooks:
        return None
    weight = cast(Tensor, head.weight)
    return weight if weight.device.type == "cpu" and weight.dtype == states.dtype else None


def logprobs_of(logits: Tensor, targets: Tensor) -> Tensor:
    """Log-probability of a token by each row of logits [places, vocabulary], at least float32."""
    most = _LOGPROBS_AT_ONCE if logits.device.type == "cpu" else _LOGPROBS_ELSEWHERE
    size = max(1, most // logits.shape[-1])
    dtype = torch.promote_types(logits.dtype, torch.float32)
    pairs = zip(torch.split(logits, size), torch.split(targets[:, None], size), strict=True)
    return torch.cat(
        [some.log_softmax(dim=-1, dtype=dtype).gather(-1, tokens) for some, tokens in pairs]
    )[:, 0]


class Unembedding:
    """What gives logits; where it is a plain one of a processor, again and again in one place.

    Parameters
    ----------
    rows : int
        Most places at once.
    """

    def __init__(self, model: PreTrainedModel, rows: int) -> None:
        self._model, self._rows = model, rows
        self._logits: Tensor | None = None

    def scores(self, states: Tensor) -> Tensor:
        """Logits [places, vocabulary] of states behind the final norm, until the next are asked."""
        weight = _plain_weight(self._model, states)
        if weight is None:
            return architectures.scores(self._model, states)
        if self._logits is None:
            count = len(weight)
            self._logits = weight.new_empty(self._rows, count + -count % _ROUND)[:, :count]
        logits = torch.mm(states, weight.t(), out=self._logits[: len(states)])
        return architectures.scaled(self._model.config, logits)
