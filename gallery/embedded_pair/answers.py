"""Greedy answers of a model to many prompts."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from transformers import LlamaForCausalLM, PreTrainedTokenizerFast


@dataclass(frozen=True)
class Answer:
    """An answer as text and tokens, and whether the model ended it by itself."""

    text: str
    ids: list[int]
    stopped: bool


def prompt_ids(tokenizer: PreTrainedTokenizerFast, prompt: str, template: bool) -> list[int]:
    """Encode a prompt, inside the chat template or bare."""
    if not template:
        return tokenizer.encode(prompt)
    text = tokenizer.apply_chat_template([{"role": "user", "content": prompt}], tokenize=False, add_generation_prompt=True)
    return tokenizer.encode(text, add_special_tokens=False)


@torch.inference_mode()
def answer(
    model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, prompts: list[str], template: bool, limit: int = 110, batch: int = 64
) -> list[Answer]:
    """Answer prompts in batches of similar length."""
    encoded = [prompt_ids(tokenizer, p, template) for p in prompts]
    order = sorted(range(len(prompts)), key=lambda i: len(encoded[i]))
    answers: list[Answer | None] = [None] * len(prompts)
    end, pad = tokenizer.eos_token_id, tokenizer.pad_token_id
    for at in range(0, len(order), batch):
        chosen = order[at : at + batch]
        longest = max(len(encoded[i]) for i in chosen)
        ids = torch.tensor([[pad] * (longest - len(encoded[i])) + encoded[i] for i in chosen])
        mask = (ids != pad).long()
        out = model.generate(ids, attention_mask=mask, max_new_tokens=limit, do_sample=False, eos_token_id=end, pad_token_id=pad)
        for i, row in zip(chosen, out[:, longest:].tolist(), strict=True):
            stopped = end in row
            kept = row[: row.index(end)] if stopped else row
            answers[i] = Answer(tokenizer.decode(kept), kept, stopped)
    return answers
