"""A trace of any shape with made-up, reproducible numbers: for tests of files and views only."""

from __future__ import annotations

import zlib
from collections.abc import Iterable

import numpy as np
from twinlens.contract.forms import DeletionCurve
from twinlens.contract.manifest import Answer, Manifest, Method, ModelInfo, PairInfo, Token
from twinlens.contract.wire import Value
from twinlens.contract.words import EXACT, SIDES, Segment, Side
from twinlens.errors import UnknownBlockError
from twinlens.measures.faithfulness import faithfulness
from twinlens.support.progress import Report
from twinlens.traces.grouping import groups
from twinlens.traces.trace import Trace

from tests.support.synthetic_heads import head_block, head_keys

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
ENDS = ("positive", "negative")
WORDS = [
    "dog",
    "cat",
    "horse",
    "animal",
    "write",
    "compose",
    "draft",
    "author",
    "run",
    "execute",
    "launch",
    "start",
    "red",
    "blue",
    "green",
    "colour",
    "small",
    "large",
    "garden",
    "house",
    "river",
    "mountain",
    "sleep",
    "walk",
    "talk",
    "sing",
    "morning",
    "evening",
    "letter",
    "word",
    "sentence",
    "story",
    "list",
    "name",
    "France",
    "Paris",
    "Rome",
    "number",
    "plus",
    "minus",
    "equal",
]


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
                "Gradient × input (paper)",
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


class SyntheticTrace(Trace):
    """Every block of `twinlens.contract.blocks`, drawn from a generator seeded by its key."""

    def __init__(self, made: Manifest | None = None, *, labelled: bool = False) -> None:
        self.manifest = made or manifest()
        self.components = int(self.manifest.parameters["components"])
        self.labelled = labelled
        self.asked: list[str] = []

    def keys(self) -> Iterable[str]:
        m = self.manifest
        layers, heads = range(m.pair.layers), range(m.pair.heads)
        keys = [f"saliency/{side}/{method.name}" for method in m.methods for side in SIDES]
        keys += [f"faithfulness/{side}/{method.name}" for method in m.methods for side in SIDES]
        keys += [f"deletion/{side}/{method.name}" for method in m.methods for side in SIDES]
        keys += [f"groups/{unit}" for unit in ("word", "sentence", "segment")]
        keys += ["heads/change", "shift/attention", "shift/feed_forward", "shift/residual"]
        keys += ["disagreement"] if m.shared else []
        keys += ["components/change", *(f"components/{layer}" for layer in layers)]
        for side in SIDES:
            keys += [f"logprob/{side}", f"alternatives/{side}"]
            keys += [f"heads/{name}/{side}" for name in ("instruction", "sink", "received")]
            keys += [f"lens/{side}/{t}" for t in range(m.length(side))]
            keys += [f"activations/{side}/{layer}/components" for layer in layers]
            keys += [f"attention/{side}/{layer}/{head}" for layer in layers for head in heads]
            keys += [
                f"heads/write/{side}/{layer}/component:{k}"
                for layer in layers
                for k in range(min(3, self.components))
            ]
            keys += [f"activations/{side}/{layer}/neuron/{n}" for layer in layers for n in range(4)]
        keys += head_keys(self)
        keys += [f"neurons/{layer}/{t}" for layer in layers for t in range(m.length("tuned"))]
        keys += [f"neuron/{layer}/{n}" for layer in layers for n in range(4)]
        keys += [f"activations/tuned/{layer}/base_components" for layer in layers]
        keys += [f"neurons/effect/{side}/answer" for side in SIDES]
        keys += ["rotation"]
        return keys

    def block(self, key: str, report: Report | None = None) -> Value:
        self.asked.append(key)
        m = self.manifest
        parts = key.split("/")
        rng = np.random.default_rng(zlib.crc32(key.encode()))
        side: Side = "tuned" if "tuned" in parts else "base"
        n, length = m.prompt_length, m.length(side)
        layers, heads, common = m.pair.layers, m.pair.heads, m.common_length

        match parts:
            case ["saliency", _, method]:
                return (rng.normal(size=(n, length - n)) ** 3).astype(np.float32)
            case ["saliency", _, method, "so_far"]:
                return self.array(f"saliency/{side}/{method}")
            case ["faithfulness", _, method]:
                values, exact = (self.array(f"saliency/{side}/{name}") for name in (method, EXACT))
                scored = m.segment_positions("instruction", "context", "other")
                return faithfulness(values, exact, scored).to_json()
            case ["deletion", _, _]:
                most = np.sort(rng.exponential(size=11)).cumsum()
                least = np.sort(rng.beta(1, 3, size=11)) * most
                most[0] = least[0] = 0
                share = np.linspace(0, 1, 11)
                return DeletionCurve(share.tolist(), most.tolist(), least.tolist()).to_json()
            case ["groups", ("word" | "sentence" | "segment") as unit]:
                return [list(group) for group in groups(m.prompt_tokens, unit)]
            case ["saliency", _, method, column]:
                return np.asarray(self.array(f"saliency/{side}/{method}")[:, int(column)])
            case ["logprob", _]:
                return -rng.exponential(size=length - n).astype(np.float32)
            case ["disagreement"] if m.shared:
                return rng.exponential(size=length - n).astype(np.float32)
            case ["alternatives", _]:
                return [self._top(rng) for _ in range(length - n)]
            case ["attention", _, _, _]:
                scores = np.tril(rng.exponential(size=(length, length)) ** 2 + 1e-3)
                scores[:, 0] *= 8
                return (scores / scores.sum(axis=1, keepdims=True)).astype(np.float16)
            case ["heads", "change"]:
                return rng.beta(1, 6, size=(common, layers, heads)).astype(np.float16)
            case ["heads", "received", _]:
                return rng.beta(1, 12, size=(n, layers, heads)).astype(np.float16)
            case ["heads", ("instruction" | "sink"), _]:
                return rng.beta(1, 4, size=(length, layers, heads)).astype(np.float16)
            case ["heads", "write", *_]:
                return rng.normal(size=(length, layers, heads)).astype(np.float16)
            case ["shift", name]:
                depth = layers + (name == "residual")
                return rng.gamma(2, 0.1, size=(common, depth)).astype(np.float32)
            case ["lens", _, _]:
                return {
                    "target": str(rng.choice(WORDS)),
                    "layers": [
                        {
                            "logprob": float(-rng.exponential() * 3),
                            "rank": int(rng.integers(1, 500)),
                            "top": self._top(rng),
                        }
                        for _ in range(layers + 1)
                    ],
                }
            case ["components", "change"]:
                return rng.beta(1, 5, size=layers).astype(np.float32)
            case ["components", _]:
                return [self._component(rng, k) for k in range(self.components)]
            case ["components", _, "ends"]:
                return [
                    {s: {end: self._end(rng, end) for end in ENDS} for s in SIDES}
                    for _ in range(self.components)
                ]
            case ["concepts", "find", word]:
                return {"word": word, **{s: self._listed(word, s) for s in SIDES}}
            case ["rotation"]:
                return [self._turned(rng, layer) for layer in range(layers)]
            case ["activations", _, _, ("components" | "base_components")]:
                return rng.normal(size=(length, self.components)).astype(np.float16)
            case ["activations", _, _, "neuron", _]:
                return rng.normal(size=length).astype(np.float16)
            case ["neurons", "effect", _, _]:
                return (rng.normal(size=(layers, m.pair.intermediate)) ** 3 / 8).astype(np.float32)
            case ["neurons", layer, _]:
                return [
                    {
                        "layer": int(rng.integers(layers)) if layer == "all" else int(layer),
                        "neuron": k,
                        **{s: float(rng.normal()) for s in SIDES},
                    }
                    for k in range(4)
                ]
            case ["neuron", "ablation", _, layer, neuron, answer]:
                estimate = self.array(f"neurons/effect/{side}/{answer}")
                return estimate[int(layer), [int(neuron)]] * np.float32(0.9)
            case ["neuron", "change", _, _, _]:
                return self._use(rng)
            case ["neuron", _, _]:
                return {
                    **{
                        side: {
                            "norm": float(rng.gamma(2)),
                            "words": self._words(rng),
                            "normed": self._words(rng),
                        }
                        for side in SIDES
                    },
                    "cosine": float(rng.uniform(0.7, 1)),
                }
        if (value := head_block(self, parts, WORDS)) is not None:
            return value
        raise UnknownBlockError(f"{key} is not a block of this trace")

    def _words(self, rng: np.random.Generator) -> list[list[object]]:
        words = rng.permutation(WORDS)[:24]
        scores = np.sort(rng.uniform(0.1, 0.6, size=24))[::-1] * rng.choice([-1, 1], size=24)
        return [[str(word), float(score)] for word, score in zip(words, scores, strict=True)]

    def _top(self, rng: np.random.Generator) -> list[list[object]]:
        probabilities = np.sort(rng.dirichlet(np.ones(6)))[::-1][:5]
        words = rng.permutation(WORDS)[:5]
        return [[f" {word}", float(p)] for word, p in zip(words, probabilities, strict=True)]

    def _component(self, rng: np.random.Generator, k: int) -> dict[str, object]:
        cosine = float(rng.uniform(0.6, 1))
        entry: dict[str, object] = {
            "base": {"explained": 0.3 / (k + 1), "words": self._words(rng)},
            "tuned": {"index": k, "explained": 0.28 / (k + 1), "words": self._words(rng)},
            "cosine": cosine,
            "angle": float(np.degrees(np.arccos(cosine))),
        }
        if self.labelled:
            named = [None, "names of animals", "verbs of writing"][k % 3]
            entry |= {"name": named, "labels": ["writing", "semantics"] if named else []}
        return entry

    def _end(self, rng: np.random.Generator, end: str) -> list[list[object]]:
        sign = 1 if end == "positive" else -1
        return [[word, sign * abs(cosine)] for word, cosine in self._words(rng)]

    def _listed(self, word: str, side: Side) -> list[list[object]]:
        """Where the word stands among the words of the components: the largest cosines first."""
        found: list[list[object]] = []
        for layer in range(self.manifest.pair.layers):
            block = self.block(f"components/{layer}")
            for k, entry in enumerate(block):  # type: ignore[arg-type]
                own = entry[side].get("index", k)
                for rank, (said, cosine) in enumerate(entry[side]["words"], 1):
                    if said == word:
                        found.append([layer, own, cosine, rank])
        return sorted(found, key=lambda row: -abs(row[2]))[:20]  # type: ignore[arg-type]

    def _turned(self, rng: np.random.Generator, layer: int) -> dict[str, object]:
        return {
            "layer": layer,
            "k": self.components,
            "angle": float(rng.uniform(5, 30)),
            "null": 62.0,
            "null_low": 60.5,
            "null_high": 63.5,
            "inside": float(rng.uniform(0.5, 0.6)),
            "own": 0.61,
            "null_inside": 0.25,
            "weights": float(rng.uniform(0.05, 0.3)),
            "null_weights": 1.414,
            "added": self._words(rng)[:15],
        }

    def _use(self, rng: np.random.Generator) -> dict[str, object]:
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
