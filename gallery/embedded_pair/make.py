"""Make the embedded pair from nothing: `python -m gallery.embedded_pair.make`.

Data, tokenizer, base, tuned, report, card and the files in `widgets/twinlens/demo/`. Each step
leaves its result in `work/`; a step that is done is not done again, and training goes on from its
checkpoint.
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import replace
from itertools import islice
from pathlib import Path

from .card import write_card
from .documents import documents
from .evaluate import evaluate, write_report
from .evaluation_set import FILE, write_set
from .examples import write_prompts
from .export import DEMO, export_model, load_model
from .rows import base_rows, save_rows, tuning_rows
from .tasks import all_tasks
from .tokenizer import build_tokenizer, load_tokenizer
from .train import Plan, new_model, run
from .world import load_world

TOKENIZER_SEED, BASE_SEED, SECOND_SEED, TUNING_SEED, MODEL_SEED = 11, 21, 22, 77, 0
TOKENIZER_DOCUMENTS = 120_000
SHAPE = {"layers": 4, "width": 256, "heads": 8, "key_heads": 4, "inner": 704}
# Two phases: the plain mix at one rate, then fewer stories and more copying while the rate falls.
# Copying did not appear in the plain mix alone within two million tokens.
FIRST_STEPS, SECOND_STEPS, BASE_ROWS = 500, 1200, 8
FIRST_RATE, SECOND_RATE = 4e-3, 2.5e-3
TUNING_STEPS, TUNING_ROWS, TUNING_RATE, REPLAY = 560, 16, 2e-3, 0.15
# a short second part with a falling rate, and more of what was still weak after the first
POLISH_STEPS, POLISH_RATE, POLISH_SEED = 240, 1e-3, 78
POLISH_WEIGHTS = {"list": 2.5, "uppercase": 1.5, "format": 2.0, "number": 1.5, "who": 5.0}


def make(work: Path, demo: Path, processes: int) -> None:
    """Run all steps that are not done yet."""
    work.mkdir(parents=True, exist_ok=True)
    world, tasks = load_world(), all_tasks()
    harder = [replace(t, weight=POLISH_WEIGHTS.get(t.name, t.weight)) for t in tasks]
    if not FILE.exists():
        write_set(world, tasks)
    if not (work / "tokenizer").exists():
        build_tokenizer(
            islice(documents(world, TOKENIZER_SEED), TOKENIZER_DOCUMENTS)
        ).save_pretrained(work / "tokenizer")
    tokenizer = load_tokenizer(work / "tokenizer")
    for phase, steps, seed in (
        ("first", FIRST_STEPS, BASE_SEED),
        ("second", SECOND_STEPS, SECOND_SEED),
    ):
        if not (work / f"{phase}_rows").exists():
            rows = base_rows(world, tokenizer, seed, steps * BASE_ROWS, dense=phase == "second")
            save_rows(work / f"{phase}_rows", rows)
    if not (work / "start").exists():
        new_model(len(tokenizer), **SHAPE, seed=MODEL_SEED).save_pretrained(work / "start")
    first = Plan(
        rows=str(work / "first_rows"),
        out=str(work / "first"),
        start=str(work / "start"),
        steps=FIRST_STEPS,
        rows_per_step=BASE_ROWS,
        rate=FIRST_RATE,
        cool=0.0,
    )
    second = replace(
        first,
        rows=str(work / "second_rows"),
        out=str(work / "base"),
        start=str(work / "first" / "model"),
        steps=SECOND_STEPS,
        rate=SECOND_RATE,
        cool=0.5,
    )
    run(first, processes)
    run(second, processes)
    if not (work / "tuning_rows").exists():
        ids, learned = tuning_rows(
            world, tasks, tokenizer, TUNING_SEED, TUNING_STEPS * TUNING_ROWS, REPLAY
        )
        save_rows(work / "tuning_rows", ids, learned)
    tuning = replace(
        second,
        rows=str(work / "tuning_rows"),
        out=str(work / "taught"),
        start=str(work / "base" / "model"),
        steps=TUNING_STEPS,
        rows_per_step=TUNING_ROWS,
        rate=TUNING_RATE,
    )
    run(tuning, processes)
    if not (work / "polish_rows").exists():
        count = POLISH_STEPS * TUNING_ROWS
        ids, learned = tuning_rows(world, harder, tokenizer, POLISH_SEED, count, REPLAY)
        save_rows(work / "polish_rows", ids, learned)
    polish = replace(
        tuning,
        rows=str(work / "polish_rows"),
        out=str(work / "tuned"),
        start=str(work / "taught" / "model"),
        steps=POLISH_STEPS,
        rate=POLISH_RATE,
        cool=1.0,
    )
    run(polish, processes)
    for name in ("base", "tuned"):
        export_model(work / name / "model", tokenizer, demo / name)
    write_prompts(demo / "prompts.json")
    models = {name: load_model(demo / name) for name in ("base", "tuned")}
    began = time.time()
    streams = [(tasks, TUNING_SEED), (harder, POLISH_SEED)]
    report = evaluate(world, models, tokenizer, streams, work / "answers")
    report["seconds"] = {
        "evaluation": round(time.time() - began),
        **{
            name: _seconds(work / name / "log.jsonl")
            for name in ("first", "base", "taught", "tuned")
        },
    }
    write_report(report)
    write_card(report, demo)


def _seconds(log: Path) -> dict[str, int]:
    """Wall and processor seconds of a training, over all its starts."""
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    last = [
        a
        for a, b in zip(lines, [*lines[1:], None], strict=True)
        if b is None or b["wall"] < a["wall"]
    ]
    return {
        "wall": sum(x["wall"] for x in last),
        "processor (one process)": sum(x["cpu"] for x in last),
    }


def main() -> None:
    """Entry of the command."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--work", type=Path, default=Path(__file__).parent / "work", help="folder of checkpoints"
    )
    parser.add_argument("--demo", type=Path, default=DEMO, help="folder of the shipped files")
    parser.add_argument(
        "--processes", type=int, default=2, help="training processes of one thread each"
    )
    given = parser.parse_args()
    make(given.work, given.demo, given.processes)


if __name__ == "__main__":
    main()
