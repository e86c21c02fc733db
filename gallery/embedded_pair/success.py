"""Success rates, stopping and perplexity."""

from __future__ import annotations

import hashlib
import json
from collections import defaultdict
from dataclasses import asdict
from itertools import islice
from pathlib import Path

import torch
from transformers import LlamaForCausalLM, PreTrainedTokenizerFast

from .answers import Answer, answer
from .checks import passes
from .documents import documents
from .world import World

PERPLEXITY_SEED = 990_001


def success(rows: list[dict], answers: list[Answer]) -> dict[str, dict[str, float]]:
    """Share of fulfilled checks: over all, per wording, per family and per task of each wording."""
    groups: dict[str, list[bool]] = defaultdict(list)
    for row, got in zip(rows, answers, strict=True):
        good = passes(row["check"], got.text)
        for name in ("all", f"family {row['family']}", f"task {row['task']}"):
            groups[f"{row['wording']}|{name}"].append(good)
    table: dict[str, dict[str, float]] = defaultdict(dict)
    for key, values in groups.items():
        wording, name = key.split("|")
        table[name][wording] = sum(values) / len(values)
    return dict(table)


def lenient(rows: list[dict], answers: list[Answer]) -> float:
    """Share of answers that hold an accepted answer anywhere (rows with exact checks only)."""
    hits = [
        any(a in got.text for a in row["check"]["answers"])
        for row, got in zip(rows, answers, strict=True)
        if row["check"]["kind"] == "exact"
    ]
    return sum(hits) / len(hits)


@torch.inference_mode()
def perplexity(
    model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, world: World, count: int = 600
) -> float:
    """Perplexity on fresh documents of a seed that training never uses."""
    total, tokens = 0.0, 0
    texts = sorted(islice(documents(world, PERPLEXITY_SEED), count), key=len)
    for at in range(0, count, 40):
        rows = [[*tokenizer.encode(t), tokenizer.eos_token_id] for t in texts[at : at + 40]]
        longest = max(map(len, rows))
        ids = torch.tensor([r + [tokenizer.pad_token_id] * (longest - len(r)) for r in rows])
        log_p = (
            model(ids, use_cache=False)
            .logits[:, :-1]
            .log_softmax(-1)
            .gather(2, ids[:, 1:, None])[..., 0]
        )
        keep = ids[:, 1:] != tokenizer.pad_token_id
        total, tokens = total - log_p[keep].sum().item(), tokens + int(keep.sum())
    return float(torch.tensor(total / tokens).exp())


def all_answers(
    models: dict[str, LlamaForCausalLM],
    tokenizer: PreTrainedTokenizerFast,
    rows: list[dict],
    cache: Path,
) -> dict[tuple[str, str], list[Answer]]:
    """Answers of both models, with the chat template and bare; kept in files by weights."""
    prompts = [row["prompt"] for row in rows]
    cache.mkdir(parents=True, exist_ok=True)
    found = {}
    for name, model in models.items():
        weights = hashlib.sha256(model.lm_head.weight.numpy().tobytes()).hexdigest()[:12]
        for form in ("template", "bare"):
            kept = cache / f"{name}-{form}-{weights}.json"
            if not kept.exists():
                limit = 110 if name == "tuned" else 40
                made = answer(model, tokenizer, prompts, form == "template", limit)
                kept.write_text(json.dumps([asdict(a) for a in made]), encoding="utf-8")
            found[name, form] = [Answer(**a) for a in json.loads(kept.read_text(encoding="utf-8"))]
    return found
