"""Every layer exchanged at one position: CPU seconds against the forward passes that it needs.

    python -m tests.benchmarks.patching                 # the shape of SmolLM2-135M, one thread
    python -m tests.benchmarks.patching --layers 10     # a quick look

Output, attention and feed-forward block of each layer are exchanged, each in a text of its own, and
nothing in front of the position or of the layer changes. Needed are passes of three texts, from the
position on, from each layer on, and the answer's logits; they are timed with the model alone,
alternating.
"""

from __future__ import annotations

import argparse
import os
from contextlib import ExitStack, nullcontext

os.environ.setdefault("OMP_NUM_THREADS", "1")

import torch
from twinlens.compute.exchange.alone import as_it_is, of_layers
from twinlens.compute.exchange.passes import Exchange
from twinlens.compute.passes.capture import capture
from twinlens.compute.passes.onward import onward
from twinlens.compute.passes.reading import Reading

from tests.benchmarks.occlusion import seconds
from tests.benchmarks.saliency import Bench, line

N, M = 64, 32


def exchange_at(base: Bench, tuned: Bench, answer_token: int) -> Exchange:
    """Base's parts into tuned where an answer token is predicted."""
    readings = {"base": base.reading(N, M), "tuned": tuned.reading(N, M)}
    ids = readings["base"].ids
    captures = [
        capture(bench.model, ids, N, side=side)
        for bench, side in ((base, "base"), (tuned, "tuned"))
    ]
    reading = Reading(tuned.model, ids, N)
    guard = nullcontext()
    return Exchange(
        reading, base.model, captures[0], guard, guard, captures[1], N + answer_token - 1
    )


def needed(exchange: Exchange) -> None:
    """The same passes by the model alone."""
    model, ending = exchange.model, exchange.ending
    ids = exchange.reading.read[:, ending.first :].expand(3, -1)
    kept = exchange.reading.positions
    kept = kept[kept >= ending.first] - ending.first
    for layer in range(exchange.layout.layers + 1):
        texts = ids if layer < exchange.layout.layers else ids[:1]
        residual = exchange.residual(layer)
        with torch.no_grad(), ExitStack() as stack:
            stack.enter_context(ending.reading_on(model))
            stack.enter_context(onward(model, layer, residual, exchange.own.returned))
            model(texts, use_cache=False, logits_to_keep=kept, **ending.placed(texts))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--layers", type=int, default=30)
    parser.add_argument("--runs", type=int, default=2, help="the fastest counts")
    options = parser.parse_args()
    base, tuned = Bench(options.layers), Bench(options.layers)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for weight in tuned.model.parameters():
            weight += 0.02 * torch.randn(weight.shape, generator=generator)
    line("answer token", "positions read", "exchanged, s", "needed, s", "ratio", "goal")
    line(*["---"] * 6)
    for answer_token in (0, M // 2, M - 1):
        exchange = exchange_at(base, tuned, answer_token)
        whole = as_it_is(exchange)
        _ = exchange.donor_logprobs
        times = [
            (seconds(lambda: of_layers(exchange, whole)), seconds(lambda: needed(exchange)))  # noqa: B023
            for _ in range(options.runs)
        ]
        ours, least = (min(column) for column in zip(*times, strict=True))
        line(
            str(answer_token),
            str(len(range(*exchange.read.indices(N + M)))),
            *(f"{value:.2f}" for value in (ours, least, ours / least)),
            "1.3",
        )


if __name__ == "__main__":
    main()
