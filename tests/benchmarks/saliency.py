"""Cost of saliency against the published way, as ratios of CPU time in one run.

``python -m tests.benchmarks.saliency`` prints the table for a random model of the shape of
SmolLM2-135M on one thread; ``--layers 6`` is a quick look, ``--device cuda`` measures wall
time of a 7B shape. How far methods agree with the exact effect is `tests.benchmarks.agreement`.

The published way: parameters tracked, softmax over all positions, one backward pass with
retained graph per answer token, gradients zeroed each time. Its passes cost the same each, so a few
are timed and scaled up.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import psutil
import torch
from transformers import LlamaConfig, LlamaForCausalLM
from twinlens.compute.passes.folding import Texts
from twinlens.compute.passes.reading import Reading
from twinlens.compute.saliency import gradients
from twinlens.compute.saliency.methods import METHODS
from twinlens.compute.saliency.registry import complete
from twinlens.contract.wire import Array

TIMED = 4
_135M: dict[str, Any] = {
    "hidden_size": 576,
    "intermediate_size": 1536,
    "num_attention_heads": 9,
    "num_key_value_heads": 3,
    "vocab_size": 49152,
}
_7B: dict[str, Any] = {
    "hidden_size": 4096,
    "intermediate_size": 11008,
    "num_attention_heads": 32,
    "num_key_value_heads": 32,
    "vocab_size": 32000,
}


class Bench:
    """One model and one clock."""

    def __init__(self, layers: int, device: str = "cpu") -> None:
        torch.set_num_threads(1)
        torch.manual_seed(0)
        self.device = device
        shape = _135M if device == "cpu" else _7B
        config = LlamaConfig(
            **shape,
            num_hidden_layers=layers,
            max_position_embeddings=2048,
            tie_word_embeddings=device == "cpu",
        )
        dtype = torch.float32 if device == "cpu" else torch.bfloat16
        with torch.device(device):
            torch.set_default_dtype(dtype)
            self.model = LlamaForCausalLM(config).eval().requires_grad_(False)
            torch.set_default_dtype(torch.float32)

    def reading(self, n: int, m: int) -> Reading:
        ids = np.random.default_rng(0).integers(self.model.config.vocab_size, size=n + m)
        return Reading(self.model, ids.tolist(), n)

    def timed(self, work: Callable[[], Any]) -> tuple[float, Any]:
        """CPU seconds, wall seconds on an accelerator."""
        if self.device == "cpu":
            start = time.process_time()
            result = work()
            return time.process_time() - start, result
        torch.cuda.synchronize()
        start = time.perf_counter()
        result = work()
        torch.cuda.synchronize()
        return time.perf_counter() - start, result

    def published(
        self, n: int, m: int, count: int = TIMED, *, zeroed: bool = True
    ) -> tuple[float, Array]:
        """Seconds for all M columns, and the columns that were timed, shape [N, count].

        Gradients are `zeroed` each time, or dropped, which is the default since torch 2.0.
        """
        model, reading = self.model, self.reading(n, m)
        ids, count = reading.read, min(count, m)
        model.set_attn_implementation("eager")
        model.requires_grad_(True)
        embedded = model.get_input_embeddings()(ids).detach().requires_grad_()

        def forward() -> torch.Tensor:
            logits = model(inputs_embeds=embedded, use_cache=False).logits
            return logits.softmax(dim=-1)[0, range(n - 1, n + m - 1), reading.targets]

        def backward(chosen: torch.Tensor) -> Array:
            columns = []
            for probability in chosen[:count]:
                model.zero_grad(set_to_none=not zeroed)
                embedded.grad = None
                probability.backward(retain_graph=True)
                effect = (embedded.grad * embedded)[0, :n].sum(dim=-1)
                columns.append(effect.detach().float().cpu().numpy())
            return np.stack(columns, axis=1)

        try:
            once, chosen = self.timed(forward)
            each, columns = self.timed(lambda: backward(chosen))
        finally:
            model.zero_grad(set_to_none=True)
            model.requires_grad_(False)
            model.set_attn_implementation("sdpa")
        return once + each / count * m, columns

    def table(self, name: str, n: int, m: int) -> tuple[float, Array]:
        values = np.full((n, m), np.nan, dtype=np.float32)
        reading = self.reading(n, m)
        seconds, _ = self.timed(
            lambda: complete(
                METHODS[name], reading, values, range(m), side="base", guard=nullcontext()
            )
        )
        return seconds, values

    def forwards(self, n: int, m: int, count: int, *, everywhere: bool) -> tuple[float, Array]:
        """Independent forward passes for occlusion: seconds for all N, and `count` rows."""
        model, reading = self.model, self.reading(n, m)
        # Not the last token: this mask hides it from itself, too, which changes what it predicts.
        rows = np.linspace(0, n - 2, min(count, n - 1)).astype(int).tolist()
        places = {} if everywhere else {"logits_to_keep": reading.positions}

        def answer(row: int | None) -> torch.Tensor:
            mask = torch.ones_like(reading.read)
            if row is not None:
                mask[0, row] = 0
            logits = model(reading.read, attention_mask=mask, use_cache=False, **places).logits
            scores = logits[0, -m:].float().log_softmax(dim=-1)
            return scores[range(m), reading.targets]

        with torch.no_grad():
            intact = answer(None)
            seconds, drops = self.timed(lambda: torch.stack([intact - answer(r) for r in rows]))
        result = np.full((n, m), np.nan)
        result[rows] = drops.cpu().numpy()
        return seconds / len(rows) * n, result

    def operations(self, positions: float, keys: float) -> float:
        """Floating-point operations of the layers for so many positions, attention included."""
        c = self.model.config
        inner = c.hidden_size * c.num_key_value_heads // c.num_attention_heads
        weights = 2 * c.hidden_size * (c.hidden_size + inner) + 3 * c.hidden_size * (
            c.intermediate_size
        )
        per_layer = 2 * weights * positions + 4 * c.hidden_size * positions * keys
        return float(per_layer * c.num_hidden_layers)

    def head(self, positions: float) -> float:
        c = self.model.config
        return float(2 * c.hidden_size * c.vocab_size * positions)

    def matrix_rate(self) -> float:
        """Operations a second of plain matrix products, the best of several sizes."""
        rates = []
        dtype = self.model.dtype
        for rows, inner, columns in ((1024, 1024, 1024), (256, 576, 1536), (3840, 576, 1536)):
            a = torch.randn(rows, inner, device=self.device, dtype=dtype)
            b = torch.randn(inner, columns, device=self.device, dtype=dtype)
            for _ in range(5):
                seconds, _ = self.timed(lambda a=a, b=b: [a @ b for _ in range(5)])
                rates.append(5 * 2 * rows * inner * columns / seconds)
        return max(rates)


def line(*cells: object) -> None:
    print("| " + " | ".join(str(cell) for cell in cells) + " |", flush=True)


def speed(bench: Bench) -> None:
    rate = bench.matrix_rate()
    unit = "CPU s" if bench.device == "cpu" else "s"
    print(f"matrix products: {rate / 1e9:.1f} GFLOP/s")
    print("errors: gradients relative to the largest value, occlusion in nats\n")
    line(
        "what",
        f"before {unit}",
        f"ours {unit}",
        "ratio",
        "asked",
        "largest error",
        "floor",
        "of it",
    )
    line(*["---"] * 8)
    for n, m, asked in ((48, 192, 8), (64, 32, 3)):
        before, columns = bench.published(n, m)
        dropped, _ = bench.published(n, m, zeroed=False)
        after, values = bench.table("gradient_x_input", n, m)
        error = np.abs(values[:, : columns.shape[1]] - columns).max() / np.abs(columns).max()
        length = n + m - 1
        texts = Texts.together([bench.reading(n, m)])
        rows = gradients.rows_are_cheaper(texts, np.ones((n, m), bool))
        if rows:
            work = bench.operations(sum(length - i for i in range(n)), length)
        else:
            work = bench.operations(m * length, length)
        work += bench.operations(length, length) + 3 * bench.head(m)
        floor = work / rate
        mode = "forward mode" if rows else "reverse mode"
        report(f"gradient × input, {n} × {m}, {mode}", before, after, asked, error, floor)
        report("the same, gradients dropped instead of zeroed", dropped, after, asked, error, floor)
    for n, m in ((64, 32), (192, 32)):
        after, values = bench.table("occlusion", n, m)
        ideal = (n + m) / (n / 2 + m)
        length = n + m - 1
        work = bench.operations(sum(length - i for i in range(n)), length) + n * bench.head(m)
        for everywhere in (True, False):
            before, rows = bench.forwards(n, m, TIMED, everywhere=everywhere)
            done = np.isfinite(rows)
            error = np.abs(values - rows)[done].max()  # in nats
            where = "all positions" if everywhere else "the answer only"
            name = f"occlusion, {n} × {m}, against logits at {where}"
            report(name, before, after, 0.85 * ideal, error, work / rate)


def report(
    name: str, before: float, after: float, asked: float, error: float | None, floor: float
) -> None:
    line(
        name,
        f"{before:.1f}",
        f"{after:.2f}",
        f"{before / after:.2f}",
        f"≥ {asked:.2f}",
        "" if error is None else f"{error:.0e}",
        f"{floor:.2f} s",
        f"{floor / after:.0%}",
    )


def measure_memory(layers: int, what: str, n: int, m: int) -> None:
    """Print the peak resident memory above the loaded model, in MiB."""
    bench = Bench(layers)
    bench.table("occlusion", 4, 2)  # whatever is loaded late
    process = psutil.Process()
    before = process.memory_info().rss
    with open("/proc/self/clear_refs", "w") as stream:
        stream.write("5")  # sets the peak back
    if what == "published":
        bench.published(n, m, 2)
    else:
        bench.table(what, n, m)
    with open("/proc/self/status") as stream:
        peak = next(int(row.split()[1]) * 1024 for row in stream if row.startswith("VmHWM"))
    print((peak - before) / 2**20)


def memory(layers: int) -> None:
    line("peak memory above the model, MiB", "published", "ours", "share", "asked")
    line(*["---"] * 5)
    for n, m in ((64, 32), (48, 192)):
        peaks = []
        for what in ("published", "gradient_x_input"):
            arguments = ["--layers", str(layers), "--measure", what, str(n), str(m)]
            output = subprocess.run(
                [sys.executable, "-m", "tests.benchmarks.saliency", *arguments],
                check=True,
                capture_output=True,
                text=True,
            ).stdout
            peaks.append(float(output.split()[-1]))
        line(
            f"{n} × {m}", *(f"{peak:.0f}" for peak in peaks), f"{peaks[1] / peaks[0]:.2f}", "< 0.33"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--layers", type=int, default=30)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--measure", nargs=3, metavar=("WHAT", "N", "M"))
    parser.add_argument("--only", choices=("speed", "memory"))
    options = parser.parse_args()
    if options.measure:
        what, n, m = options.measure
        measure_memory(options.layers, what, int(n), int(m))
    else:
        if options.only != "memory":
            speed(Bench(options.layers, options.device))
        if options.only != "speed" and options.device == "cpu":
            print()
            memory(options.layers)


if __name__ == "__main__":
    main()
