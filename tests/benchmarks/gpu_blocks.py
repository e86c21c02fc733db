"""Every kind of block on a GPU: the same numbers as on the CPU, and what it takes at real sizes.

    python -m tests.benchmarks.gpu_blocks --out results             # an H100 or H200: minutes
    python -m tests.benchmarks.gpu_blocks --device cpu --tiny       # the same on tiny shapes

First the embedded pair on both: some keys of every kind of block, their largest difference as a
share of the largest number of the block. Then a pair of random weights of 8B in bfloat16 on the GPU
alone: seconds of the first key of every kind. ``gpu_blocks.json`` is written after every block.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import twinlens
from twinlens.compute.live.live import LiveTrace, trace_pair
from twinlens.compute.pair import load_pair
from twinlens.contract import lookup
from twinlens.contract.blocks import BLOCKS
from twinlens.contract.words import SIDES
from twinlens.errors import TwinlensError
from twinlens.traces.trace import Value

from tests.benchmarks.gpu import SHAPES, TINY, model_of

DEMO = Path(twinlens.__file__).parent / "demo"
PROMPT = "Write the words in capital letters. the old dog sleeps"
INSTRUCTION = "Write the words in capital letters."


def keys_of(trace: LiveTrace, most: int) -> dict[str, list[str]]:
    """Some keys of every kind of block and of every method, evenly spread."""
    keys: dict[str, list[str]] = {}
    for key in trace.every_key():
        block, given = lookup.find(key) or (None, {})
        assert block is not None, key
        keys.setdefault(" ".join([block.pattern, given.get("method", "")]).strip(), []).append(key)
    return {name: some[:: max(1, len(some) // most)][:most] for name, some in keys.items()}


def numbers(value: Any) -> Iterator[float]:
    """All numbers of a block, in order; words are left out."""
    if isinstance(value, np.ndarray):
        yield from np.nan_to_num(value.astype(np.float64)).ravel().tolist()
    elif isinstance(value, dict):
        for part in value.values():
            yield from numbers(part)
    elif isinstance(value, list | tuple):
        for part in value:
            yield from numbers(part)
    elif isinstance(value, int | float) and not isinstance(value, bool):
        yield float(value)


def apart(one: Value, other: Value) -> float:
    """Largest difference of two blocks, as a share of the largest number; inf for other forms."""
    mine, others = np.array(list(numbers(one))), np.array(list(numbers(other)))
    if mine.shape != others.shape:
        return float("inf")
    scale = max(np.abs(mine).max(initial=0.0), 1e-9)
    return float(np.abs(mine - others).max(initial=0.0) / scale)


def asked(trace: LiveTrace, key: str) -> tuple[Value | None, str, float]:
    """A block, or why there is none, and seconds."""
    start = time.perf_counter()
    try:
        value, problem = trace.block(key), ""
    except TwinlensError as error:
        value, problem = None, f"{type(error).__name__}: {error}"
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return value, problem, time.perf_counter() - start


def same_numbers(device: str, most: int, dtype: str = "float32") -> dict[str, Any]:
    """Blocks of the embedded pair, on the CPU and on the device."""
    folders = [DEMO / side for side in SIDES]
    here, there = (load_pair(*folders, device=place, dtype=dtype) for place in ("cpu", device))
    traces = [
        trace_pair(pair, PROMPT, instruction=INSTRUCTION, response="tuned", max_new_tokens=24)
        for pair in (here, there)
    ]
    report: dict[str, Any] = {}
    for name, keys in keys_of(traces[0], most).items():
        row: dict[str, Any] = {"keys": len(keys), "apart": 0.0, "problems": []}
        for key in keys:
            (value, problem, _), (other, problem_there, _) = (asked(t, key) for t in traces)
            if problem != problem_there:
                row["problems"].append([key, problem, problem_there])
            elif value is not None and other is not None:
                distance = apart(value, other)
                if distance > row["apart"]:
                    row |= {"apart": distance, "at": key}
        report[name] = row
    return report


def at_size(shape: dict[str, Any], device: str, write: Any) -> dict[str, Any]:
    """Seconds of one key of every kind of block of a pair of random weights."""
    base = model_of(shape, device)
    tuned = model_of(shape, device)
    generator = torch.Generator(device).manual_seed(1)
    with torch.no_grad():
        for weight in tuned.parameters():
            noise = torch.randn(
                weight.shape, generator=generator, device=device, dtype=weight.dtype
            )
            weight.add_(noise, alpha=1e-3)
    start = time.perf_counter()
    pair = load_pair(base, tuned, tokenizer=DEMO / "base")
    trace = trace_pair(
        pair, PROMPT, instruction=INSTRUCTION, answer=" THE OLD DOG SLEEPS", response="tuned"
    )
    report: dict[str, Any] = {"opened": time.perf_counter() - start}
    for name, (key, *_) in keys_of(trace, 1).items():
        _, problem, seconds = asked(trace, key)
        report[name] = {"key": key, "seconds": seconds, "problem": problem}
        write(report)
    return report


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--tiny", action="store_true", help="tiny shapes")
    parser.add_argument("--keys", type=int, default=6, help="of every kind of block")
    parser.add_argument("--out", type=Path, default=Path())
    options = parser.parse_args(arguments)
    options.out.mkdir(parents=True, exist_ok=True)
    report: dict[str, Any] = {"kinds of blocks": len(BLOCKS)}

    def write(**parts: Any) -> None:
        report.update(parts)
        (options.out / "gpu_blocks.json").write_text(json.dumps(report, indent=1))

    write(same=same_numbers(options.device, options.keys))
    shape = TINY | {"vocab_size": 3323} if options.tiny else SHAPES["8B"]
    at_size(shape, options.device, lambda rows: write(at_size=rows))
    for name, row in sorted(report["same"].items(), key=lambda entry: -entry[1]["apart"]):
        print(f"{row['apart']:.1e} {name} {row.get('at', '')} {row['problems'] or ''}")
    for name, row in report["at_size"].items():
        if name != "opened":
            print(f"{row['seconds']:.2f} s {row['key']} {row['problem']}")


if __name__ == "__main__":
    main()
