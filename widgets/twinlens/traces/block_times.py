"""How long blocks take beside each other, for a forecast before their kind was seen."""

from __future__ import annotations

from collections.abc import Callable

from twinlens.support.progress import words_of
from twinlens.traces.trace import Trace

#: CPU seconds of a block of a pair of 135 million parameters, 64 and 32 tokens, by the words of its
#: key; of those that only small pairs record by default, a small pair's in this proportion.
_SECONDS = {
    "findings": 7.4,
    "saliency": 0.2,
    "saliency/occlusion": 11.8,
    "deletion": 0.4,
    "segments": 1.9,
    "carried": 2.2,
    "exchanged": 0.05,
    "exchanged_neurons": 0.5,
    "heads/effect": 0.02,
    "heads/effect/answer": 0.75,
    "heads/ablation": 0.02,
    "heads/ablation/zero/answer": 0.26,
    "heads/ablation/mean/answer": 0.26,
    "heads/ablation/other/answer": 0.26,
    "heads/circuits": 0.7,
    "attention": 0.0004,
    "rotation": 0.3,
    "lens": 0.0005,
    "lens_table": 0.7,
    "components/change": 0.5,
    "units": 0.3,
    "neuron": 0.004,
    "activations": 0.00025,
}
#: Layers of that pair.
_LAYERS = 30


def usual_seconds(trace: Trace) -> Callable[[str], float]:
    """What each block of a trace that computes it takes; 0 where that is next to nothing."""
    depth = trace.manifest.pair.layers / _LAYERS

    def seconds(key: str) -> float:
        if not trace.computes or trace.known(key) is not None:
            return 0.0
        words = words_of(key)
        names = ("/".join(words[:end]) for end in range(len(words), 0, -1))
        return depth * next((_SECONDS[name] for name in names if name in _SECONDS), 0.0)

    return seconds
