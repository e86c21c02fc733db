"""What each model predicts, token by token, and what each layer would already answer (lens)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, cast

import torch
from torch import Tensor
from transformers import PreTrainedModel

from twinlens.compute.models import architectures
from twinlens.compute.passes.capture import Capture
from twinlens.compute.passes.subject import Subject
from twinlens.compute.text.cutting import pieces
from twinlens.contract.forms import AnswerStep, Prediction, Word
from twinlens.contract.words import SHIFT_CLASSES, SIDES, Side

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
