"""Studies: what storing, analysing and varying cost for each prompt, in time and memory.

    python -m tests.benchmarks.study                # 300 made-up prompts of paper-like size
    python -m tests.benchmarks.study --prompts 60   # a reduced run
    python -m tests.benchmarks.study --demo         # also the embedded pair, models included

Times are of this process (CPU seconds), so that other work on the machine does not count.
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

from twinlens.studies import run
from twinlens.studies.data import Row
from twinlens.studies.statistics import analyse
from twinlens.studies.store import Store
from twinlens.studies.variants import Grid, robustness
from twinlens.studies.work import traced

from tests.unit.studies.planted import METHOD, PAIR, PlantedTrace

PROMPT = "word " * 40  # 50 tokens, the mean of the paper
ANSWERS = {"base": 294, "tuned": 197}


class PaperSized(PlantedTrace):
    """A planted trace with the paper's mean lengths."""

    lengths = ANSWERS


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--prompts", type=int, default=300)
    parser.add_argument("--demo", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        result = made_up(Path(scratch), options.prompts)
        if options.demo:
            result["embedded_pair"] = embedded(Path(scratch))
    print(json.dumps(result, indent=1))


def made_up(folder: Path, prompts: int) -> dict[str, Any]:
    """Cost of every step that needs no model."""
    store = Store.create(folder / "study", PAIR, [METHOD], {"response": "own"})
    rows = [Row(i + 1, f"p{i}", PROMPT, ((0, 40),), ((0, 40),)) for i in range(prompts)]
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


def by(tracer: Callable[[Row], Any]) -> run.Engine:
    """The engine that traces one prompt after another."""
    return run.here(traced(tracer, [METHOD.name]))


def failing(row: Row) -> Any:
    """Stands for the models where nothing may be run."""
    raise AssertionError(f"{row.id} was finished")


def embedded(folder: Path) -> dict[str, Any]:
    """The embedded pair: CPU seconds per prompt, models included."""
    from twinlens.compute.pair import demo_pair

    pair = demo_pair()
    data = [f"Write the word {word} in capital letters." for word in ("dog", "house", "rain")]
    took = seconds(lambda: run.study(pair, data, folder / "demo", template=True, max_new_tokens=32))
    return {"prompts": len(data), "seconds_per_prompt": round(took / len(data), 3)}


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
