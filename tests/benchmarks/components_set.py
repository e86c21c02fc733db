"""The smallest set that carries 80 % of the difference of the 135M pair: CPU seconds.

    python -m tests.benchmarks.components_set            # as it is trained, and far apart
    python -m tests.benchmarks.components_set --far      # only far apart

Far apart is a copy of the base model with noise on every weight, by which the answers differ by
more than 2 nats a token: many parts are then needed. The goal is 60 seconds on two cores.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator
from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer
from twinlens.compute.live.live import LiveTrace, trace_pair
from twinlens.compute.pair import load_pair
from twinlens.contract import blocks

from tests.support.real_pair import smollm2_pair_folders

PROMPT = "Rewrite the sentence in plain words.\n\nInput: The committee concurred.\n\nOutput:"
#: Noise on every weight, by its standard deviation.
NOISE = 0.15
GOAL = 60.0


def traces(only_far: bool) -> Iterator[tuple[str, LiveTrace]]:
    base, tuned = smollm2_pair_folders()
    options: dict[str, Any] = {"response": "shared", "max_new_tokens": 12}
    if not only_far:
        yield "trained", trace_pair(load_pair(base, tuned), PROMPT, **options)
    tokenizer = AutoTokenizer.from_pretrained(base)
    models = [
        AutoModelForCausalLM.from_pretrained(base, attn_implementation="eager") for _ in range(2)
    ]
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for weight in models[1].parameters():
            noise = torch.randn(weight.shape, generator=generator)
            weight += NOISE * float(weight.std(correction=0)) * noise
    yield "far apart", trace_pair(load_pair(*models, tokenizer=tokenizer), PROMPT, **options)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--far", action="store_true")
    options = parser.parse_args()
    print("| pair | KL, nats a token | parts | share | CPU s | wall s | goal |")
    print("|" + " --- |" * 7)
    for name, trace in traces(options.far):
        start, wall = time.process_time(), time.perf_counter()
        found = trace.block(blocks.carried(None))
        spent, waited = time.process_time() - start, time.perf_counter() - wall
        share = found["parts"][-1]["together_share"] if found["parts"] else 0.0
        print(
            f"| {name} | {found['kl'] / trace.manifest.answer_length('tuned'):.2f} | "
            f"{len(found['parts'])} | {share:.2f} | {spent:.1f} | {waited:.1f} | < {GOAL:.0f} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
