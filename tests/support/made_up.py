"""A trace of any shape with made-up, reproducible numbers: for tests of files and views only."""

from __future__ import annotations

import math
import zlib
from collections.abc import Callable, Iterable
from types import UnionType
from typing import Any, TypeAlias, Union, get_args, get_origin, get_type_hints, is_typeddict

import numpy as np
from twinlens.contract import blocks, lookup
from twinlens.contract.block import Block
from twinlens.contract.blocks import BLOCKS
from twinlens.contract.forms import DeletionCurve
from twinlens.contract.manifest import Answer, Manifest, Method, ModelInfo, PairInfo, Token
from twinlens.contract.wire import Value
from twinlens.contract.words import (
    EXACT,
    SELECTION_DEFAULTS,
    SHIFT_CLASSES,
    SIDES,
    Segment,
    Side,
)
from twinlens.measures.differences import faithfulness
from twinlens.support.progress import Report
from twinlens.traces.marks import groups
from twinlens.traces.trace import Trace

from tests.support.made_up_heads import HEADS
from tests.support.made_up_words import WORDS

PROMPT: tuple[tuple[str, Segment], ...] = (
    ("<s>", "special"),
    ("### User:", "template"),
    (" Rewrite", "instruction"),
    (" this", "instruction"),
    (" sentence", "instruction"),
    (" in", "instruction"),
    (" capital", "instruction"),
    (" letters", "instruction"),
    (":", "instruction"),
    (" The", "context"),
    (" small", "context"),
    (" dog", "context"),
    (" sleeps", "context"),
    (".", "context"),
    ("\n", "template"),
    ("### Assistant:", "template"),
)
ANSWERS: dict[Side, tuple[str, ...]] = {
    "base": (" The", " small", " cat", "."),
    "tuned": (" THE", " SMALL", " DOG", " SLEEPS", "</s>"),
}
HOSTILE = (
    "<script>window.hacked=1</script>",
    "<img src=x onerror=window.hacked=1>",
    "👩‍💻",
    "שלום",
    "\\xf0\\x9f",
    "&amp;\u202e",
    "</script>",
)


def tokens(texts: Iterable[tuple[str, Segment]]) -> tuple[Token, ...]:
    """Tokens laid end to end."""
    result, start = [], 0
    for text, segment in texts:
        identifier = zlib.crc32(text.encode()) % 50000
        result.append(Token(identifier, text, start, start + len(text), segment))
        start += len(text)
    return tuple(result)


def manifest(
    layers: int = 4,
    heads: int = 8,
    *,
    prompt: Iterable[tuple[str, Segment]] = PROMPT,
    answers: dict[Side, tuple[str, ...]] | None = None,
    shared: bool = True,
    components: int = 6,
) -> Manifest:
    """A manifest of the wanted shape; with a shared answer both read the tuned one."""
    own = answers or ANSWERS
    prompt_tokens = tokens(prompt)

    def answer(side: Side) -> Answer:
        read = own["tuned"] if shared else own[side]
        return Answer(
            tokens=tokens((text, "special" if text == "</s>" else "other") for text in read),
            text="".join(read),
            own_text="".join(own[side]),
            stopped=side == "tuned",
        )

    return Manifest(
        pair=PairInfo(
            base=ModelInfo("tiny-base", "sha256:0123456789abcdef", "float32", 1000),
            tuned=ModelInfo("tiny-tuned", "sha256:fedcba9876543210", "float32", 1000),
            architecture="llama",
            layers=layers,
            heads=heads,
            kv_heads=heads,
            hidden=8 * heads,
            intermediate=64,
            vocabulary=50000,
            note="Made-up numbers: for tests only.",
        ),
        prompt="".join(token.text for token in prompt_tokens),
        prompt_tokens=prompt_tokens,
        answers={side: answer(side) for side in SIDES},
        response="tuned" if shared else "own",
        shared=shared,
        methods=(
            Method(
                "gradient_x_input",
                "Gradient × input",
                "First-order change of the answer token's probability.",
                "Wu et al. 2023, section 3",
                False,
                "M backward passes",
            ),
            Method(
                "occlusion",
                "Occlusion (exact)",
                "Drop of the answer token's log-probability in nats when the token is hidden.",
                "leave one out",
                True,
                "N forward passes",
            ),
        ),
        parameters={"components": components, "max_new_tokens": 16},
    )


class MadeUpTrace(Trace):
    """Every block of `twinlens.contract.blocks`, drawn from a generator seeded by its key.

    What `SPECIAL` has a maker for looks like the real thing; of any other block only type, shape
    or form are right.
    """

    computes = True

    def __init__(self, made: Manifest | None = None, *, labelled: bool = False) -> None:
        self.manifest = made or manifest()
        self.component_count = self.manifest.components
        self.labelled = labelled
        self.asked: list[str] = []

    def keys(self) -> Iterable[str]:
        return [key for made in BLOCKS.values() if made.recorded for key in self.some(made)]

    def some(self, made: Block[Any]) -> Iterable[str]:
        """All keys of a block, but of a few neurons and without exact effects of heads."""
        if made.shared and not self.manifest.shared:
            return []
        if made in (blocks.neuron_activations, blocks.neuron_words):
            return [key for key in made.every(self.manifest) if int(key.split("/")[-1]) < 4]
        if made is blocks.neuron_effect:
            return [made(side, None) for side in SIDES]
        if made in (blocks.exchanged, blocks.exchanged_heads):
            places = ((None, None), (self.manifest.prompt_length, 0))
            layer = (1,) if made is blocks.exchanged_heads else ()
            return [made(side, *of, *layer) for side in SIDES for of in places]
        if made is blocks.exchanged_neurons:
            return [made("tuned", None, None, layer) for layer in range(self.manifest.pair.layers)]
        if made is blocks.exchanged_neuron:
            return [made(side, None, None, 1, 5) for side in SIDES]
        return [] if made is blocks.head_ablation else made.every(self.manifest)

    def block(self, key: str, report: Report | None = None) -> Value:
        self.asked.append(key)
        asked = lookup.read(key, self.manifest)
        rng = np.random.default_rng(zlib.crc32(key.encode()))
        if asked.block in SPECIAL:
            value = SPECIAL[asked.block](self, rng, **asked.values)
            if isinstance(value, np.ndarray):
                shape = lookup.shape(asked, self.manifest)
                assert value.shape == shape, (key, value.shape, shape)
                return value.astype(asked.block.dtype)
            return value
        if asked.block.dtype:
            return rng.normal(size=lookup.shape(asked, self.manifest)).astype(asked.block.dtype)
        return made_of(asked.block.form, rng)

    def size(self, asked: str) -> tuple[int, ...]:
        """Shape of a block."""
        return lookup.shape(lookup.read(asked, self.manifest), self.manifest)


Rng: TypeAlias = np.random.Generator


def made_of(form: Any, rng: Rng) -> Any:
    """A value of a JSON form."""
    origin, inner = get_origin(form), get_args(form)
    if is_typeddict(form):
        return {name: made_of(hint, rng) for name, hint in get_type_hints(form).items()}
    if origin in (Union, UnionType):
        return made_of(inner[0], rng)
    if origin is list:
        return [made_of(inner[0], rng) for _ in range(3)]
    if origin is tuple:
        return [made_of(one, rng) for one in inner]
    if origin is dict:
        return {str(rng.choice(WORDS)): made_of(inner[1], rng)}
    if form is bool:
        return bool(rng.integers(2))
    return {str: str(rng.choice(WORDS)), int: int(rng.integers(9))}.get(form, float(rng.uniform()))


def words(rng: Rng) -> list[list[object]]:
    chosen = rng.permutation(WORDS)[:24]
    scores = np.sort(rng.uniform(0.1, 0.6, size=24))[::-1] * rng.choice([-1, 1], size=24)
    return [[str(word), float(score)] for word, score in zip(chosen, scores, strict=True)]


def likeliest(rng: Rng) -> list[list[object]]:
    probabilities = np.sort(rng.dirichlet(np.ones(6)))[::-1][:5]
    chosen = rng.permutation(WORDS)[:5]
    return [[f" {word}", float(p)] for word, p in zip(chosen, probabilities, strict=True)]


def _component(of: MadeUpTrace, rng: Rng, k: int) -> dict[str, object]:
    cosine = float(rng.uniform(0.6, 1))
    entry: dict[str, object] = {
        "base": {"explained": 0.3 / (k + 1), "words": words(rng)},
        "tuned": {"index": k, "explained": 0.28 / (k + 1), "words": words(rng)},
        "cosine": cosine,
        "angle": float(np.degrees(np.arccos(cosine))),
        "doubt": "",
    }
    if of.labelled:
        named = [None, "names of animals", "verbs of writing"][k % 3]
        entry |= {"name": named, "labels": ["writing", "semantics"] if named else []}
    return entry


def _end(rng: Rng, sign: int) -> list[list[object]]:
    return [[word, sign * abs(cosine)] for word, cosine in words(rng)]


def _ends(of: MadeUpTrace, rng: Rng, layer: int) -> Value:
    return [
        {s: {"positive": _end(rng, 1), "negative": _end(rng, -1)} for s in SIDES}
        for _ in range(of.component_count)
    ]


def _places(of: MadeUpTrace, word: str, side: Side) -> list[list[object]]:
    """Where the word stands among the words of the components: the largest cosines first."""
    places: list[list[object]] = []
    for layer in range(of.manifest.pair.layers):
        block = of.block(blocks.components(layer))
        for k, entry in enumerate(block):  # type: ignore[arg-type]
            own = entry[side].get("index", k)
            for rank, (said, cosine) in enumerate(entry[side]["words"], 1):
                if said == word:
                    places.append([layer, own, cosine, rank])
    return sorted(places, key=lambda row: -abs(row[2]))[:20]  # type: ignore[arg-type]


def _unit_effects(of: MadeUpTrace, rng: Rng, layer: int, token: int) -> Value:
    units = [f"component:{k}" for k in range(of.component_count)] + ["neuron:3", "neuron:5"]
    return [{"unit": unit, **{side: float(rng.normal()) for side in SIDES}} for unit in units]


def _rotation(of: MadeUpTrace, rng: Rng) -> Value:
    return [
        {
            "layer": layer,
            "k": of.component_count,
            "angle": float(rng.uniform(5, 30)),
            "null": 62.0,
            "null_low": 60.5,
            "null_high": 63.5,
            "inside": float(rng.uniform(0.5, 0.6)),
            "own": 0.61,
            "null_inside": 0.25,
            "weights": float(rng.uniform(0.05, 0.3)),
            "null_weights": 1.414,
            "added": words(rng)[:15],
        }
        for layer in range(of.manifest.pair.layers)
    ]


def _change(of: MadeUpTrace, rng: Rng, layer: int, neuron: int, token: int | None) -> Value:
    base, tuned = (float(x) for x in rng.normal(size=2))
    norms = rng.gamma(2, size=2)
    return {
        "moved": float(rng.gamma(2, 0.1)),
        "cosine": float(rng.uniform(0.7, 1)),
        "base": base,
        "tuned": tuned,
        "used": abs(tuned) - abs(base),
        "write": {"base": base * float(norms[0]), "tuned": tuned * float(norms[1])},
    }


def _prediction(rng: Rng, token: str) -> dict[str, object]:
    others = likeliest(rng)
    logprob = float(-rng.exponential())
    return {
        "logprob": logprob,
        "rank": int(rng.integers(1, 6)),
        "entropy": float(rng.exponential()),
        "expects": [[token, math.exp(logprob)], *others[:4]],
    }


def _steps(of: MadeUpTrace, rng: Rng) -> Value:
    return [
        {
            **{side: _prediction(rng, token.text) for side in SIDES},
            "kl": float(rng.exponential()),
            "kl_back": float(rng.exponential()),
            "shift": str(rng.choice(SHIFT_CLASSES)),
        }
        for token in of.manifest.answers["tuned"].tokens
    ]


def _segments(of: MadeUpTrace, rng: Rng) -> Value:
    length = of.manifest.answer_length("tuned")
    return [
        {
            "segment": segment,
            "answer": answer,
            **{s: rng.normal(size=length).tolist() for s in SIDES},
        }
        for segment in ("instruction", "context", "template")
        for answer in SIDES
    ]


def _template(of: MadeUpTrace, rng: Rng) -> Value:
    length = of.manifest.answer_length("tuned")
    base, tuned, base_plain, tuned_plain = -rng.exponential(size=(4, length))
    together = (tuned - base) - (tuned_plain - base_plain)
    effects = {"weights": tuned - base, "template": tuned - tuned_plain, "together": together}
    read = {"base": base, "tuned": tuned, "base_plain": base_plain, "tuned_plain": tuned_plain}
    return {
        "left_out": of.manifest.segment_positions("template"),
        **{name: values.tolist() for name, values in (read | effects).items()},
    }


def _lens_table(of: MadeUpTrace, rng: Rng, side: Side, unembedding: Side) -> Value:
    size = of.size(blocks.lens_table(side, unembedding))[:2]
    return np.stack([-rng.exponential(size=size) * 3, rng.integers(1, 3, size=size)], axis=-1)


def _carried(of: MadeUpTrace, rng: Rng, answer_token: int | None) -> Value:
    layers, heads = of.manifest.pair.layers, of.manifest.pair.heads
    chosen = [("feed_forward", 1, -1), ("head", layers - 1, heads - 1), ("head", 0, 1)]
    shares = np.sort(rng.uniform(0.2, 1, size=len(chosen)))
    parts = [
        {"kind": kind, "layer": layer, "head": head, "nats": 2.0 * share, "share": share}
        for (kind, layer, head), share in zip(chosen, shares.tolist(), strict=True)
    ]
    return {
        "shift": 10.0,
        "kl": 9.5,
        "goal": 0.8,
        "count": layers * (heads + 1) + 2,
        "blocks": parts[::-1],
        "weights": parts[::-1],
        "parts": [
            {**part, "together": 10 * share, "together_share": share}
            for part, share in zip(parts, shares.tolist(), strict=True)
        ],
        "random": rng.uniform(0, 0.2, size=10).tolist(),
    }


def _update(of: MadeUpTrace, rng: Rng) -> Value:
    counts = [0, 1, 8, 80]
    orders = ("effect", "size", "first order", "random")
    kept = {order: np.sort(rng.uniform(0.1, 0.9, size=2)).tolist() for order in orders}
    return {
        "shift": 10.0,
        "total": 10.02,
        "count": counts[-1],
        "goal": 0.9,
        "needed": 6,
        "kept": 0.91,
        "size": 0.4,
        "drawn": rng.uniform(0.1, 0.3, size=9).tolist(),
        "rest": 0.1,
        "answer": "DOG",
        "random": rng.normal(size=3).tolist(),
        "agreement": 0.9,
        "curves": [
            {"order": o, "counts": counts, "kept": [0.1, *k, 1.0], "needed": 6 + 10 * place}
            for place, (o, k) in enumerate(kept.items())
        ],
        "directions": [
            {
                "index": 7 * k,
                "layer": k % of.manifest.pair.layers,
                "direction": k,
                "kind": "o_proj" if k % 2 else "down_proj",
                "size": 2.0 - k / 4,
                "effect": 3.0 - k,
                "lost": 0.1 * k,
                "measured": 2.9 - k,
                "novelty": "new",
                "reads": [],
                "writes": [["dog", 0.5], ["cat", -0.4]],
                "heads": [[k % 2, 0.7]],
                "neurons": [[3 + k, 0.9]],
                "tokens": [[1, 2.0]],
            }
            for k in range(4)
        ],
        "dial": [[scale / 4, -10.0 + scale] for scale in range(9)],
        "dial_answers": [f"answer {scale}" for scale in range(9)],
    }


def _update_dial(of: MadeUpTrace, rng: Rng, part: str) -> Value:
    return {
        "dial": [[scale / 4, -4.0 + scale] for scale in range(9)],
        "dial_answers": [f"{part} {scale}" for scale in range(9)],
    }


def _findings(of: MadeUpTrace, rng: Rng) -> Value:
    def finding(kind: str, title: str, panel: str, **selection: int) -> dict[str, object]:
        text = [["token", "DOG"], ["", ": 9 nats in "], ["base", "base"], ["", "."]]
        return {
            "kind": kind,
            "title": title,
            "text": text,
            "checked": "measured",
            "panel": panel,
            "selection": {**SELECTION_DEFAULTS, **selection},
        }

    token = of.manifest.prompt_length + 2
    return [
        finding("copies", "Tuned copies.", "saliency", token=token),
        finding("carries", "Three parts carry it.", "carried", layer=1, head=2),
        finding("kept", "Concepts were kept.", "concepts"),
    ]


def _update_finding(of: MadeUpTrace, rng: Rng) -> Value:
    (first, *_) = _findings(of, rng)
    said = {"kind": "update", "title": "Six of 80 directions keep it.", "panel": "update"}
    return [{**first, **said, "selection": SELECTION_DEFAULTS}]


def _faithfulness(of: MadeUpTrace, rng: Rng, side: Side, method: str) -> Value:
    values, exact = (of.array(blocks.saliency(side, name)) for name in (method, EXACT))
    scored = of.manifest.segment_positions("instruction", "context", "other")
    return faithfulness(values, exact, scored).to_json()


def _deletion(of: MadeUpTrace, rng: Rng, side: Side, method: str) -> Value:
    most = np.sort(rng.exponential(size=11)).cumsum()
    least = np.sort(rng.beta(1, 3, size=11)) * most
    most[0] = least[0] = 0
    share = np.linspace(0, 1, 11)
    return DeletionCurve(share.tolist(), most.tolist(), least.tolist()).to_json()


def _attention(of: MadeUpTrace, rng: Rng, side: Side, layer: int, head: int) -> Value:
    length = of.manifest.length(side)
    scores = np.tril(rng.exponential(size=(length, length)) ** 2 + 1e-3)
    scores[:, 0] *= 8
    return scores / scores.sum(axis=1, keepdims=True)


def _lens(of: MadeUpTrace, rng: Rng, side: Side, token: int) -> Value:
    return {
        "target": str(rng.choice(WORDS)),
        "layers": [
            {
                "logprob": float(-rng.exponential() * 3),
                "rank": int(rng.integers(1, 500)),
                "top": likeliest(rng),
            }
            for _ in range(of.manifest.pair.layers + 1)
        ],
    }


def _neurons(of: MadeUpTrace, rng: Rng, layer: int | None, token: int | None) -> Value:
    return [
        {
            "layer": int(rng.integers(of.manifest.pair.layers)) if layer is None else layer,
            "neuron": k,
            **{s: float(rng.normal()) for s in SIDES},
        }
        for k in range(4)
    ]


def _neuron(of: MadeUpTrace, rng: Rng, layer: int, neuron: int) -> Value:
    sides = {
        s: {"norm": float(rng.gamma(2)), "words": words(rng), "normed": words(rng)} for s in SIDES
    }
    return {**sides, "cosine": float(rng.uniform(0.7, 1))}


#: Makers of values that look like the real thing: trace, generator, parameters of the key.
SPECIAL: dict[Block[Any], Callable[..., Any]] = {
    blocks.findings: _findings,
    blocks.answer_steps: _steps,
    blocks.hidden_segments: _segments,
    blocks.template: _template,
    blocks.carried: _carried,
    blocks.update: _update,
    blocks.update_dial: _update_dial,
    blocks.update_finding: _update_finding,
    blocks.saliency: lambda of, rng, side, method: (
        rng.normal(size=of.size(blocks.saliency(side, method))) ** 3
    ),
    blocks.saliency_so_far: lambda of, rng, side, method: of.array(blocks.saliency(side, method)),
    blocks.saliency_column: lambda of, rng, side, method, answer_token: of.array(
        blocks.saliency(side, method)
    )[:, answer_token],
    blocks.faithfulness: _faithfulness,
    blocks.deletion: _deletion,
    blocks.groups: lambda of, rng, grouping: [
        list(group) for group in groups(of.manifest.prompt_tokens, grouping)
    ],
    blocks.logprob: lambda of, rng, side: -rng.exponential(size=of.manifest.answer_length(side)),
    blocks.disagreement: lambda of, rng: rng.exponential(size=of.manifest.answer_length("tuned")),
    blocks.alternatives: lambda of, rng, side: [
        likeliest(rng) for _ in range(of.manifest.answer_length(side))
    ],
    blocks.unit_effects: _unit_effects,
    blocks.unit_estimates: _unit_effects,
    blocks.attention: _attention,
    **{
        shift: lambda of, rng, shift=shift: rng.gamma(2, 0.1, size=of.size(shift()))
        for shift in blocks.SHIFTS.values()
    },
    blocks.lens: _lens,
    blocks.lens_table: _lens_table,
    blocks.component_change: lambda of, rng: rng.beta(1, 5, size=of.manifest.pair.layers),
    blocks.components: lambda of, rng, layer: [
        _component(of, rng, k) for k in range(of.component_count)
    ],
    blocks.component_ends: _ends,
    blocks.concept_find: lambda of, rng, word: {
        "word": word,
        **{s: _places(of, word, s) for s in SIDES},
    },
    blocks.rotation: _rotation,
    blocks.neuron_effect: lambda of, rng, side, answer_token: (
        rng.normal(size=(of.manifest.pair.layers, of.manifest.pair.intermediate)) ** 3 / 8
    ),
    blocks.neurons: _neurons,
    blocks.neuron_ablation: lambda of, rng, side, layer, neuron, answer_token: (
        of.array(blocks.neuron_effect(side, answer_token))[layer, [neuron]] * np.float32(0.9)
    ),
    blocks.neuron_change: _change,
    blocks.neuron_words: _neuron,
    **HEADS,
}
