"""Exact occlusion on a GPU: packed suffixes against one by one and against whole texts.

    python -m tests.benchmarks.gpu --out results          # an H100 or H200: under ten minutes
    python -m tests.benchmarks.gpu --device cpu --tiny    # the same on tiny shapes

Random weights of two shapes: 135M in float32 and 8B in bfloat16. Wall seconds of the whole matrix;
one by one and whole texts are timed on some rows, evenly spread, and scaled up. Writes
``gpu.json`` and ``gpu.md``.
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
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedModel
from twinlens.compute.passes.reading import Reading
from twinlens.compute.saliency import occlusion
from twinlens.compute.saliency.occlusion import occluded, read_intact

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
#: Rows timed of the ways that are scaled up, and whole texts read at once.
ROWS, AT_ONCE = 16, 16


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


def wall(device: str, work: Callable[[], Any], runs: int) -> tuple[float, Any]:
    """Seconds of the fastest run, and its result."""
    best, result = float("inf"), None
    for _ in range(runs):
        _wait(device)
        start = time.perf_counter()
        result = work()
        _wait(device)
        best = min(best, time.perf_counter() - start)
    return best, result


def _wait(device: str) -> None:
    if device != "cpu":
        torch.cuda.synchronize()


def measure(model: PreTrainedModel, n: int, m: int, device: str, runs: int) -> dict[str, Any]:
    """One row of the table."""
    ids = np.random.default_rng(0).integers(model.config.vocab_size, size=n + m).tolist()
    reading = Reading(model, ids, n)
    singles = [[place] for place in range(n)]
    # Not the last token: the padding mask hides it from itself, too.
    rows = [[int(place)] for place in np.linspace(0, n - 2, min(ROWS, n - 1))]
    groups = [rows[first : first + AT_ONCE] for first in range(0, len(rows), AT_ONCE)]
    memory: dict[str, float] = {}

    def packed() -> torch.Tensor:
        intact = read_intact(reading)
        batches = occlusion._batches(reading, singles, "mask")
        return torch.cat([occluded(reading, intact, batch, "mask") for batch in batches])

    def one_by_one() -> torch.Tensor:
        intact = read_intact(reading)
        return torch.cat([occluded(reading, intact, [row], "mask") for row in rows])

    def whole_texts() -> torch.Tensor:
        return torch.cat([whole(reading, batch) for batch in groups])

    seconds, results = {}, {}
    for name, way, scale in (
        ("packed", packed, 1.0),
        ("one by one", one_by_one, n / len(rows)),
        ("whole texts", whole_texts, n / len(rows)),
    ):
        if device != "cpu":
            torch.cuda.reset_peak_memory_stats()
            before = torch.cuda.memory_allocated()
        taken, results[name] = wall(device, way, runs)
        seconds[name] = taken * scale
        if device != "cpu":
            memory[name] = (torch.cuda.max_memory_allocated() - before) / 2**20
    found = results["packed"][[place for (place,) in rows]]
    length = n + m - 1
    return {
        "tokens": [n, m],
        "seconds": seconds,
        "against whole texts": seconds["whole texts"] / seconds["packed"],
        "against one by one": seconds["one by one"] / seconds["packed"],
        "limit by positions": length / (length - (n - 1) / 2),
        "peak MiB above the weights": memory,
        "largest difference to whole texts, nats": float(
            (found - results["whole texts"]).abs().max()
        ),
    }


def table(results: list[dict[str, Any]]) -> str:
    """Markdown of all results."""
    lines = [
        "| shape | N × M | packed, s | × whole texts | × one by one | limit | peak MiB | largest "
        "difference, nats |",
        "|" + " --- |" * 8,
    ]
    for row in results:
        n, m = row["tokens"]
        peak = row["peak MiB above the weights"].get("packed")
        lines.append(
            f"| {row['shape']} | {n} × {m} | {row['seconds']['packed']:.3f} | "
            f"{row['against whole texts']:.2f} | {row['against one by one']:.2f} | "
            f"{row['limit by positions']:.2f} | {'' if peak is None else f'{peak:.0f}'} | "
            f"{row['largest difference to whole texts, nats']:.0e} |"
        )
    return "\n".join(lines) + "\n"


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--tiny", action="store_true", help="tiny shapes and texts")
    parser.add_argument("--runs", type=int, default=3, help="the fastest counts")
    parser.add_argument("--out", type=Path, default=Path())
    options = parser.parse_args(arguments)
    name = "cpu" if options.device == "cpu" else torch.cuda.get_device_name(options.device)
    results: list[dict[str, Any]] = []
    for shape, described in {"tiny": TINY}.items() if options.tiny else SHAPES.items():
        model = model_of(described, options.device)
        for n, m in TINY_SIZES if options.tiny else SIZES:
            row = {"shape": shape, **measure(model, n, m, options.device, options.runs)}
            results.append(row)
            print(json.dumps(row), flush=True)
            # Whatever comes, what was measured is kept.
            options.out.mkdir(parents=True, exist_ok=True)
            report = {"device": name, "torch": torch.__version__, "results": results}
            (options.out / "gpu.json").write_text(json.dumps(report, indent=1))
            (options.out / "gpu.md").write_text(f"{name}\n\n{table(results)}")
        del model
    print(table(results))


if __name__ == "__main__":
    main()
