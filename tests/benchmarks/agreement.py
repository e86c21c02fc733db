"""Agreement of every saliency method with exact occlusion, on eight prompts of the real pair.

``python -m tests.benchmarks.agreement`` reads SmolLM2-135M-Instruct's own greedy answers; the
mean over prompts is printed with its standard error, after each prompt.
"""

from __future__ import annotations

import argparse
import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import torch
from twinlens.compute.live.live import trace_pair
from twinlens.compute.pair import load_pair
from twinlens.contract.forms import Faithfulness
from twinlens.contract.words import EXACT

from tests.support.real_pair import smollm2_pair_folders

PROMPTS = (
    "Rewrite the sentence in plain words.\n\nInput: The committee concurred.",
    "Translate to French: The small dog sleeps in the garden.",
    "Name three animals that live in the sea and can sing.",
    "What is the capital of the country where pizza was invented?",
    "Write one sentence about winter that contains the word kettle.",
    "Is the review positive or negative? Review: I left after ten minutes.",
    "Put these words in alphabetical order: pear, apple, melon, fig.",
    "Give the opposite of each word: hot, early, strong.",
)
MEASURES = ("spearman", "pearson", "top1", "above_noise")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--prompts", type=int, default=len(PROMPTS))
    parser.add_argument("--tokens", type=int, default=16, help="tokens of each answer")
    parser.add_argument("--methods", nargs="*", help="all by default")
    options = parser.parse_args()
    torch.set_num_threads(1)
    pair = load_pair(*smollm2_pair_folders())
    found: dict[str, list[Faithfulness]] = {}
    for prompt in PROMPTS[: options.prompts]:
        trace = trace_pair(pair, prompt, template=True, max_new_tokens=options.tokens)
        m = trace.manifest
        print(f"\n{prompt!r}: {m.prompt_length} x {m.answer_length('base')} tokens", flush=True)
        for method in options.methods or [method.name for method in m.methods]:
            if method != EXACT:
                found.setdefault(method, []).append(trace.faithfulness("base", method))
                line(method, found[method])


def line(method: str, results: list[Faithfulness]) -> None:
    cells = []
    for measure in MEASURES:
        values = [getattr(result, measure) for result in results]
        known = np.array([value for value in values if value is not None])
        error = known.std(ddof=1) / np.sqrt(len(known)) if len(known) > 1 else np.nan
        cells.append(f"{known.mean():.2f} ± {error:.2f}" if len(known) else "")
    print(f"| {method} | {' | '.join(cells)} | {len(results)} |", flush=True)


if __name__ == "__main__":
    main()
