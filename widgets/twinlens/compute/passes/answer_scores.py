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
    size = max(1, _LOGITS_AT_ONCE // int(model.config.vocab_size))
    unembedding = Unembedding(model, min(size, len(states)))
    pairs = zip(torch.split(states, size), torch.split(targets, size), strict=True)
    with torch.no_grad():
        return torch.cat([logprobs_of(unembedding.scores(some), tokens) for some, tokens in pairs])


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
        self._model = model
        self._logits: Tensor | None = None
        head = cast(Any, architectures.output_embeddings(model))
        plain = type(head) is nn.Linear and is_plain(head) and head.bias is None
        if plain and head.weight.device.type == "cpu" and not hasattr(head, "_hf_hook"):
            count = int(head.out_features)
            self._logits = head.weight.new_empty(rows, count + -count % _ROUND)[:, :count]

    def scores(self, states: Tensor) -> Tensor:
        """Logits [places, vocabulary] of states behind the final norm, until the next are asked."""
        head = architectures.output_embeddings(self._model)
        if self._logits is None or head._forward_hooks or states.dtype != self._logits.dtype:
            return architectures.scores(self._model, states)
        weight = cast(Tensor, head.weight)
        logits = torch.mm(states, weight.t(), out=self._logits[: len(states)])
        return architectures.scaled(self._model.config, logits)
