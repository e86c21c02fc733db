"""Edits of a known place and kind, trainings of one place, and what teaches a model nothing."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from peft import LoraConfig, get_peft_model
from torch import Tensor
from transformers import PreTrainedModel
from twinlens.compute.models import architectures

#: Kind, layer and head of a part; -1 where it has none.
Where = tuple[str, int, int]
Edit = Callable[[PreTrainedModel, torch.Generator], None]


@dataclass(frozen=True)
class Planted:
    """An edit: its name, the blocks it is in, and the head or the neuron where it is one."""

    name: str
    edit: Edit
    blocks: tuple[Where, ...]
    head: Where | None = None
    neuron: int | None = None


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


def single_neuron(layer: int, neuron: int) -> Planted:
    """One neuron that writes the other way, 24 times as much, among others that moved a little."""

    def edit(model: PreTrainedModel, generator: torch.Generator) -> None:
        weight = architectures.feed_forward_out(model, layer).weight
        weight += _normal(weight, generator) * weight.std() * 0.05
        weight[:, neuron] *= -24

    block = ("feed_forward", layer, -1)
    return Planted(f"neuron {layer}.{neuron} flipped", edit, (block,), neuron=neuron)


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
    widths = [architectures.value_vectors(model, layer).norm(dim=1) for layer in layers]
    neurons = [
        single_neuron(layer, neuron)
        for layer, width in zip(layers, widths, strict=True)
        for neuron in np.random.default_rng(layer).choice(width.topk(64).indices, 4, False).tolist()
    ]
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
        "neuron": neurons,
        "training": [training[i] for i in mixed.permutation(len(training))],
        "two places": twos,
    }
