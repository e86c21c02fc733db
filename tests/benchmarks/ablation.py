"""Passes that begin in the middle: ablation of all heads, and layers handed over, at 135M.

    python -m tests.benchmarks.ablation                # every fifth layer, one thread
    python -m tests.benchmarks.ablation --every 1      # all of them

CPU seconds, alternating layer by layer with whole passes from the first layer on: one text for
each head, and as many texts at once as there are heads. A pass needs the layers from its own on
and the unembedding; what it takes beyond that is told for the residual stream handed over.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import torch
from torch import Tensor
from twinlens.compute.heads.effects import without_heads
from twinlens.compute.live.handover import continued
from twinlens.compute.models import architectures
from twinlens.compute.passes.capture import capture
from twinlens.compute.passes.reading import Reading

from tests.benchmarks.occlusion import seconds
from tests.benchmarks.saliency import Bench, line


def whole(reading: Reading, layer: int, heads: list[int]) -> Tensor:
    """Own hook, from the first layer on, [heads, M]: a text for each head that is silent."""
    out = architectures.attention_out(reading.model, layer)

    def silent(_: Any, given: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        outputs = given[0].unflatten(-1, (reading.model.config.num_attention_heads, -1)).clone()
        for row, head in enumerate(heads):
            outputs[row, :, head] = 0
        return (outputs.flatten(-2), *given[1:])

    handle = out.register_forward_pre_hook(silent)
    with torch.no_grad():
        logits = reading.model(
            reading.read.expand(len(heads), -1), use_cache=False, logits_to_keep=reading.positions
        ).logits
    handle.remove()
    index = reading.targets.expand(len(heads), -1)[..., None]
    return logits.log_softmax(dim=-1).gather(-1, index)[..., 0]


def fastest(ways: list[Callable[[], object]], tries: int = 2) -> list[float]:
    """Alternating, since others may use the machine."""
    return np.min([[seconds(way) for way in ways] for _ in range(tries)], axis=0).tolist()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--every", type=int, default=5)
    parser.add_argument("--tokens", type=int, nargs=2, default=(64, 32), metavar=("N", "M"))
    options = parser.parse_args()
    bench = Bench(30)
    bench.model.set_attn_implementation("eager")  # as a pair is loaded
    reading = bench.reading(*options.tokens)
    kept = capture(bench.model, reading.ids, reading.prompt_length, side="base")
    config = bench.model.config
    heads, depth = list(range(config.num_attention_heads)), config.num_hidden_layers
    none = [torch.zeros(1)] * len(heads)
    places = list(range(options.every // 2, depth, options.every))
    times, error = [], 0.0
    for layer in places:
        ours, full = without_heads(reading, kept, layer, heads, none), whole(reading, layer, heads)
        error = max(error, float((ours - full).abs().max()))
        residual = kept.residual[layer, :-1]
        ways = [
            lambda: without_heads(reading, kept, layer, heads, none),  # noqa: B023 - called at once
            lambda: [whole(reading, layer, [head]) for head in heads],  # noqa: B023
            lambda: whole(reading, layer, heads),  # noqa: B023
            lambda: continued(reading, residual, layer, kept.returned),  # noqa: B023
        ]
        times.append(fastest(ways))
    ours, alone, together, onward = np.sum(times, axis=0)
    head = bench.head(reading.answer_length)
    length = len(reading.ids) - 1
    layers = bench.operations(length, length)
    needed = np.mean([(layers * (depth - at) / depth + head) / (layers + head) for at in places])
    line("what", "CPU s a layer", "against whole passes", "asked")
    line(*["---"] * 4)
    each = len(places)
    line("heads of a layer", f"{ours / each:.2f}", f"{alone / ours:.2f} one by one", "≥ 2")
    line("", "", f"{together / ours:.2f} as many at once", "")
    line(
        "residual stream handed over",
        f"{onward / each:.2f}",
        f"{alone / len(heads) / onward:.2f}; {onward / (alone / len(heads) * needed):.2f} of what "
        "it needs",
        "≤ 1.3",
    )
    print(f"\nlargest difference {error:.0e} nats; layers {places}")


if __name__ == "__main__":
    main()
