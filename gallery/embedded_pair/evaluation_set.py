"""The fixed evaluation set: drawn once, before training, with a seed that training never uses."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from random import Random

from .task import Request, Task, draw_item, word_request
from .world import World

FILE = Path(__file__).parent / "evaluation_set.jsonl"
SEED = 20_231_004
PER_SET = 12
TRIES = 400  # some tasks hold out too few items for twelve different prompts


def draw_set(world: World, tasks: list[Task]) -> list[tuple[str, Request]]:
    """Draw held-out items of every task, in known and in new wordings; no prompt twice."""
    rng, drawn, seen = Random(SEED), [], set()
    for task in tasks:
        for wording, frames in (("known", task.known), ("new", task.new)):
            count = 0
            for _ in range(TRIES):
                if count == PER_SET:
                    break
                item = draw_item(task, world, rng, held_out=True)
                request = word_request(task, item, rng.choice(frames), rng)
                if request.prompt in seen:
                    continue
                seen.add(request.prompt)
                drawn.append((wording, request))
                count += 1
    return drawn


def write_set(world: World, tasks: list[Task]) -> None:
    """Write the set to its file."""
    lines = [
        json.dumps({"wording": w, **asdict(r)}, ensure_ascii=False)
        for w, r in draw_set(world, tasks)
    ]
    FILE.write_text("\n".join(lines) + "\n", encoding="utf-8")


def read_set(path: Path = FILE) -> list[dict]:
    """Read the set."""
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
