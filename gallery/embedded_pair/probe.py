"""Does the base know the facts? Asked before tuning, as beginnings of sentences to go on with."""

from __future__ import annotations

from random import Random

import torch
from transformers import LlamaForCausalLM, PreTrainedTokenizerFast

from .task import Task
from .world import World

DRAWS = 120


@torch.inference_mode()
def probe(
    model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, world: World, tasks: list[Task]
) -> dict[str, tuple[float, list[str]]]:
    """For each fact task: the share of items whose last word base finds, and the misses."""
    found = {}
    for task in tasks:
        if task.family not in ("words", "facts"):
            continue
        rng = Random(1)
        items = {item.key: item for item in (task.draw(world, rng) for _ in range(DRAWS))}
        missed = []
        for item in items.values():
            beginning, _ = item.answer.rsplit(" ", 1)
            ids = torch.tensor([tokenizer.encode(beginning)])
            out = model.generate(
                ids,
                attention_mask=torch.ones_like(ids),
                max_new_tokens=3,
                do_sample=False,
                pad_token_id=tokenizer.pad_token_id,
            )
            text = tokenizer.decode(out[0], skip_special_tokens=True)
            if not any(text.startswith(answer) for answer in item.check["answers"]):
                missed.append(text)
        found[task.name] = (1 - len(missed) / len(items), missed)
    return found
