"""Token by token: what each model predicts where it reads the same answer."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import cast

import torch
from torch import Tensor

from twinlens.compute.live.lens import TOP, likeliest
from twinlens.compute.passes.capture import Capture
from twinlens.compute.passes.subject import Subject
from twinlens.compute.text.pieces import pieces
from twinlens.contract.forms import AnswerStep, Prediction, Word
from twinlens.contract.words import SHIFT_CLASSES, SIDES, Side


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
