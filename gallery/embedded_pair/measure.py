"""Importance of prompt tokens: gradients as in the paper, and exact occlusion by masking attention.

A small implementation of its own, so that the recipe stands alone.
"""

from __future__ import annotations

import numpy as np
import torch
from transformers import LlamaForCausalLM

LEVELS, KEPT_ABOVE, NORM = 10, 7, 4


def gradient_importance(
    model: LlamaForCausalLM, prompt: list[int], answer: list[int]
) -> np.ndarray:
    """Probability gradient times input embedding, [prompt tokens, answer tokens]."""
    ids = torch.tensor([prompt + answer])
    # one copy of the text for each answer token, so that one backward pass gives all columns
    copies = model.get_input_embeddings()(ids).detach().expand(len(answer), -1, -1)
    embedded = copies.clone().requires_grad_(True)
    each = torch.arange(len(answer))
    logits = model(inputs_embeds=embedded, use_cache=False).logits[each, len(prompt) - 1 + each]
    logits.softmax(-1)[each, torch.tensor(answer)].sum().backward()
    return (embedded.grad * copies).sum(-1)[:, : len(prompt)].T.numpy()


@torch.inference_mode()
def occlusion(model: LlamaForCausalLM, prompt: list[int], answer: list[int]) -> np.ndarray:
    """Log-probability that answer tokens lose when one prompt token is hidden from all."""
    ids = torch.tensor([prompt + answer])
    count = len(prompt)
    mask = torch.ones(count + 1, ids.shape[1], dtype=torch.long)
    mask[torch.arange(1, count + 1), torch.arange(count)] = 0
    mask[1, 0] = 1  # the begin mark stays: without it the first position would see nothing at all
    logits = model(ids.expand(count + 1, -1), attention_mask=mask, use_cache=False).logits
    at = torch.arange(count - 1, count + len(answer) - 1)
    log_p = (
        logits[:, at]
        .log_softmax(-1)
        .gather(2, torch.tensor(answer)[None, :, None].expand(count + 1, -1, 1))[..., 0]
    )
    return (log_p[0] - log_p[1:]).numpy()


def levels(importance: np.ndarray) -> np.ndarray:
    """Levels 0 to 10 within each column, those up to 7 set to zero."""
    positive = np.maximum(importance, 0)
    scaled = np.ceil(LEVELS * positive / (positive.max(0, keepdims=True) + 1e-7))
    return np.where(scaled <= KEPT_ABOVE, 0, scaled)


def densities(importance: np.ndarray, by_maximum: bool) -> np.ndarray:
    """Density of each prompt token but the begin mark; on wish divided by the largest."""
    sparse = levels(importance[1:])
    raw = sparse.sum(1) / ((sparse**NORM).sum(1) ** (1 / NORM) + 1e-9)
    return raw / (1e-9 + raw.max()) if by_maximum else raw


def instruction_score(density: np.ndarray, instruction: np.ndarray, mean: bool) -> float:
    """Density of the instruction tokens: sum over log2(2 + n) as published, or the mean."""
    chosen = density[instruction]
    return float(chosen.mean() if mean else chosen.sum() / np.log2(2 + len(chosen)))


def effect_share(effects: np.ndarray, instruction: np.ndarray) -> float:
    """Share of the positive effect on the answer that falls on the instruction."""
    positive = np.maximum(effects[1:], 0).sum(1)
    return float(positive[instruction].sum() / (positive.sum() + 1e-12))
