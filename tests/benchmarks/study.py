"""Studies: what storing, analysing and varying cost for each prompt, in time and memory.

    python -m tests.benchmarks.study                # 300 made-up prompts of paper-like size
    python -m tests.benchmarks.study --prompts 60   # a reduced run
    python -m tests.benchmarks.study --demo         # the embedded pair: together, one at a time
    python -m tests.benchmarks.study --ray          # the embedded pair: two workers, one worker

Times of steps without a model are of this process (CPU seconds), so that other work on the machine
does not count. What compares models at work is in seconds on the clock, in one run, on two
threads: run it where nothing else runs.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from twinlens.commands.main import demo_prompts
from twinlens.contract.words import SIDES
from twinlens.studies.analysis.statistics import analyse
from twinlens.studies.analysis.variants import Grid, robustness
from twinlens.studies.data.rows import StudyRow
from twinlens.studies.data.store import Store
from twinlens.studies.run import study as run

from tests.unit.studies.planted import METHOD, PAIR, PlantedTrace, traced

PROMPT = "word " * 40  # 50 tokens, the mean of the paper
ANSWERS = {"base": 294, "tuned": 197}


class PaperSized(PlantedTrace):
    """A planted trace with the paper's mean lengths."""

    lengths = ANSWERS


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--prompts", type=int, default=300)
    parser.add_argument("--demo", action="store_true")
    parser.add_argument("--ray", action="store_true")
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    if options.demo:
        result = together(min(options.prompts, 48), options.threads)
    elif options.ray:
        with tempfile.TemporaryDirectory() as scratch:
            result = on_workers(Path(scratch))
    else:
        with tempfile.TemporaryDirectory() as scratch:
            result = made_up(Path(scratch), options.prompts)
    print(json.dumps(result, indent=1))


def made_up(folder: Path, prompts: int) -> dict[str, Any]:
    """Cost of every step that needs no model."""
    store = Store.create(folder / "study", PAIR, [METHOD], {"response": "own"})
    rows = [StudyRow(i + 1, f"p{i}", PROMPT, ((0, 40),), ((0, 40),)) for i in range(prompts)]
    generated = seconds(lambda: [PaperSized(row).saliency("base", METHOD.name) for row in rows])
    stored = seconds(lambda: run.fill(store, iter(rows), by(PaperSized)))
    size = sum(path.stat().st_size for path in (folder / "study" / "rows").iterdir())
    grid = len(Grid().settings())
    nothing = seconds(lambda: run.fill(store, iter(rows), by(failing)))
    return {
        "prompts": prompts,
        "store_ms_per_prompt": round(1e3 * (stored - 2 * generated) / prompts, 2),
        "stored_kb_per_prompt": round(size / prompts / 1e3, 1),
        "nothing_left_to_do_ms": round(1e3 * nothing),
        "analyse_ms_per_prompt": round(1e3 * seconds(lambda: analyse(store)) / prompts, 2),
        "combinations": grid,
        "robustness_ms_per_prompt": round(1e3 * seconds(lambda: robustness(store)) / prompts, 2),
        "peak_mb_of_reading": round(peak(lambda: sum(1 for _ in store)) / 1e6, 2),
    }


def by(tracer: Callable[[StudyRow], Any]) -> run.Engine:
    """The engine that traces one prompt after another."""
    return run.here(traced(tracer, [METHOD.name]))


def failing(row: StudyRow) -> Any:
    """Stands for the models where nothing may be run."""
    raise AssertionError(f"{row.id} was finished")


def mixed(count: int) -> list[str]:
    """Prompts for the embedded pair, of many lengths."""
    prepared = [entry["prompt"] for entry in demo_prompts()]
    joined = [f"{one} {other}" for one in prepared for other in prepared]
    return (prepared + joined[:: len(joined) // count])[:count]


def together(count: int, threads: int, repeats: int = 2) -> dict[str, Any]:
    """Answers and attribution of prompts of mixed lengths, together and one at a time."""
    import torch
    from twinlens.compute.pair import demo_pair
    from twinlens.compute.saliency.batch import attribute_prompts
    from twinlens.compute.text.prompt import read_prompt

    torch.set_num_threads(threads)
    pair = demo_pair()
    texts = mixed(count)
    prompts = [read_prompt(pair, text, template=True) for text in texts]
    options: dict[str, Any] = {"max_new_tokens": 32}
    found: dict[str, list[Any]] = {}

    ways: dict[str, Callable[[], Any]] = {
        "together": lambda: found.update(together=attribute_prompts(pair, prompts, **options)),
        "alone": lambda: found.update(
            alone=[attribute_prompts(pair, [prompt], **options)[0] for prompt in prompts]
        ),
    }
    for work in ways.values():
        work()  # what is loaded or kept at the first time
    rounds = [{name: elapsed(work) for name, work in ways.items()} for _ in range(repeats)]
    clock, cpu = (
        {name: round(min(one[name][i] for one in rounds), 2) for name in ways} for i in range(2)
    )
    pairs = list(zip(found["together"], found["alone"], strict=True))
    return {
        "prompts": count,
        "prompt_tokens": [min(map(length, prompts)), max(map(length, prompts))],
        "answer_tokens": [
            pick(len(one.answers[side].tokens) for one, _ in pairs for side in SIDES)
            for pick in (min, max)
        ],
        "same_answers": all(one.answers == other.answers for one, other in pairs),
        "largest_difference": max(
            float(np.abs(one.values[side] - other.values[side]).max())
            / float(np.abs(other.values[side]).max())
            for one, other in pairs
            for side in SIDES
        ),
        "seconds_on_the_clock": clock,
        "cpu_seconds": cpu,
        "faster_on_the_clock": round(clock["alone"] / clock["together"], 2),
        "faster_in_cpu_seconds": round(cpu["alone"] / cpu["together"], 2),
    }


def length(prompt: Any) -> int:
    return len(prompt.tokens)


def on_workers(folder: Path, count: int = 192) -> dict[str, Any]:
    """Prompts a second on a cluster of two cores, once the workers are there."""
    import ray
    from twinlens.compute.pair import demo_pair

    pair = demo_pair()
    ray.init(address="local", num_cpus=2, include_dashboard=False, log_to_driver=False)
    rates = {}
    for workers in (1, 2):
        moments: list[float] = []
        run.study(
            pair,
            mixed(count),
            folder / str(workers),
            engine="ray",
            workers=workers,
            template=True,
            max_new_tokens=32,
            batch_size=8,
            report=lambda done, total, what, at=moments: at.append(time.perf_counter()),
        )
        # From the first batch that arrived to the last row; moments[0] is "starting workers".
        rates[workers] = (count - 8) / (moments[-1] - moments[8])
    ray.shutdown()
    return {
        "prompts": count,
        "prompts_a_second": {workers: round(rate, 2) for workers, rate in rates.items()},
        "two_workers_against_one": round(rates[2] / rates[1], 2),
    }


def elapsed(work: Callable[[], Any]) -> tuple[float, float]:
    """Seconds on the clock, and CPU seconds of this process."""
    clock, cpu = time.perf_counter(), time.process_time()
    work()
    return time.perf_counter() - clock, time.process_time() - cpu


def seconds(work: Callable[[], Any]) -> float:
    """CPU seconds of this process."""
    start = time.process_time()
    work()
    return time.process_time() - start


def peak(work: Callable[[], Any]) -> float:
    """Largest number of bytes that Python objects and arrays took."""
    tracemalloc.start()
    work()
    found = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return found


if __name__ == "__main__":
    main()
