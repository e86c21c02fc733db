"""Edits of a known place: does what carries the difference name it, and is nothing said of nulls?

    python -m tests.benchmarks.planted                  # the embedded pair
    python -m tests.benchmarks.planted --smollm2        # SmolLM2-135M, fewer of each kind
    python -m tests.benchmarks.planted --selves 1000    # comparisons of a model with itself, too

The model is compared with a copy that was edited at one place (a head zeroed, flipped or rewired;
a block scaled, noised or given a rank-one update; neurons; a word's embedding; the unembedding; a
norm), trained at one place, edited at two, or not changed in any way that could be learned. Every
failure is printed.
"""

from __future__ import annotations

import argparse
import copy
import itertools
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from importlib.resources import files

import numpy as np
import torch
from torch import Tensor
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel
from twinlens.commands.main import demo_prompts
from twinlens.compute.live.live import LiveTrace, trace_pair
from twinlens.compute.models import architectures
from twinlens.compute.pair import load_pair
from twinlens.contract import blocks
from twinlens.errors import TwinlensError

from tests.support.real_pair import smollm2_pair_folders

#: Nats of KL(edited || model) over the answer below which an edit changes nothing.
CHANGES = 0.05
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


@dataclass
class Score:
    """How often the right place came first."""

    right: Counter[str] = field(default_factory=Counter)
    asked: Counter[str] = field(default_factory=Counter)

    def add(self, what: str, right: bool) -> None:
        self.asked[what] += 1
        self.right[what] += right

    def __str__(self) -> str:
        return "\n".join(
            f"{what:34} {self.right[what]:4} of {self.asked[what]:4}" for what in self.asked
        )


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
        weight[:, head * size : (head + 1) * size] *= -1

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
        module(model).weight *= 1.5

    def noise(model: PreTrainedModel, generator: torch.Generator) -> None:
        weight = module(model).weight
        weight += _normal(weight, generator) * weight.std() * 0.5

    def rank_one(model: PreTrainedModel, generator: torch.Generator) -> None:
        weight = module(model).weight
        left, right = (_normal(weight[:, 0], generator), _normal(weight[0], generator))
        update = left[:, None] * right[None, :]
        weight += update * (0.5 * weight.norm() / update.norm())

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

    def embedding(token: int) -> Edit:
        def edit(model: PreTrainedModel, generator: torch.Generator) -> None:
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

    for token in ids:
        yield Planted(f"embedding of {token}", embedding(token), (("embedding", -1, -1),))
    yield Planted("unembedding noised", unembedding, (("unembedding", -1, -1),))
    yield Planted("final norm scaled", norm, (("unembedding", -1, -1),))


def trained(kind: str, layer: int, texts: list[list[int]]) -> Planted:
    """One block trained for fifty steps to say what other prompts are answered with."""

    def edit(model: PreTrainedModel, _: torch.Generator) -> None:
        block = architectures.layers(model)[layer]
        part = block.self_attn if kind == "attention" else block.mlp
        weights = list(part.parameters())
        with torch.enable_grad():
            for weight in weights:
                weight.requires_grad_(True)
            steps = torch.optim.Adam(weights, lr=1e-3)
            for text in itertools.islice(itertools.cycle(texts), 50):
                ids = torch.tensor([text])
                steps.zero_grad()
                model(ids, labels=ids).loss.backward()
                steps.step()
        for weight in weights:
            weight.requires_grad_(False)

    return Planted(f"{kind} {layer} trained", edit, ((kind, layer, -1),))


def both(first: Planted, second: Planted) -> Planted:
    """Two edits at once."""

    def edit(model: PreTrainedModel, generator: torch.Generator) -> None:
        first.edit(model, generator)
        second.edit(model, generator)

    return Planted(f"{first.name} + {second.name}", edit, first.blocks + second.blocks)


def nulls() -> Iterator[tuple[str, Edit]]:
    """What changes a model without teaching it anything."""
    yield "itself", lambda model, _: None
    yield (
        "bfloat16",
        lambda model, _: [weight.copy_(weight.bfloat16()) for weight in model.parameters()].clear(),
    )

    def noise(size: float) -> Edit:
        def edit(model: PreTrainedModel, generator: torch.Generator) -> None:
            for weight in model.parameters():
                weight += _normal(weight, generator) * weight.std().nan_to_num() * size

        return edit

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


def judge(bench: Bench, edits: list[Planted], kind: str, score: Score) -> None:
    """Whether the right places come first, edit by edit."""
    for number, planted in enumerate(edits):
        trace = bench.trace(planted.edit, number, bench.prompts[number % len(bench.prompts)])
        if trace is None:
            print(f"  {planted.name}: no answer to explain")
            continue
        found = trace.block(blocks.carried(None))
        if found["kl"] < CHANGES:
            print(f"  {planted.name}: changes nothing, KL {found['kl']:.2g}")
            continue
        order = [(part["kind"], part["layer"], part["head"]) for part in found["weights"]]
        first = {order.index(where) for where in planted.blocks}
        if len(planted.blocks) == 1:
            right = first == {0}
            score.add(f"{kind}: right block first", right)
        else:
            right = first <= {0, 1, 2}
            score.add(f"{kind}: both among the first three", right)
        spoken = trace.block(blocks.findings())[0]["kind"] != "nothing"
        score.add(f"{kind}: something is said", spoken)
        if not right or not spoken:
            shares = [f"{part['share']:.2f}" for part in found["weights"][:3]]
            print(f"  {planted.name}: KL {found['kl']:.2f}, first {order[:3]} {shares}, {spoken=}")
        if planted.head is not None:
            parts = [(part["kind"], part["layer"], part["head"]) for part in found["parts"]]
            right = parts[:1] == [planted.head]
            score.add(f"{kind}: right head first", right)
            if not right:
                print(f"  {planted.name}: first parts {parts[:3]}")


def silent(bench: Bench, selves: int, score: Score) -> None:
    """Whether nothing is said where nothing was learned."""
    for number, (name, edit) in enumerate(nulls()):
        trace = bench.trace(edit, number, bench.prompts[number % len(bench.prompts)])
        quiet = trace is None or trace.block(blocks.findings())[0]["kind"] == "nothing"
        score.add("null: silent", quiet)
        if not quiet:
            print(f"  {name}: {trace.block(blocks.findings())[0]['title']}")  # type: ignore[union-attr]
    sizes = np.random.default_rng(0).uniform(-4, -1, size=selves)
    for number, size in enumerate(sizes):

        def edit(model: PreTrainedModel, generator: torch.Generator, size: float = size) -> None:
            for weight in model.parameters():
                weight += _normal(weight, generator) * weight.std().nan_to_num() * 10**size

        trace = bench.trace(edit, number, bench.prompts[number % len(bench.prompts)])
        quiet = trace is None or trace.block(blocks.findings())[0]["kind"] == "nothing"
        score.add("self with noise: silent", quiet)
        if not quiet:
            print(f"  noise of {10**size:.2g}, {number}")


def main() -> None:
    """Run the bench and print the shares, failures first."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--smollm2", action="store_true")
    parser.add_argument("--selves", type=int, default=20)
    parser.add_argument("--each", type=int, help="edits of each kind at most")
    options = parser.parse_args()
    folder = files("twinlens") / "demo" / "tuned"
    if options.smollm2:
        folder, _ = smollm2_pair_folders()
    model = AutoModelForCausalLM.from_pretrained(str(folder), dtype=torch.float32)
    model = model.eval().requires_grad_(False)
    tokenizer = AutoTokenizer.from_pretrained(str(folder))
    prompts = list(PROMPTS) if options.smollm2 else [p["prompt"] for p in demo_prompts()]
    bench = Bench(model, tokenizer, prompts, not options.smollm2, 12 if options.smollm2 else 24)
    depth, heads = model.config.num_hidden_layers, model.config.num_attention_heads
    places = np.random.default_rng(0)
    layers = range(depth) if depth < 8 else sorted(places.choice(depth, 6, replace=False).tolist())
    of_heads = [
        edit for layer in layers for edit in head_edits(layer, int(places.integers(heads)), heads)
    ]
    of_blocks = [
        edit
        for layer in layers
        for kind in ("attention", "feed_forward")
        for edit in block_edits(kind, layer)
    ]
    words = tokenizer(prompts[0], add_special_tokens=False)["input_ids"][2:8:2]
    of_vocabulary = list(vocabulary_edits(words))
    singles = [*of_heads, *of_blocks, *map(neuron_edit, layers), *of_vocabulary]
    texts = [tokenizer(prompt)["input_ids"] for prompt in prompts]
    training = [
        trained(kind, layer, texts[number::3] or texts)
        for number, (layer, kind) in enumerate(
            itertools.product(layers, ("attention", "feed_forward"))
        )
    ]
    twos = [
        both(singles[i], singles[j])
        for i, j in (places.choice(len(singles), 2, replace=False).tolist() for _ in range(60))
        if set(singles[i].blocks).isdisjoint(singles[j].blocks)
    ][:20]
    score = Score()
    for kind, edits in (("edit", singles), ("training", training), ("two places", twos)):
        print(kind, len(edits))
        judge(bench, edits[: options.each], kind, score)
    print("nulls")
    silent(bench, options.selves, score)
    print(score)


if __name__ == "__main__":
    main()
