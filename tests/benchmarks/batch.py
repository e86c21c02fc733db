"""Prompts of mixed lengths on the embedded pair: all at once against one at a time.

``python -m tests.benchmarks.batch`` answers the prompts of the gallery with both models and
attributes both answers by gradient × input. CPU time on one thread, the better of two runs each;
one at a time is `trace_pair`, which also keeps what happens inside the models: its part is told.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Callable
from importlib.resources import files
from typing import TypeVar

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import torch
from twinlens.compute.live.live import LiveTrace, trace_pair
from twinlens.compute.pair import Pair, demo_pair
from twinlens.compute.saliency.batch import Attributed, attribute_prompts
from twinlens.compute.text.prompt import read_prompt
from twinlens.contract.wire import Array
from twinlens.contract.words import PUBLISHED, SIDES

BAR = 2.0
Result = TypeVar("Result")


def timed(work: Callable[[], Result], runs: int = 2) -> tuple[float, Result]:
    """CPU seconds of the fastest run."""
    seconds = []
    for _ in range(runs):
        start = time.process_time()
        result = work()
        seconds.append(time.process_time() - start)
    return min(seconds), result


def one_at_a_time(
    pair: Pair, prompts: list[str], limit: int
) -> tuple[list[LiveTrace], list[list[Array]]]:
    traces = [trace_pair(pair, text, template=True, max_new_tokens=limit) for text in prompts]
    return traces, [[trace.saliency(side, PUBLISHED).values for side in SIDES] for trace in traces]


def at_once(pair: Pair, prompts: list[str], limit: int) -> list[Attributed]:
    read = [read_prompt(pair, text, template=True) for text in prompts]
    results = attribute_prompts(pair, read, max_new_tokens=limit)
    return [result for result in results if isinstance(result, Attributed)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tokens", type=int, default=32, help="longest answer")
    options = parser.parse_args()
    torch.set_num_threads(1)
    listed = files("twinlens").joinpath("demo/prompts.json").read_text(encoding="utf-8")
    prompts = [entry["prompt"] for entry in json.loads(listed)]
    pair, limit = demo_pair(), options.tokens
    one_at_a_time(pair, prompts[:1], 4)  # whatever is loaded late
    tracing, _ = timed(
        lambda: [trace_pair(pair, text, template=True, max_new_tokens=limit) for text in prompts]
    )
    before, (traces, tables) = timed(lambda: one_at_a_time(pair, prompts, limit))
    after, results = timed(lambda: at_once(pair, prompts, limit))
    same, worst = 0, 0.0
    for trace, alone, ours in zip(traces, tables, results, strict=True):
        if ours.answers != trace.manifest.answers:
            continue
        same += 1
        for side, table in zip(SIDES, alone, strict=True):
            worst = max(worst, np.abs(ours.values[side] - table).max() / np.abs(table).max())
    lengths = [len(result.prompt.tokens) for result in results]
    answers = [len(result.answers[side].tokens) for result in results for side in SIDES]
    print(
        f"{len(prompts)} prompts of {min(lengths)} to {max(lengths)} tokens, "
        f"answers of {min(answers)} to {max(answers)}, both models\n"
    )
    print("| what | CPU s | a prompt | ratio | asked |")
    print("| --- | --- | --- | --- | --- |")
    for name, seconds, ratio in (
        ("one at a time", before, ""),
        ("of it answers and what is kept of them", tracing, ""),
        ("all at once", after, f"{before / after:.1f} | {BAR:.1f}"),
    ):
        print(f"| {name} | {seconds:.2f} | {seconds / len(prompts):.3f} | {ratio or '|'} |")
    print(
        f"\nsame answers: {same} of {len(prompts)}; largest difference {worst:.0e} of the largest"
    )


if __name__ == "__main__":
    main()
