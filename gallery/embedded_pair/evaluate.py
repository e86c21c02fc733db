"""The evaluation report: every number behind the card, as JSON, and a readable page."""

from __future__ import annotations

import json
from itertools import islice
from pathlib import Path

from transformers import LlamaForCausalLM, PreTrainedTokenizerFast

from .checks import passes
from .concepts import concept_lists
from .evaluation_set import read_set
from .importance import compare
from .rows import dialogues
from .success import all_answers, lenient, perplexity, success
from .task import Task
from .world import World

REPORT = Path(__file__).parent / "report.json"
CHECKED_DIALOGUES = 100_000
SAMPLES = 30


def overlap(world: World, streams: list[tuple[list[Task], int]], rows: list[dict]) -> int:
    """Count prompts of the evaluation set among the first prompts of each tuning stream."""
    asked = {row["prompt"] for row in rows}
    return sum(
        prompt in asked
        for tasks, seed in streams
        for prompt, _ in islice(dialogues(world, tasks, seed), CHECKED_DIALOGUES)
    )


def evaluate(
    world: World,
    models: dict[str, LlamaForCausalLM],
    tokenizer: PreTrainedTokenizerFast,
    streams: list[tuple[list[Task], int]],
    cache: Path,
) -> dict:
    """Measure everything."""
    rows = read_set()
    answers = all_answers(models, tokenizer, rows, cache)
    report: dict = {
        "prompts": len(rows),
        "overlap with tuning": overlap(world, streams, rows),
        "parameters": models["base"].num_parameters(),
        "vocabulary": len(tokenizer),
        "perplexity": {name: perplexity(model, tokenizer, world) for name, model in models.items()},
        "success": {f"{name}, {form}": success(rows, got) for (name, form), got in answers.items()},
        "answer anywhere": {
            f"{name}, {form}": lenient(rows, got) for (name, form), got in answers.items()
        },
        "stopped": {
            f"{name}, {form}": sum(a.stopped for a in got) / len(got)
            for (name, form), got in answers.items()
        },
    }
    # the prompts with a passage of their own: instruction and context can be told apart
    chosen = [i for i, row in enumerate(rows) if row["context"]]
    report["importance"] = {
        form: compare(
            models,
            tokenizer,
            [rows[i] for i in chosen],
            {name: [answers[name, form][i] for i in chosen] for name in models},
            form == "template",
        )
        for form in ("template", "bare")
    }
    report["concepts"] = concept_lists(models, tokenizer)
    step = len(rows) // SAMPLES
    report["samples"] = [
        {
            "task": rows[i]["task"],
            "prompt": rows[i]["prompt"],
            "tuned": answers["tuned", "template"][i].text,
            "base": answers["base", "template"][i].text,
            "base, bare": answers["base", "bare"][i].text,
        }
        for i in range(5, len(rows), step)
    ][:SAMPLES]
    report["failures"] = [
        {
            "task": row["task"],
            "wording": row["wording"],
            "prompt": row["prompt"],
            "tuned": got.text,
            "expected": row["answer"],
        }
        for row, got in zip(rows, answers["tuned", "template"], strict=True)
        if not passes(row["check"], got.text)
    ]
    return report


def write_report(report: dict, path: Path = REPORT) -> None:
    """Write the numbers."""
    path.write_text(json.dumps(report, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
