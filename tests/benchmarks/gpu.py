"""Exact occlusion on a GPU: packed suffixes against one by one and against whole texts.

    python -m tests.benchmarks.gpu --out results          # an H100 or H200: a few minutes
    python -m tests.benchmarks.gpu --device cpu --tiny    # the same on tiny shapes

Random weights of two shapes: 135M in float32 and 8B in bfloat16, made on the device. Wall seconds
of the whole matrix, of the first run and of the fastest after it; one by one and whole texts are
timed on some rows, evenly spread, and scaled up. Whole texts are read by the model's own attention,
with as many positions at once as the suffixes have. ``gpu.json`` and ``gpu.md`` are written after
every size.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from torch.profiler import ProfilerActivity, profile
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedModel
from twinlens.compute.passes.reading import Reading
from twinlens.compute.saliency import occlusion
from twinlens.compute.saliency.occlusion import intact_and_occluded, occluded, read_intact

from tests.benchmarks.occlusion import whole

SHAPES: dict[str, dict[str, Any]] = {
    "135M": {
        "hidden_size": 576,
        "intermediate_size": 1536,
        "num_hidden_layers": 30,
        "num_attention_heads": 9,
        "num_key_value_heads": 3,
        "vocab_size": 49_152,
        "dtype": torch.float32,
    },
    "8B": {
        "hidden_size": 4096,
        "intermediate_size": 14_336,
        "num_hidden_layers": 32,
        "num_attention_heads": 32,
        "num_key_value_heads": 8,
        "vocab_size": 128_256,
        "dtype": torch.bfloat16,
    },
}
TINY: dict[str, Any] = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "vocab_size": 100,
}
SIZES, TINY_SIZES = ((64, 32), (512, 64)), ((8, 4), (12, 3))
#: Rows timed of the ways that are scaled up.
ROWS = 64


def model_of(shape: dict[str, Any], device: str) -> PreTrainedModel:
    """Random weights, made where they are used."""
    torch.manual_seed(0)
    before = torch.get_default_dtype()
    torch.set_default_dtype(shape.get("dtype", torch.float32))
    config = LlamaConfig(
        **{name: value for name, value in shape.items() if name != "dtype"},
        max_position_embeddings=2048,
    )
    try:
        with torch.device(device):
            return LlamaForCausalLM(config).eval().requires_grad_(False)
    finally:
        torch.set_default_dtype(before)


def wall(device: str, work: Callable[[], Any], runs: int, until: float) -> tuple[list[float], Any]:
    """Seconds of each run, and the result; after the second there is none once time is over."""
    taken: list[float] = []
    result = None
    # In the first, kernels are chosen and memory is taken.
    while len(taken) <= runs and (len(taken) < 2 or time.monotonic() < until):
        _wait(device)
        start = time.perf_counter()
        result = work()
        _wait(device)
        taken.append(time.perf_counter() - start)
    return taken, result


def heaviest(device: str, work: Callable[[], Any]) -> dict[str, float]:
    """Kernels that take most of the time of one run, and their share."""
    place = ProfilerActivity.CPU if device == "cpu" else ProfilerActivity.CUDA
    with profile(activities=[place]) as seen:
        work()
        _wait(device)
    spent: dict[str, float] = {}
    for event in seen.key_averages():
        own = event.self_cpu_time_total if device == "cpu" else event.self_device_time_total
        spent[event.key[:90]] = spent.get(event.key[:90], 0.0) + own
    largest = sorted(spent, key=lambda name: -spent[name])[:12]
    return {name: round(spent[name] / max(1e-9, sum(spent.values())), 4) for name in largest}


def _wait(device: str) -> None:
    if device != "cpu":
        torch.cuda.synchronize()


def operations(model: PreTrainedModel, positions: int, answers: int) -> float:
    """Of the matrix products outside attention."""
    head = model.get_output_embeddings().weight.numel()
    inner = sum(parameter.numel() for parameter in model.model.layers.parameters())
    return 2.0 * (inner * positions + head * answers)


def measure(
    model: PreTrainedModel, n: int, m: int, device: str, runs: int, until: float
) -> dict[str, Any]:
    """One row of the table."""
    ids = np.random.default_rng(0).integers(model.config.vocab_size, size=n + m).tolist()
    reading = Reading(model, ids, n)
    length = n + m - 1
    singles = [[place] for place in range(n)]
    batches = list(occlusion._batches(reading, singles, "mask"))
    # Not the last token: the padding mask hides it from itself, too.
    rows = [[int(place)] for place in np.linspace(0, n - 2, min(ROWS, n - 1))]
    most, positions = occlusion._ON_CPU if device == "cpu" else occlusion._ELSEWHERE
    size = max(1, min(most, positions // length, max(map(len, batches))))
    groups = [rows[first : first + size] for first in range(0, len(rows), size)]
    memory: dict[str, float] = {}

    def packed() -> torch.Tensor:
        intact, first = intact_and_occluded(reading, batches[0], "mask")
        rest = [occluded(reading, intact, batch, "mask") for batch in batches[1:]]
        return torch.cat([first, *rest])

    def one_by_one() -> torch.Tensor:
        intact = read_intact(reading)
        return torch.cat([occluded(reading, intact, [row], "mask") for row in rows])

    def whole_texts() -> torch.Tensor:
        return torch.cat([whole(reading, batch) for batch in groups])

    ways: list[tuple[str, Callable[[], torch.Tensor], float]] = [
        ("packed", packed, 1.0),
        ("one by one", one_by_one, n / len(rows)),
        ("whole texts", whole_texts, n / len(rows)),
    ]
    seconds, first, spread, results = {}, {}, {}, {}
    for name, way, scale in ways:
        if device != "cpu":
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats()
            before = torch.cuda.memory_allocated()
        taken, results[name] = wall(device, way, runs, until)
        first[name], seconds[name] = taken[0] * scale, min(taken[1:]) * scale
        spread[name] = max(taken[1:]) / min(taken[1:])
        if device != "cpu":
            memory[name] = (torch.cuda.max_memory_allocated() - before) / 2**20
    found = results["packed"][[place for (place,) in rows]]
    # The text itself once, and what is read of it again: a hidden token is not, but for the last.
    suffixes = length + sum(length - place - 1 for place in range(n)) + 1
    work = operations(model, suffixes, (n + 1) * m)
    return {
        "tokens": [n, m],
        "seconds": seconds,
        "seconds of the first run": first,
        "slowest by fastest run": spread,
        "passes": len(batches),
        "against whole texts": seconds["whole texts"] / seconds["packed"],
        "against one by one": seconds["one by one"] / seconds["packed"],
        "limit by positions": n * length / suffixes,
        "limit by operations": operations(model, n * length, n * m) / work,
        "operations a second": work / seconds["packed"],
        "peak MiB above the weights": memory,
        "largest difference to whole texts, nats": float(
            (found - results["whole texts"]).abs().max()
        ),
        "largest difference to one by one, nats": float(
            (found - results["one by one"]).abs().max()
        ),
        "share of the time of packed, by kernel": heaviest(device, packed),
    }


def table(results: list[dict[str, Any]]) -> str:
    """Markdown of all results."""
    lines = [
        "| shape | N × M | passes | packed, s | first run, s | × whole texts | limit | × one by one"
        " | 10¹² operations a second | peak MiB beside the weights: packed, one by one, whole texts"
        " | largest difference, nats |",
        "|" + " --- |" * 11,
    ]
    for row in results:
        n, m = row["tokens"]
        if "error" in row:
            lines.append(f"| {row['shape']} | {n} × {m} | {row['error']} |" + " |" * 8)
            continue
        memory = row["peak MiB above the weights"]
        ways = ("packed", "one by one", "whole texts")
        peaks = ", ".join(f"{memory[way]:.0f}" for way in ways if way in memory)
        lines.append(
            f"| {row['shape']} | {n} × {m} | {row['passes']} | {row['seconds']['packed']:.3f} | "
            f"{row['seconds of the first run']['packed']:.2f} | "
            f"{row['against whole texts']:.2f} | {row['limit by operations']:.2f} | "
            f"{row['against one by one']:.2f} | {row['operations a second'] / 1e12:.1f} | "
            f"{peaks} | {row['largest difference to whole texts, nats']:.0e} |"
        )
    return "\n".join(lines) + "\n"


def main(arguments: Sequence[str] | None = None) -> None:
    started = time.monotonic()
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--tiny", action="store_true", help="tiny shapes and texts")
    parser.add_argument("--runs", type=int, default=5, help="the fastest counts")
    parser.add_argument(
        "--budget",
        type=float,
        default=420,
        metavar="SECONDS",
        help="no further run is begun, and no further size, once it is spent",
    )
    parser.add_argument("--out", type=Path, default=Path())
    options = parser.parse_args(arguments)
    until = started + options.budget
    name = "cpu" if options.device == "cpu" else torch.cuda.get_device_name(options.device)
    results: list[dict[str, Any]] = []
    left_out: list[str] = []

    def write() -> None:
        options.out.mkdir(parents=True, exist_ok=True)
        report = {
            "device": name,
            "torch": torch.__version__,
            "transformers": transformers.__version__,
            "results": results,
            "left out, for time": left_out,
        }
        (options.out / "gpu.json").write_text(json.dumps(report, indent=1, ensure_ascii=False))
        lines = [f"{name}, torch {torch.__version__}", "", table(results)]
        lines += [f"Left out, for time: {', '.join(left_out)}.\n"] if left_out else []
        (options.out / "gpu.md").write_text("\n".join(lines))

    for shape, described in {"tiny": TINY}.items() if options.tiny else SHAPES.items():
        model = None
        for n, m in TINY_SIZES if options.tiny else SIZES:
            # The first is measured in any case.
            if results and time.monotonic() >= until:
                left_out.append(f"{shape} {n} × {m}")
                continue
            row: dict[str, Any] = {"shape": shape, "tokens": [n, m]}
            begun = time.monotonic()
            try:
                if model is None:
                    model = model_of(described, options.device)
                    print(f"{shape}: made in {time.monotonic() - begun:.1f} s", flush=True)
                row |= measure(model, n, m, options.device, options.runs, until)
            except torch.OutOfMemoryError as error:
                row["error"] = str(error).splitlines()[0]
            results.append(row)
            print(
                f"{json.dumps(row, ensure_ascii=False)}\n{time.monotonic() - started:.0f} s so far",
                flush=True,
            )
            write()
        del model
    write()
    print((options.out / "gpu.md").read_text())


if __name__ == "__main__":
    main()
