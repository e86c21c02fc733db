"""Edits of a known place: does what carries the difference name it, and is nothing said of nulls?

    python -m tests.benchmarks.planted --results FILE               # the embedded model
    python -m tests.benchmarks.planted --results FILE --smollm2     # SmolLM2-135M
    python -m tests.benchmarks.planted --results FILE --selves 1000 --only-selves

The model is compared with a copy that was edited at one place (a head zeroed, flipped or rewired;
a block scaled, noised or given a rank-one update; neurons; a word's embedding, tied or not; the
unembedding; a norm), trained at one place, edited at two, or not changed in any way that could be
learned. What was found is kept in a file; `planted.md` has the last run with every failure.
"""

from __future__ import annotations

import argparse
import copy
import itertools
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import torch
from peft import LoraConfig, get_peft_model
from torch import Tensor
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel
from twinlens.commands.main import demo_prompts
from twinlens.compute.live.live import LiveTrace, trace_pair
from twinlens.compute.models import architectures
from twinlens.compute.pair import load_pair
from twinlens.contract import blocks
from twinlens.errors import TwinlensError
from twinlens.measures.chance import changed_places, distinguishable, p_value, same

from tests.support.real_pair import smollm2_pair_folders

#: Nats of KL(edited || model) over the answer below which an edit changes nothing.
CHANGES = 0.05
#: Prompts an edit is tried on, until one's answer changes.
PROMPTS_TRIED = 4
#: Kinds of comparisons with itself: noise on all weights, from and to which power of ten of their
#: standard deviation. The smaller hardly moves predictions; the larger does, to a broken model.
SELVES = (("self", -4, -1), ("far self", -1.3, -0.3))
PROMPTS = (
    "Rewrite the sentence in plain words.\n\nInput: The committee concurred.\n\nOutput:",
    "Write the capital city of each country.\nFrance: Paris\nItaly:",
    "Q: Name three animals that live in the sea.\nA:",
)

#: Kind, layer and head of a part; -1 where it has none.
Where = tuple[str, int, int]
Edit = Callable[[PreTrainedModel, torch.Generator], None]


@dataclass(frozen=True)
class Planted:
    """An edit: its name, the blocks it is in, and the head where it is one."""

    name: str
    edit: Edit
    blocks: tuple[Where, ...]
    head: Where | None = None


def _normal(like: Tensor, generator: torch.Generator) -> Tensor:
    return torch.randn(like.shape, generator=generator, dtype=like.dtype)


def head_edits(layer: int, head: int, heads: int) -> Iterator[Planted]:
    """A head zeroed, flipped, or writing what its neighbour should."""
    where = ("head", layer, head)

    def changed(change: Callable[[Tensor, int], None]) -> Edit:
        def edit(model: PreTrainedModel, _: torch.Generator) -> None:
            weight = architectures.attention_out(model, layer).weight
            change(weight, weight.shape[1] // heads)

        return edit

    def zero(weight: Tensor, size: int) -> None:
        weight[:, head * size : (head + 1) * size] = 0

    def flip(weight: Tensor, size: int) -> None:
        weight[:, head * size : (head + 1) * size] *= -2

    def rewire(weight: Tensor, size: int) -> None:
        other = (head + 1) % heads
        weight[:, head * size : (head + 1) * size] = weight[
            :, other * size : (other + 1) * size
        ].clone()

    for name, change in (("zeroed", zero), ("flipped", flip), ("rewired", rewire)):
        block = ("attention", layer, -1)
        yield Planted(f"head {layer}.{head} {name}", changed(change), (block,), where)


def block_edits(kind: str, layer: int) -> Iterator[Planted]:
    """A block scaled, noised, or given a rank-one update; the norm in front of it scaled."""

    def module(model: PreTrainedModel) -> torch.nn.Module:
        if kind == "attention":
            return architectures.attention_out(model, layer)
        return architectures.feed_forward_out(model, layer)

    def scale(model: PreTrainedModel, _: torch.Generator) -> None:
        module(model).weight *= 2.0

    def noise(model: PreTrainedModel, generator: torch.Generator) -> None:
        weight = module(model).weight
        weight += _normal(weight, generator) * weight.std()

    def rank_one(model: PreTrainedModel, generator: torch.Generator) -> None:
        weight = module(model).weight
        left, right = (_normal(weight[:, 0], generator), _normal(weight[0], generator))
        update = left[:, None] * right[None, :]
        weight += update * (weight.norm() / update.norm())

    def norm(model: PreTrainedModel, generator: torch.Generator) -> None:
        name = "input_layernorm" if kind == "attention" else "post_attention_layernorm"
        weight = getattr(architectures.layers(model)[layer], name).weight
        weight *= 1 + 0.5 * _normal(weight, generator)

    for name, edit in (
        ("scaled", scale),
        ("noised", noise),
        ("rank one", rank_one),
        ("norm", norm),
    ):
        yield Planted(f"{kind} {layer} {name}", edit, ((kind, layer, -1),))


def neuron_edit(layer: int) -> Planted:
    """The four neurons of longest value vectors, flipped."""

    def edit(model: PreTrainedModel, _: torch.Generator) -> None:
        weight = architectures.feed_forward_out(model, layer).weight
        weight[:, weight.norm(dim=0).topk(4).indices] *= -2

    return Planted(f"neurons of {layer} flipped", edit, (("feed_forward", layer, -1),))


def vocabulary_edits(ids: list[int]) -> Iterator[Planted]:
    """The embedding of some tokens of the prompt, the unembedding, the norm in front of it."""

    def untie(model: PreTrainedModel) -> None:
        model.lm_head.weight = torch.nn.Parameter(model.lm_head.weight.detach().clone())
        model.config.tie_word_embeddings = False

    def embedding(token: int, tied: bool) -> Edit:
        def edit(model: PreTrainedModel, generator: torch.Generator) -> None:
            if not tied:
                untie(model)
            weight = model.get_input_embeddings().weight
            weight[token] += _normal(weight[token], generator) * weight.std() * 2

        return edit

    def unembedding(model: PreTrainedModel, generator: torch.Generator) -> None:
        untie(model)
        model.lm_head.weight += (
            _normal(model.lm_head.weight, generator) * model.lm_head.weight.std()
        )

    def norm(model: PreTrainedModel, generator: torch.Generator) -> None:
        weight = architectures.final_norm(model).weight
        weight *= 1 + 0.5 * _normal(weight, generator)

    for token, tied in itertools.product(ids, (True, False)):
        name = f"embedding of {token}{', tied' * tied}"
        yield Planted(name, embedding(token, tied), (("embedding", -1, -1),))
    yield Planted("unembedding noised", unembedding, (("unembedding", -1, -1),))
    yield Planted("final norm scaled", norm, (("unembedding", -1, -1),))


def trained(kind: str, layer: int, way: str, texts: list[list[int]]) -> Planted:
    """One place trained for fifty steps on other prompts: a LoRA, all weights, or the norm."""

    def weights(model: PreTrainedModel) -> Iterator[torch.nn.Parameter]:
        block = architectures.layers(model)[layer]
        if way == "norm":
            name = "input_layernorm" if kind == "attention" else "post_attention_layernorm"
            return iter([getattr(block, name).weight])
        return (block.self_attn if kind == "attention" else block.mlp).parameters()

    def edit(model: PreTrainedModel, _: torch.Generator) -> None:
        if way == "LoRA":
            names = ["q_proj", "k_proj", "v_proj", "o_proj"]
            names = names if kind == "attention" else ["gate_proj", "up_proj", "down_proj"]
            config = LoraConfig(
                r=4, lora_alpha=8, target_modules=names, layers_to_transform=[layer]
            )
            torch.manual_seed(layer)
            adapted = get_peft_model(model, config)
            fit(adapted, [w for w in adapted.parameters() if w.requires_grad], texts, 5e-3)
            adapted.merge_and_unload()
        else:
            rate = 5e-2 if way == "norm" else 3e-3
            fit(model, list(weights(model)), texts, rate)

    return Planted(f"{kind} {layer} trained ({way})", edit, ((kind, layer, -1),))


def trained_word(token: int, texts: list[list[int]]) -> Planted:
    """One row of the embedding, which is the unembedding's too, trained."""

    def edit(model: PreTrainedModel, _: torch.Generator) -> None:
        table = model.get_input_embeddings().weight
        others = [row for row in range(len(table)) if row != token]

        def only(slope: Tensor) -> Tensor:
            slope = slope.clone()
            slope[others] = 0
            return slope

        table.requires_grad_(True)
        handle = table.register_hook(only)
        fit(model, [table], texts, 5e-2)
        handle.remove()

    return Planted(f"embedding of {token} trained", edit, (("embedding", -1, -1),))


def fit(
    model: torch.nn.Module, weights: list[torch.nn.Parameter], texts: list[list[int]], rate: float
) -> None:
    """Fifty steps of Adam."""
    with torch.enable_grad():
        for weight in weights:
            weight.requires_grad_(True)
        steps = torch.optim.Adam(weights, lr=rate)
        for text in itertools.islice(itertools.cycle(texts), 50):
            ids = torch.tensor([text])
            steps.zero_grad()
            model(input_ids=ids, labels=ids).loss.backward()
            steps.step()
    for weight in weights:
        weight.requires_grad_(False)


def both(first: Planted, second: Planted) -> Planted:
    """Two edits at once."""

    def edit(model: PreTrainedModel, generator: torch.Generator) -> None:
        first.edit(model, generator)
        second.edit(model, generator)

    return Planted(f"{first.name} + {second.name}", edit, first.blocks + second.blocks)


def noise(size: float) -> Edit:
    """Noise on all weights, in units of their standard deviation."""

    def edit(model: PreTrainedModel, generator: torch.Generator) -> None:
        for weight in model.parameters():
            weight += _normal(weight, generator) * weight.std().nan_to_num() * size

    return edit


def nulls() -> Iterator[tuple[str, Edit]]:
    """What changes a model without teaching it anything."""
    yield "itself", lambda model, _: None
    yield (
        "bfloat16",
        lambda model, _: [weight.copy_(weight.bfloat16()) for weight in model.parameters()].clear(),
    )

    for size in (1e-4, 1e-3, 1e-2, 0.03, 0.1):
        for draw in range(2):
            yield f"noise {size:g} ({draw})", noise(size)


@dataclass(frozen=True)
class Bench:
    """A model, how its pairs are read, and its prompts."""

    model: PreTrainedModel
    tokenizer: object
    prompts: list[str]
    template: bool
    tokens: int

    def trace(self, edit: Edit, seed: int, prompt: str) -> LiveTrace | None:
        """A pair of the model and its edited copy, read; None where there is no answer."""
        edited = copy.deepcopy(self.model)
        with torch.no_grad():
            edit(edited, torch.Generator().manual_seed(seed))
        pair = load_pair(self.model, edited, tokenizer=self.tokenizer)
        try:
            return trace_pair(
                pair,
                prompt,
                response="shared",
                template=self.template,
                max_new_tokens=self.tokens,
            )
        except TwinlensError:
            return None


@dataclass(frozen=True)
class Case:
    """What is asked of one pair; the answer is None where there is nothing to ask."""

    name: str
    kind: str
    find: Callable[[], dict[str, Any] | None]


class Results:
    """What was found, case by case: kept in a file, so that a run can be gone on with."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.cases: dict[str, dict[str, Any]] = (
            json.loads(path.read_text()) if path.exists() else {}
        )

    def run(self, case: Case) -> None:
        if case.name in self.cases or (found := case.find()) is None:
            return
        self.cases[case.name] = {"kind": case.kind} | found
        self.path.write_text(json.dumps(self.cases, indent=0))
        print(case.name, self.cases[case.name], flush=True)


def judged(bench: Bench, edits: list[Planted], kind: str) -> list[Case]:
    """Whether the right places come first, edit by edit."""
    return [
        Case(f"{kind}: {planted.name}", kind, partial(_judged, bench, planted, number))
        for number, planted in enumerate(edits)
    ]


def _judged(bench: Bench, planted: Planted, number: int) -> dict[str, Any]:
    """Of the first of some prompts whose answer changes."""
    for attempt in range(PROMPTS_TRIED):
        prompt = bench.prompts[(number + attempt) % len(bench.prompts)]
        trace = bench.trace(planted.edit, number, prompt)
        if trace is None:
            continue
        steps = trace.block(blocks.answer_steps())
        kl = sum(step["kl"] for step in steps)
        if kl < CHANGES:
            continue
        found, null = trace.block(blocks.carried(None)), trace.block(blocks.null())
        order = [(part["kind"], part["layer"], part["head"]) for part in found["weights"]]
        ranks = sorted(order.index(where) for where in planted.blocks)
        named = [(place["kind"], place["layer"], -1) for place in changed_places(null)]
        parts = [(part["kind"], part["layer"], part["head"]) for part in found["parts"]]
        head = None if planted.head is None else parts[:1] == [planted.head]
        return {
            "kl": kl,
            "right": ranks == [0] if len(ranks) == 1 else ranks[-1] <= 2,
            "head": head,
            "spoken": distinguishable(steps, null),
            "named": set(named) == set(planted.blocks),
            "p": p_value(null["update"], null["scrambled"]),
            "first": [
                [*where, round(part["share"], 2)]
                for where, part in zip(order[:3], found["weights"], strict=False)
            ],
            "parts": parts[:3],
        }
    return {"kl": 0.0}


def templates(bench: Bench) -> list[Case]:
    """The same weights, with and without the template: no finding, and no effect of weights."""

    def found(number: int, prompt: str) -> dict[str, Any] | None:
        trace = bench.trace(lambda *_: None, number, prompt)
        if trace is None:
            return None
        effects = trace.block(blocks.template())
        return {
            "kl": float(np.abs(effects["template"]).sum()),
            "right": float(np.abs(effects["weights"]).max()) < 1e-3,
            "silent": _quiet(trace),
        }

    return [
        Case(f"template: prompt {number}", "template", partial(found, number, prompt))
        for number, prompt in enumerate(bench.prompts[:4])
    ]


def silences(bench: Bench, kind: str, edits: list[tuple[str, Edit]], first: int) -> list[Case]:
    """Whether nothing is said where nothing was learned."""

    def found(number: int, edit: Edit) -> dict[str, Any]:
        trace = bench.trace(edit, number, bench.prompts[number % len(bench.prompts)])
        case: dict[str, Any] = {"silent": trace is None or _quiet(trace)}
        if trace is not None and not same(trace.block(blocks.answer_steps())):
            null = trace.block(blocks.null())
            case["p"] = p_value(null["update"], null["scrambled"])
        return case

    return [
        Case(f"{kind}: {name}", kind, partial(found, first + number, edit))
        for number, (name, edit) in enumerate(edits)
    ]


def selves(kind: str, low: float, high: float, count: int) -> list[tuple[str, Edit]]:
    """Noise on all weights, of sizes between two powers of ten."""
    sizes = np.random.default_rng(0).uniform(low, high, size=count)
    return [
        (f"{number}, noise {10**size:.2g}", noise(10**size)) for number, size in enumerate(sizes)
    ]


def in_turns(kinds: list[list[Case]]) -> list[Case]:
    """Cases of all kinds in such an order that a run that is stopped has its share of each."""
    placed = [
        ((number + 0.5) / len(cases), case) for cases in kinds for number, case in enumerate(cases)
    ]
    return [case for _, case in sorted(placed, key=lambda place: place[0])]


def _quiet(trace: LiveTrace) -> bool:
    return trace.block(blocks.findings())[0]["kind"] == "nothing"


def summary(results: Results, model: str) -> str:
    """Shares, and every failure, as Markdown."""
    cases = results.cases
    lines = [f"## {model}", "", "| what | right | of |", "|---|--:|--:|"]
    failures = []
    for kind, field, words in (
        ("edit", "right", "one place edited: its block first"),
        ("edit", "head", "a head edited: the head first"),
        ("edit", "named", "one place edited: a finding names it"),
        ("edit", "spoken", "one place edited: something is said"),
        ("training", "right", "one place trained: its block first"),
        ("training", "named", "one place trained: a finding names it"),
        ("training", "spoken", "one place trained: something is said"),
        ("two places", "right", "two places edited: both among the first three"),
        ("two places", "named", "two places edited: a finding names both"),
        ("two places", "spoken", "two places edited: something is said"),
        ("template", "right", "template only: no effect of weights"),
        ("template", "silent", "template only: no finding"),
        ("null", "silent", "nulls: no finding"),
        ("self", "silent", "the model beside itself with noise: no finding"),
        ("far self", "silent", "the model beside itself with noise that moves it: no finding"),
    ):
        asked = {
            name: case
            for name, case in cases.items()
            if case["kind"] == kind and case.get(field) is not None
        }
        wrong = [name for name, case in asked.items() if not case[field]]
        if asked:
            lines.append(f"| {words} | {len(asked) - len(wrong)} | {len(asked)} |")
        failures += [f"- {words}, not so of {name}: {_told(cases[name])}" for name in wrong]
    unchanged = [name for name, case in cases.items() if case.get("kl") == 0]
    if unchanged:
        failures.append(
            f"- {len(unchanged)} changed no answer by {CHANGES} nats and were not judged: "
            f"{'; '.join(unchanged)}"
        )
    return "\n".join([*lines, "", *failures, ""])


def _told(case: dict[str, Any]) -> str:
    told = [f"KL {case['kl']:.2g} nats"] if "kl" in case else []
    told += [f"p {case['p']:.1g}"] if "p" in case else []
    told += [f"first {case['first']}"] if "first" in case else []
    told += [f"parts {case['parts']}"] if case.get("head") is False else []
    return ", ".join(told)


def main() -> None:
    """Run the bench and print the shares, failures first."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--smollm2", action="store_true")
    parser.add_argument("--selves", type=int, default=20, help="of each kind")
    parser.add_argument("--each", type=int, help="cases of each kind at most")
    parser.add_argument("--only-selves", action="store_true")
    parser.add_argument(
        "--results", type=Path, required=True, help="file to keep, and to go on with"
    )
    parser.add_argument("--summary", action="store_true", help="of what is kept, without a run")
    options = parser.parse_args()
    name = "SmolLM2-135M" if options.smollm2 else "The embedded model"
    results = Results(options.results)
    if options.summary:
        print(summary(results, name))
        return
    folder = files("twinlens") / "demo" / "tuned"
    if options.smollm2:
        folder, _ = smollm2_pair_folders()
    model = AutoModelForCausalLM.from_pretrained(str(folder), dtype=torch.float32)
    model = model.eval().requires_grad_(False)
    tokenizer = AutoTokenizer.from_pretrained(str(folder))
    prompts = list(PROMPTS) if options.smollm2 else [p["prompt"] for p in demo_prompts()]
    bench = Bench(model, tokenizer, prompts, not options.smollm2, 12 if options.smollm2 else 24)
    every_null = list(nulls())
    asked = [
        silences(bench, kind, selves(kind, low, high, options.selves), len(every_null) + skipped)
        for skipped, (kind, low, high) in zip((0, options.selves), SELVES, strict=True)
    ]
    asked.append(silences(bench, "null", every_null, 0))
    if not options.only_selves:
        for kind, edits in planted(model, tokenizer, prompts).items():
            asked.append(judged(bench, edits[: options.each], kind))
        if not options.smollm2:
            asked.append(templates(bench))
    for case in in_turns(asked):
        results.run(case)
    print(summary(results, name))


def planted(model: PreTrainedModel, tokenizer: Any, prompts: list[str]) -> dict[str, list[Planted]]:
    """All edits, those of a kind in an order that a first few of them are of all sorts."""
    depth, heads = model.config.num_hidden_layers, model.config.num_attention_heads
    places = np.random.default_rng(0)
    layers = range(depth) if depth < 8 else sorted(places.choice(depth, 6, replace=False).tolist())
    of_heads = [
        edit
        for layer in layers
        for head in places.choice(heads, 3, replace=False).tolist()
        for edit in head_edits(layer, head, heads)
    ]
    of_blocks = [
        edit
        for layer in layers
        for kind in ("attention", "feed_forward")
        for edit in block_edits(kind, layer)
    ]
    ids = tokenizer(prompts[0], add_special_tokens=False)["input_ids"]
    singles = [*of_heads, *of_blocks, *map(neuron_edit, layers), *vocabulary_edits(ids[2:8:2])]
    texts = [tokenizer(prompt)["input_ids"] for prompt in prompts]
    training = [
        trained(kind, layer, way, texts[number::3] or texts)
        for number, (way, layer, kind) in enumerate(
            itertools.product(("LoRA", "all weights"), layers, ("attention", "feed_forward"))
        )
    ]
    training += [trained("attention", layers[0], "norm", texts)]
    training += [trained("feed_forward", layers[-1], "norm", texts)]
    training += [trained_word(token, texts) for token in ids[3:5]]
    twos = [
        both(singles[i], singles[j])
        for i, j in (places.choice(len(singles), 2, replace=False).tolist() for _ in range(60))
        if set(singles[i].blocks).isdisjoint(singles[j].blocks)
    ][:24]
    mixed = np.random.default_rng(1)
    return {
        "edit": [singles[i] for i in mixed.permutation(len(singles))],
        "training": [training[i] for i in mixed.permutation(len(training))],
        "two places": twos,
    }


if __name__ == "__main__":
    main()
