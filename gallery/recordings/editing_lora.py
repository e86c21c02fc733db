"""A narrow tune of our own: a LoRA that edits sentences of the embedded pair's mini-world.

Made over real bases, for recordings and slow tests. It stands for no model that anybody uses.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from random import Random

import torch
from peft import LoraConfig, get_peft_model
from torch import Tensor
from torch.nn.functional import cross_entropy
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedTokenizerFast

from gallery.embedded_pair.task import Request, draw_item, word_request
from gallery.embedded_pair.tasks import all_tasks
from gallery.embedded_pair.world import load_world

MATRICES = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
RANK, RATE, STEPS, DIALOGUES = 8, 1e-3, 40, 8


def requests() -> Iterator[Request]:
    """Sentences to edit, with the edited ones."""
    world, rng = load_world(), Random(0)
    tasks = [task for task in all_tasks() if task.family == "editing"]
    while True:
        task = rng.choice(tasks)
        item = draw_item(task, world, rng, held_out=False)
        yield word_request(task, item, rng.choice(task.known), rng)


def batches(tokenizer: PreTrainedTokenizerFast) -> Iterator[tuple[Tensor, Tensor]]:
    """Token ids and a mark of what is learned: the answers, each ended by the end of text."""
    drawn = requests()
    while True:
        rows = []
        for request in [next(drawn) for _ in range(DIALOGUES)]:
            head = tokenizer(f"{request.prompt}\n").input_ids
            tail = tokenizer(request.answer, add_special_tokens=False).input_ids
            rows.append((head, [*tail, tokenizer.eos_token_id]))
        longest = max(len(head) + len(tail) for head, tail in rows)
        ids = torch.full((len(rows), longest), tokenizer.eos_token_id)
        learned = torch.zeros((len(rows), longest), dtype=torch.bool)
        for row, (head, tail) in enumerate(rows):
            ids[row, : len(head) + len(tail)] = torch.tensor(head + tail)
            learned[row, len(head) : len(head) + len(tail)] = True
        yield ids, learned


def train(base: Path, folder: Path, steps: int = STEPS) -> None:
    """Train the adapter over a base and save it: a few CPU minutes."""
    torch.manual_seed(0)
    tokenizer = AutoTokenizer.from_pretrained(base)
    model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    # Attention does not see padding that stands behind what is learned: no mask is needed.
    tuned = get_peft_model(model, LoraConfig(r=RANK, lora_alpha=2 * RANK, target_modules=MATRICES))
    weights = [weight for weight in tuned.parameters() if weight.requires_grad]
    optimizer = torch.optim.AdamW(weights, lr=RATE)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, RATE, steps, pct_start=0.1)
    drawn = batches(tokenizer)
    for step in range(steps):
        ids, learned = next(drawn)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            hidden = model.model(ids).last_hidden_state[:, :-1][learned[:, 1:]]
            loss = cross_entropy(model.lm_head(hidden).float(), ids[:, 1:][learned[:, 1:]])
        loss.backward()
        torch.nn.utils.clip_grad_norm_(weights, 1.0)
        optimizer.step()
        schedule.step()
        optimizer.zero_grad(set_to_none=True)
        if step % 5 == 0:
            print(f"step {step}, loss {loss.item():.3f}", flush=True)
    tuned.save_pretrained(folder)
