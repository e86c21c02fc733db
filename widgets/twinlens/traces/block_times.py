"""How long blocks take beside each other, for a forecast before their kind was seen."""

from __future__ import annotations

from collections.abc import Callable

from twinlens.contract import blocks
from twinlens.contract.words import SIDES
from twinlens.support.progress import words_of
from twinlens.traces.trace import Trace

#: CPU seconds of a block of a pair of 135 million parameters, 64 and 32 tokens, by the words of its
#: key; of those that only small pairs record by default, a small pair's in this proportion.
_SECONDS = {
    "findings": 6.2,
    "saliency": 0.2,
    "saliency/occlusion": 11.8,
    "deletion": 0.4,
    "segments": 1.0,
    "carried": 1.6,
    "carried/answer": 37.0,
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
#: Layers, parameters and tokens of that trace.
_LAYERS, _PARAMETERS, _TOKENS = 30, 134_515_008, 96
#: What findings say takes these, too, where the models are so many nats apart that there is much to
#: say; what is asked for by itself afterwards is then there.
_FOUND_BY, _APART = ("saliency/occlusion", "saliency/occlusion", "carried/answer"), 0.2


def usual_seconds(trace: Trace) -> Callable[[str], float]:
    """What each block of a trace that computes it takes; 0 where that is next to nothing."""
    m = trace.manifest
    size = max(m.pair.layers / _LAYERS, m.pair.base.parameters / _PARAMETERS)
    length = max(0.5, max(m.length(side) for side in SIDES) / _TOKENS)
    asks = trace.computes and m.shared and trace.known(blocks.findings()) is None
    much = asks and _nats_apart(trace) > _APART

    def named(key: str) -> str:
        words = words_of(key)
        names = ("/".join(words[:end]) for end in range(len(words), 0, -1))
        return next((name for name in names if name in _SECONDS), "")

    def seconds(key: str) -> float:
        if not trace.computes or trace.known(key) is not None:
            return 0.0
        name = named(key)
        taken = _SECONDS.get(name, 0.0)
        if much and name == "findings":
            taken += sum(map(_SECONDS.__getitem__, _FOUND_BY))
        elif much and name in _FOUND_BY:
            taken = 0.0
        return size * length * taken

    return seconds


def _nats_apart(trace: Trace) -> float:
    """KL(tuned || base) of the answer."""
    return float(trace.array(blocks.disagreement()).sum())
