"""What is below the limit of exact occlusion: whole spans first, and a screen in bfloat16.

    python -m tests.benchmarks.screen                  # SmolLM2-135M, a prompt of 256 tokens
    python -m tests.benchmarks.screen --tokens 128

Spans: neighbours are hidden together, and a span is split only where hiding it moves an answer
token by more than the floor; the cells of a span that is not split are drawn as equal shares of
its effect. Screen: all rows in bfloat16, and those again in float32 that move an answer token by
more than the floor there. Missed is the sum of the differences to the exact matrix, as a share of
its sum, both by magnitude. CPU seconds of one run.
"""

from __future__ import annotations

import argparse
import copy
import os
import time
from collections.abc import Callable
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer
from twinlens.compute.passes.reading import Reading
from twinlens.compute.saliency.occlusion import _batches, occluded, read_intact
from twinlens.contract.wire import Array

from tests.benchmarks.saliency import line
from tests.support.real_pair import smollm2_pair_folders

FLOORS = (0.02, 0.05, 0.1)
_README = Path(__file__).parents[2] / "README.md"


def rows(reading: Reading, groups: list[list[int]]) -> Array:
    """Effects of some groups, nats, [groups, M]."""
    if not groups:
        return np.zeros((0, reading.answer_length))
    intact = read_intact(reading)
    parts = [
        intact.logprobs - occluded(reading, intact, batch, "mask")
        for batch in _batches(reading, groups, "mask")
    ]
    return torch.cat(parts).numpy()


def by_spans(reading: Reading, floor: float, size: int) -> tuple[Array, int]:
    """The matrix by spans, and how many of them were hidden."""
    n = reading.prompt_length
    spans = [list(range(first, min(first + size, n))) for first in range(0, n, size)]
    values = np.zeros((n, reading.answer_length))
    hidden = 0
    while spans:
        effects = rows(reading, spans)
        hidden += len(spans)
        split: list[list[int]] = []
        for span, effect in zip(spans, effects, strict=True):
            if len(span) > 1 and np.abs(effect).max() > floor:
                split += [span[: len(span) // 2], span[len(span) // 2 :]]
            else:
                values[span] = effect / len(span)
        spans = split
    return values, hidden


def screened(reading: Reading, coarse: Reading, floor: float) -> tuple[Array, int]:
    """The matrix with rows below the floor left as the coarse model has them."""
    singles = [[n] for n in range(reading.prompt_length)]
    values = np.asarray(rows(coarse, singles), dtype=np.float64)
    again = np.flatnonzero(np.abs(values).max(axis=1) > floor)
    values[again] = rows(reading, [singles[n] for n in again])
    return values, len(again)


def timed(work: Callable[[], tuple[Array, int]]) -> tuple[float, Array, int]:
    start = time.process_time()
    values, count = work()
    return time.process_time() - start, values, count


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tokens", type=int, default=256)
    parser.add_argument("--answer", type=int, default=16)
    options = parser.parse_args()
    torch.set_num_threads(1)
    base, _ = smollm2_pair_folders()
    tokenizer = AutoTokenizer.from_pretrained(base)
    model = AutoModelForCausalLM.from_pretrained(base, attn_implementation="eager").eval()
    prompt = tokenizer(_README.read_text(encoding="utf-8"))["input_ids"][: options.tokens]
    with torch.no_grad():
        ids = model.generate(
            torch.tensor([prompt]),
            max_new_tokens=options.answer,
            min_new_tokens=options.answer,
            do_sample=False,
        )[0].tolist()
    reading = Reading(model, ids, len(prompt))
    coarse = Reading(copy.deepcopy(model).bfloat16(), ids, len(prompt))
    n, m = reading.prompt_length, reading.answer_length
    line("way", "passes", "CPU s", "ratio", "missed")
    line(*["---"] * 5)
    singles = [[place] for place in range(n)]
    spent, exact, _ = timed(lambda: (rows(reading, singles), n))
    line(f"exact, {n} × {m}", n, f"{spent:.1f}", "1.00", "0 %")
    total = np.abs(exact).sum()

    def tell(name: str, found: tuple[float, Array, int]) -> None:
        taken, values, count = found
        missed = np.abs(values - exact).sum() / total
        line(name, count, f"{taken:.1f}", f"{spent / taken:.2f}", f"{missed:.1%}")

    tell("bfloat16 alone", timed(lambda: (np.asarray(rows(coarse, singles)), n)))
    for floor in FLOORS:
        tell(
            f"screen in bfloat16, floor {floor}",
            timed(lambda: screened(reading, coarse, floor)),  # noqa: B023 - called at once
        )
        for size in (4, 8):
            tell(
                f"spans of {size}, floor {floor}",
                timed(lambda: by_spans(reading, floor, size)),  # noqa: B023
            )


if __name__ == "__main__":
    main()
