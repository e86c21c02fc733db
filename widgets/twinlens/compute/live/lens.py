"""What each model predicts, token by token, and what each layer would already answer (lens)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor
from transformers import PreTrainedModel

from twinlens.compute.models import architectures
from twinlens.compute.passes.answer_scores import LogitsByTokens, places_at_once
from twinlens.compute.passes.capture import Capture
from twinlens.compute.passes.subject import Subject
from twinlens.compute.text.cutting import pieces
from twinlens.contract.forms import AnswerStep, Prediction, Word
from twinlens.contract.words import SHIFT_CLASSES, SIDES, Side

TOP = 5


@dataclass(frozen=True)
class LensReading:
    """What the residual stream after each layer predicts at M places, D = layers + 1.

    Attributes
    ----------
    targets : list of int
        A token at each place.
    logprobs, ranks : tensors [D, M]
        Of it: nats, and a rank from 1, as float32.
    top, probabilities : tensors [D, M, 5]
        The likeliest tokens.
    """

    targets: list[int]
    logprobs: Tensor
    ranks: Tensor
    top: Tensor
    probabilities: Tensor

    def table(self) -> Tensor:
        """A ``lens_table`` block, float32 [D, M, 2], see `twinlens.contract.blocks`."""
        return torch.stack([self.logprobs, self.ranks], dim=-1)

    def block(self, place: int, show: Callable[[int], str]) -> dict[str, Any]:
        """A ``lens`` block of one place."""
        layers = (self.logprobs, self.ranks.int(), self.top, self.probabilities)
        return {
            "target": show(self.targets[place]),
            "layers": [
                {
                    "logprob": logprob,
                    "rank": rank,
                    "top": [[show(i), p] for i, p in zip(*pair, strict=True)],
                }
                for logprob, rank, *pair in zip(
                    *(of[:, place].tolist() for of in layers), strict=True
                )
            ],
        }


def logit_lens(model: PreTrainedModel, residual: Tensor, targets: Sequence[int]) -> LensReading:
    """What the next token is after each layer, and how likely some tokens are.

    Parameters
    ----------
    model : PreTrainedModel
        Whose final norm and unembedding read the stream.
    residual : float32 tensor, shape [layers + 1, M, hidden]
        The residual stream at M places; the final norm is not applied. The last layer's gives
        the model's own prediction.
    targets : sequence of int
        M tokens.
    """
    tokens = torch.tensor(list(targets), dtype=torch.int64)
    parts: list[tuple[Tensor, ...]] = []
    with torch.no_grad():
        at_once = places_at_once(model, residual.new_empty(0, dtype=model.dtype))
        # As many layers each: all weights are fetched for the last few, too.
        count = min(len(residual), -(-len(residual) * len(tokens) // at_once))
        for layers in residual.tensor_split(max(1, count)):
            states = architectures.final_norm(model)(layers.to(model.device, model.dtype))
            some = zip(
                torch.split(states.flatten(0, 1), at_once),
                torch.split(tokens.repeat(len(layers)), at_once),
                strict=True,
            )
            parts += [_read(LogitsByTokens(model, *pair)) for pair in some]
    depth, places = residual.shape[:2]
    fields = (torch.cat(of).cpu() for of in zip(*parts, strict=True))
    return LensReading(list(targets), *(of.reshape(depth, places, *of.shape[1:]) for of in fields))


def _read(parts: LogitsByTokens) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Fields of a `LensReading` at some places, of its targets and the likeliest tokens."""
    of_target = parts.of_targets()
    values = of_target.new_full((len(of_target), TOP), -torch.inf)
    top = torch.zeros_like(values, dtype=torch.int64)
    ranks = torch.ones_like(of_target[:, 0], dtype=torch.float32)
    totals = []
    for part in parts:
        logits, rows = part.logits, part.inside.nonzero()[:, 0]
        # Two products round differently: a token is never ahead of itself.
        logits[rows, part.column[rows, 0]] = of_target[rows, 0]
        totals.append(part.log_total())
        better = (logits.amax(dim=-1) > values[:, -1]).nonzero()[:, 0]
        best = logits[better].topk(min(TOP, logits.shape[-1]))
        values[better], order = torch.cat([values[better], best.values], dim=-1).topk(TOP)
        tokens = torch.cat([top[better], best.indices + part.first], dim=-1)
        top[better] = tokens.gather(-1, order)
        # A processor adds numbers several times as fast as truth values.
        ranks += logits.gt_(of_target).sum(dim=-1, dtype=torch.float32)
    total = torch.stack(totals).logsumexp(dim=0)[:, None]
    logprobs, probabilities = of_target.cpu() - total, (values.cpu() - total).exp()
    return logprobs[:, 0].float(), ranks, top, probabilities.float()


def likeliest(
    logprobs: Tensor, show: Callable[[int], str], besides: int | None = None
) -> list[list[Any]]:
    """The five likeliest tokens with their probabilities, leaving one out if asked."""
    top = logprobs.topk(TOP + (besides is not None))
    pairs = zip(top.indices.tolist(), top.values.exp().tolist(), strict=True)
    return [[show(i), p] for i, p in pairs if i != besides][:TOP]


def comparable(captures: Mapping[Side, Capture]) -> tuple[Tensor, Tensor]:
    """Log-probabilities of base and tuned over the tokens both have, float64 [M, vocabulary]."""
    rows = [captures[side].logprobs for side in SIDES]
    common = min(row.shape[1] for row in rows)
    base, tuned = (row[:, :common].double().log_softmax(dim=-1) for row in rows)
    return base, tuned


def divergence(logprobs: Tensor, beside: Tensor) -> Tensor:
    """KL(of || beside) in nats, shape [M]."""
    return (logprobs.exp() * (logprobs - beside)).sum(dim=-1).clamp_min(0)


def answer_steps(subject: Subject) -> list[AnswerStep]:
    """What both models predict at each token of the answer they read."""
    base, tuned = comparable(subject.captures)
    forward, back = divergence(tuned, base).tolist(), divergence(base, tuned).tolist()
    # The shift is seen from the model whose answer it is not; a given text counts as tuned's.
    other_side = SIDES[1] if subject.manifest.response == "base" else SIDES[0]
    both = {
        side: [
            _prediction(row, token, pieces(subject.models.tokenizers[side]))
            for row, token in zip(
                subject.captures[side].logprobs, subject.answer_ids(side), strict=True
            )
        ]
        for side in SIDES
    }
    return [
        AnswerStep(
            base=both["base"][m],
            tuned=both["tuned"][m],
            kl=forward[m],
            kl_back=back[m],
            shift=shift_class(both[other_side][m]["rank"]),
        )
        for m in range(len(forward))
    ]


def shift_class(rank: int) -> str:
    """Unshifted, marginal or shifted, by a token's rank under the other model (2312.01552)."""
    return SHIFT_CLASSES[0 if rank == 1 else 1 if rank <= 3 else 2]


def _prediction(logprobs: Tensor, token: int, show: Callable[[int], str]) -> Prediction:
    of_token = float(logprobs[token])
    rank = int((logprobs > logprobs[token]).sum()) + 1
    expects = cast("list[Word]", likeliest(logprobs, show))
    if rank > TOP:
        expects[-1] = cast(Word, [show(token), float(logprobs[token].exp())])
    # A probability of zero adds nothing, and its logarithm is infinite.
    entropy = float(torch.special.entr(logprobs.double().exp()).sum())
    return Prediction(logprob=of_token, rank=rank, entropy=entropy, expects=expects)
