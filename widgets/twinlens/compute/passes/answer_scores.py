"""How likely tokens are where they are predicted, without all logits in memory at once."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from twinlens.compute.models import architectures
from twinlens.compute.models.dense import is_plain
from twinlens.compute.passes.linear_maps import mapped

#: Logits that are held, and log-probabilities that are worked out at once. Fewer of these on a
#: processor: they stay in its cache.
_LOGITS_AT_ONCE = 2**23
_LOGPROBS_AT_ONCE, _LOGPROBS_ELSEWHERE = 2**18, 2**26
#: Places and tokens of which a processor multiplies at once: their logits, too, stay in its cache.
_PLACES, _TOKENS = 512, 1024
#: Logits of few places that are worked out at once; more by 16-bit weights, of which each product
#: costs something by itself.
_OF_FEW, _OF_FEW_HALVES = 2**16, 2**18
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
    count = max(1, -(-len(states) // places_at_once(model, states)))
    # As many each: all weights are fetched for the last few, too.
    pairs = zip(states.tensor_split(count), targets.tensor_split(count), strict=True)
    with torch.no_grad():
        if _plain_weight(model, states) is not None:
            return torch.cat([_by_tokens(LogitsByTokens(model, *pair)) for pair in pairs])
        return torch.cat(
            [logprobs_of(architectures.scores(model, some), tokens) for some, tokens in pairs]
        )


def places_at_once(model: PreTrainedModel, states: Tensor) -> int:
    """Places of which logits are worked out at once."""
    if _plain_weight(model, states) is not None:
        return _PLACES
    return max(1, _LOGITS_AT_ONCE // int(model.config.get_text_config().vocab_size))


@dataclass(frozen=True)
class LogitsOfTokens:
    """Logits of a part of the vocabulary.

    Attributes
    ----------
    logits : tensor [places, tokens]
        May be written over.
    first : int
        First token of the part.
    inside : bool tensor [places]
        Whether the target of a place is one of these tokens.
    column : tensor [places, 1]
        Where it is then, or else any place.
    """

    logits: Tensor
    first: int
    inside: Tensor
    column: Tensor

    def log_total(self) -> Tensor:
        """Logarithm of the sum of the exponentials, float64 [places], on the processor."""
        # It is what a token's logit exceeds its log-probability by; by that of the target, where
        # it is one of these, next to nothing is rounded away.
        dtype = torch.promote_types(self.logits.dtype, torch.float32)
        logprobs = self.logits.log_softmax(dim=-1, dtype=dtype)
        logit, logprob = (of.gather(-1, self.column)[:, 0].cpu() for of in (self.logits, logprobs))
        return logit.double() - logprob


class LogitsByTokens:
    """Logits of a part of the vocabulary after the other: those of a part stay in the cache.

    To be gone through once. Of an unembedding that is more than a product, or not on a processor,
    there is one part.

    Parameters
    ----------
    states : tensor [places, hidden]
        What is unembedded, after the final norm; at most `places_at_once`.
    targets : tensor [places]
        A token at each place.
    """

    def __init__(self, model: PreTrainedModel, states: Tensor, targets: Tensor) -> None:
        self._config, self._states, self._targets = model.config, states, targets
        self._weight = _plain_weight(model, states)
        self._whole = None if self._weight is not None else architectures.scores(model, states)

    def of_targets(self) -> Tensor:
        """Logit of the target at each place, [places, 1]."""
        if self._weight is None:
            whole = cast(Tensor, self._whole)
            return whole.gather(-1, self._targets[:, None].to(whole.device))
        tokens, column = torch.unique(self._targets, return_inverse=True)
        logits = architectures.scaled(self._config, self._states @ self._weight[tokens].t())
        return logits.gather(-1, column[:, None])

    def __iter__(self) -> Iterator[LogitsOfTokens]:
        """Parts, each until the next is asked for."""
        weight, states = self._weight, self._states
        if weight is None:
            yield self._part(cast(Tensor, self._whole), 0)
            return
        few = _OF_FEW_HALVES if weight.element_size() < 4 else _OF_FEW
        width = max(_TOKENS, few // max(1, len(states)) // _ROUND * _ROUND)
        room = weight.new_empty(len(states), min(width, len(weight)))
        for first in range(0, len(weight), width):
            part = weight[first : first + width]
            logits = torch.mm(states, part.t(), out=room[:, : len(part)])
            yield self._part(architectures.scaled(self._config, logits), first)

    def _part(self, logits: Tensor, first: int) -> LogitsOfTokens:
        column = self._targets.to(logits.device) - first
        inside = (column >= 0) & (column < logits.shape[-1])
        return LogitsOfTokens(logits, first, inside, column.clamp(0, logits.shape[-1] - 1)[:, None])


def _by_tokens(parts: LogitsByTokens) -> Tensor:
    """`logprobs`, by logits of a part of the vocabulary after the other."""
    chosen, totals = torch.tensor(0.0, dtype=torch.float64), []
    for part in parts:
        logit = part.logits.gather(-1, part.column)[:, 0]
        chosen = torch.where(part.inside, logit.double(), chosen)
        totals.append(part.log_total())
    dtype = torch.promote_types(logit.dtype, torch.float32)
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
        logits = mapped(states, weight, self._logits[: len(states)])
        return architectures.scaled(self._model.config, logits)
