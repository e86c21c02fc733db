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
    text = tokenizer.apply_chat_template(
        [{"role": "user", "content": prompt}], tokenize=False, add_generation_prompt=True
    )
    return tokenizer.encode(text, add_special_tokens=False)


@torch.inference_mode()
def answer(
    model: LlamaForCausalLM,
    tokenizer: PreTrainedTokenizerFast,
    prompts: list[str],
    template: bool,
    limit: int = 110,
    batch: int = 24,
) -> list[Answer]:
    """Answer prompts in batches in the given order: those of a task have answers of a length."""
    encoded = [prompt_ids(tokenizer, p, template) for p in prompts]
    answers: list[Answer] = []
    end, pad = tokenizer.eos_token_id, tokenizer.pad_token_id
    for at in range(0, len(prompts), batch):
        chosen = encoded[at : at + batch]
        longest = max(map(len, chosen))
        ids = torch.tensor([[pad] * (longest - len(row)) + row for row in chosen])
        out = model.generate(
            ids,
            attention_mask=(ids != pad).long(),
            max_new_tokens=limit,
            do_sample=False,
            eos_token_id=end,
            pad_token_id=pad,
        )
        for row in out[:, longest:].tolist():
            stopped = end in row
            kept = row[: row.index(end)] if stopped else row
            answers.append(Answer(tokenizer.decode(kept), kept, stopped))
    return answers
