"""Exact occlusion: time against full passes, against its matrix products alone, and the limit.

    python -m tests.benchmarks.occlusion                     # the shape of SmolLM2-135M, one thread
    python -m tests.benchmarks.occlusion --layers 6 --rows 8 # a quick look

Three ways alternate batch by batch, in CPU seconds, and of each the sum over the batches is told:
the packed suffixes that the package reads; as many whole texts, with the attention of torch and
logits of the answer only; and nothing but the matrix products of the packed suffixes. A whole text
costs N + M - 1 positions, a suffix (N + M - 1) - n, and this is the limit of reusing what comes in
front; the unembedding of the answer, which both have, makes the limit by operations a little lower.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import torch
from torch.nn.functional import linear
from twinlens.compute.passes.answer_scores import logprobs_of
from twinlens.compute.passes.reading import Reading
from twinlens.compute.saliency.occlusion import _batches, occluded, read_intact

from tests.benchmarks.saliency import Bench, line

SIZES = ((64, 32), (192, 48), (512, 64))


def seconds(work: Callable[[], object]) -> float:
    start = time.process_time()
    work()
    return time.process_time() - start


def whole(reading: Reading, groups: list[list[int]]) -> torch.Tensor:
    """Log-probabilities by whole texts with a padding mask, as many at once as there are groups."""
    mask = torch.ones_like(reading.read).repeat(len(groups), 1)
    for row, group in enumerate(groups):
        mask[row, group] = 0
    with torch.no_grad():
        logits = reading.model(
            reading.read.expand(len(groups), -1),
            attention_mask=mask,
            use_cache=False,
            logits_to_keep=reading.positions,
        ).logits
    targets = reading.targets.repeat(len(groups))
    return logprobs_of(logits.flatten(0, 1), targets).view(len(groups), -1)


def products(bench: Bench, reading: Reading, groups: list[list[int]]) -> Callable[[], object]:
    """The matrix products that the suffixes of some groups take, and nothing else."""
    c = bench.model.config
    length = len(reading.ids) - 1
    suffixes = [length - group[0] - (group[0] < reading.prompt_length - 1) for group in groups]
    layer = bench.model.model.layers[0]
    attention, block = layer.self_attn, layer.mlp
    narrow = torch.randn(sum(suffixes), c.hidden_size)
    wide = torch.randn(sum(suffixes), c.intermediate_size)
    answers = torch.randn(len(groups) * reading.answer_length, c.hidden_size)
    shared = c.num_attention_heads // c.num_key_value_heads
    head = c.hidden_size // c.num_attention_heads
    queries = [torch.randn(c.num_key_value_heads, shared * size, head) for size in suffixes]
    keys = torch.randn(c.num_key_value_heads, length, head)

    def work() -> None:
        for _ in range(c.num_hidden_layers):
            for module in (attention.q_proj, attention.k_proj, attention.v_proj):
                linear(narrow, module.weight)
            for query in queries:
                torch.bmm(torch.bmm(query, keys.transpose(1, 2)), keys)
            linear(narrow, attention.o_proj.weight)
            linear(narrow, block.gate_proj.weight)
            linear(narrow, block.up_proj.weight)
            linear(wide, block.down_proj.weight)
        linear(answers, bench.model.lm_head.weight)

    return work


def limits(bench: Bench, reading: Reading, rows: list[int]) -> tuple[float, float]:
    """Of some rows: by positions, and by operations, with the unembedding, without attention."""
    length = len(reading.ids) - 1
    suffix = length - float(np.mean(rows))
    head = bench.head(reading.answer_length)
    operations = [bench.operations(positions, 0) + head for positions in (length, suffix)]
    return length / suffix, operations[0] / operations[1]


def compare(bench: Bench, n: int, m: int, count: int) -> None:
    reading = bench.reading(n, m)
    intact = read_intact(reading)
    batches = list(_batches(reading, [[place] for place in range(n)], "mask"))
    # Evenly over the prompt, where not all are read: suffixes get shorter one by one.
    some = max(1, round(count * len(batches) / n))
    chosen = [batches[(2 * step + 1) * len(batches) // (2 * some)] for step in range(some)]
    times: list[list[float]] = []
    error = 0.0
    for groups in chosen:
        alone = products(bench, reading, groups)
        ours, full = occluded(reading, intact, groups, "mask"), whole(reading, groups)
        if groups[-1][0] < n - 1:  # the padding mask hides the last token from itself, too
            error = max(error, float((ours - full).abs().max()))
        ways = (
            lambda: whole(reading, groups),  # noqa: B023 - called at once
            lambda: occluded(reading, intact, groups, "mask"),  # noqa: B023
            alone,
        )
        # The fastest of two: others may use the machine.
        tries = [[seconds(way) for way in ways] for _ in range(2)]
        times.append(np.min(tries, axis=0).tolist())
    full, ours, least = np.sum(times, axis=0)
    rows = [row for groups in chosen for group in groups for row in group]
    by_positions, by_operations = limits(bench, reading, rows)
    read = len(rows)
    line(
        f"{n} × {m}",
        f"{read} of {n}",
        f"{full / read:.3f}",
        f"{ours / read:.3f}",
        f"{full / ours:.2f}",
        f"{by_positions:.2f}",
        f"{full / ours / by_positions:.0%}",
        f"{full / ours / by_operations:.0%}",
        f"{ours / least:.2f}",
        f"{error:.0e}",
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--layers", type=int, default=30)
    parser.add_argument("--rows", type=int, default=16, help="prompt tokens that are timed, about")
    parser.add_argument("--sizes", type=int, nargs="*", default=range(len(SIZES)))
    options = parser.parse_args()
    bench = Bench(options.layers)
    line(
        *("N × M", "timed", "whole, s a row", "ours, s a row", "ratio", "limit", "share of it"),
        *("of that with the unembedding", "× its products", "largest error, nats"),
    )
    line(*["---"] * 10)
    for size in options.sizes:
        compare(bench, *SIZES[size], options.rows)


if __name__ == "__main__":
    main()
