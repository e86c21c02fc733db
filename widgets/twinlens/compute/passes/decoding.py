"""Greedy answers, of one text or of many together."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING

import torch

from twinlens.contract.words import Side
from twinlens.errors import NotFiniteError
from twinlens.support.progress import Report

if TYPE_CHECKING:
    from transformers import PreTrainedModel


def greedy_answers(
    model: PreTrainedModel,
    prompts: Sequence[Sequence[int]],
    *,
    stop: Collection[int],
    limit: int,
    vocabulary: int,
    side: Side,
    report: Report | None = None,
) -> list[list[int]]:
    """Continue prompts with the likeliest token each time, several of them together.

    Shorter prompts are padded in front and the padding is masked, with positions counted from
    the first token: distances, which sliding windows go by, stay as they are.

    Parameters
    ----------
    stop : collection of int
        Tokens that end an answer; the one met is kept as its last token.
    limit : int
        Most tokens to add to each.
    vocabulary : int
        Ids from here on are padding of the weights and never chosen.
    report : callable, optional
        Told the tokens of each; may raise `Interrupted`.

    Raises
    ------
    NotFiniteError
        If a logit is NaN or infinite.
    Interrupted
        If `report` asked to stop.
    """
    longest = max(map(len, prompts))
    fronts = [longest - len(prompt) for prompt in prompts]
    device = model.device
    rows = [
        [prompt[0]] * front + list(prompt) for prompt, front in zip(prompts, fronts, strict=True)
    ]
    ids = torch.tensor(rows, device=device)
    places = torch.arange(longest + limit, device=device)
    mask = (places >= torch.tensor(fronts, device=device)[:, None]).long()
    numbers = (mask.cumsum(dim=1) - 1).clamp_min(0)
    answers: list[list[int]] = [[] for _ in prompts]
    running = list(range(len(prompts)))
    past, read = None, 0
    with torch.no_grad():
        for step in range(limit):
            length = longest + step
            # Where nothing is padded these are the model's own, and not every family takes them.
            placed = (
                {"attention_mask": mask[:, :length], "position_ids": numbers[:, read:length]}
                if any(fronts)
                else {}
            )
            output = model(
                ids,
                **placed,
                past_key_values=past,
                use_cache=True,
                logits_to_keep=1,
            )
            scores = output.logits[:, -1, :vocabulary]
            if not torch.isfinite(scores).all():
                raise NotFiniteError(not_finite(side, "its output"))
            chosen = scores.argmax(dim=-1)
            for place, token in zip(running, chosen.tolist(), strict=True):
                answers[place].append(token)
            if report:
                report(step + 1, limit, f"answer of {side}")
            past, read, ids = output.past_key_values, length, chosen[:, None]
            going = [i for i, place in enumerate(running) if answers[place][-1] not in stop]
            if len(going) < len(running):
                if not going:
                    break
                rows_left = torch.tensor(going, device=device)
                past.batch_select_indices(rows_left)
                ids, mask, numbers = ids[rows_left], mask[rows_left], numbers[rows_left]
                running = [running[i] for i in going]
    return answers


def not_finite(side: Side, where: str) -> str:
    """What is wrong with a model that computes NaN or infinity."""
    return (
        f"the {side} model computes NaN or infinity in {where}: load the pair with "
        "dtype=torch.float32, or check its weights"
    )
