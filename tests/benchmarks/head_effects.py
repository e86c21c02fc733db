"""Estimated against exact effects of heads: rank agreement and time.

    python -m tests.benchmarks.head_effects             # the embedded pair, its prepared prompts
    python -m tests.benchmarks.head_effects --smollm2   # SmolLM2-135M, three prompts

Every head is set to zero once, so this takes as many forward passes as there are heads. Times are
CPU seconds; use one thread (OMP_NUM_THREADS=1).
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator

import numpy as np
from scipy.stats import spearmanr
from twinlens.commands.main import demo_prompts
from twinlens.compute.live.live import LiveTrace, trace_pair
from twinlens.compute.pair import demo_pair, load_pair
from twinlens.contract.wire import Array
from twinlens.contract.words import ABLATIONS, SIDES, TOP_HEADS

from tests.support.real_pair import smollm2_pair_folders

PROMPTS = (
    "Rewrite the sentence in plain words.\n\nInput: The committee concurred.\n\nOutput:",
    "Write the capital city of each country.\nFrance: Paris\nItaly:",
    "Q: Name three animals that live in the sea.\nA:",
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--smollm2", action="store_true")
    parser.add_argument("--kind", choices=ABLATIONS, default="zero")
    parser.add_argument("--tokens", type=int, default=8, help="longest answer")
    parser.add_argument("--prompts", type=int, default=3)
    options = parser.parse_args()
    print("prompt side   heads  rank  by token  top 20  |effect|  left over  estimate s  exact s")
    for number, trace in enumerate(_traces(options)):
        for side in SIDES:
            print(f"{number:6} {side:6} {_compare(trace, side, options.kind)}", flush=True)


def _traces(options: argparse.Namespace) -> Iterator[LiveTrace]:
    if options.smollm2:
        pair = load_pair(*smollm2_pair_folders())
        for prompt in PROMPTS[: options.prompts]:
            yield trace_pair(pair, prompt, response="shared", max_new_tokens=options.tokens)
        return
    pair = demo_pair()
    for ready in demo_prompts()[: options.prompts]:
        yield trace_pair(
            pair,
            ready["prompt"],
            template=True,
            response="shared",
            max_new_tokens=options.tokens,
        )


def _compare(trace: LiveTrace, side: str, kind: str) -> str:
    effects, sizes = trace.head_room.effects, trace.pair.sizes
    heads = [(layer, head) for layer in range(sizes.layers) for head in range(sizes.heads)]
    start = time.process_time()
    estimate = effects.gates.heads(side)
    middle = time.process_time()
    exact = effects.exact(side, kind, heads)
    end = time.process_time()
    tokens = [
        _rank(effects.gates.heads(side, m), effects.so_far(side, kind, m))
        for m in range(trace.manifest.answer_length(side))
    ]
    strongest = [set(np.argsort(-np.abs(of), axis=None)[:TOP_HEADS]) for of in (estimate, exact)]
    return (
        f"{len(heads):6} {_rank(estimate, exact):5.2f} {np.nanmean(tokens):9.2f} "
        f"{len(strongest[0] & strongest[1]):7} {np.abs(exact).mean():9.4f} "
        f"{np.abs(exact - estimate).mean():10.4f} {middle - start:11.2f} {end - middle:8.2f}"
    )


def _rank(first: Array, second: Array) -> float:
    return float(spearmanr(first, second, axis=None).statistic)


if __name__ == "__main__":
    main()
