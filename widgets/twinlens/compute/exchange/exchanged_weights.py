"""Which weights make the difference: tuned with the weights of one block of base.

The rest runs on as it does in tuned. Replacing what a block *computes* (`passes`) tells through
which blocks a difference flows; replacing its weights tells which of them were changed to make it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import cast

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from twinlens.compute.exchange.parts import Place
from twinlens.compute.exchange.passes import Exchange
from twinlens.compute.models import architectures
from twinlens.compute.models.dense import below_adapters, is_plain, parameter_places


def with_weights_of_base(exchange: Exchange) -> Iterator[tuple[Place, Tensor]]:
    """Logits [1, M, vocabulary] of tuned with the weights of each block of base, one by one.

    None where weights cannot be exchanged: packed ones, or an adapter over one base. Blocks whose
    weights are the same in both share one pass.
    """
    own = list(parameter_places(exchange.model))
    theirs = {name: (module, key) for name, module, key in parameter_places(exchange.donor)}
    if not all(is_plain(module) and below_adapters(module) is module for _, module, _ in own):
        return
    closed = torch.zeros(1, exchange.layout.count, dtype=torch.float32)
    unchanged: Tensor | None = None
    for block, names in parameters_of_blocks(exchange.model).items():
        with exchange.guard, exchange.donor_guard:
            of_base = {
                name: base_weight
                for name, module, key in own
                if name in names and name in theirs
                for weight, base_weight in [(_stored(module, key), _stored(*theirs[name]))]
                if not _same(weight, base_weight)
            }
        if not of_base:
            if unchanged is None:
                unchanged = exchange.logits(closed, exchange.layout.layers)
            yield block, unchanged
            continue

        def change(name: str, weight: Tensor, of_base: dict[str, Tensor] = of_base) -> Tensor:
            if name not in of_base:
                return weight
            base_weight = of_base[name].to(weight)
            if base_weight.shape == weight.shape:
                return base_weight
            # Tokens that only tuned has keep their rows.
            rows = min(len(base_weight), len(weight))
            return torch.cat([base_weight[:rows], weight[rows:]])

        with exchange.guard, changed_weights(exchange.model, change):
            logits = exchange.logits(closed, exchange.layout.layer(block))
        yield block, logits


def _stored(module: torch.nn.Module, key: str) -> Tensor:
    return cast(Tensor, getattr(module, key)).detach()


def _same(weight: Tensor, base_weight: Tensor) -> bool:
    alike = (weight.shape, weight.dtype, weight.device)
    if alike != (base_weight.shape, base_weight.dtype, base_weight.device) or weight.is_meta:
        return False
    return torch.equal(weight, base_weight)


def parameters_of_blocks(model: PreTrainedModel) -> dict[Place, frozenset[str]]:
    """Names of the parameters of each block, with the norm that it owns."""
    parts = architectures.architecture_of(model.config)
    attention = parts.attention_out.rpartition(".")[0]
    names_by_block: dict[Place, set[str]] = {Place("embedding"): set()}
    for layer in range(architectures.sizes(model.config).layers):
        names_by_block[Place("attention", layer)] = set()
        names_by_block[Place("feed_forward", layer)] = set()
    names_by_block[Place("unembedding")] = set()
    behind = [f"{parts.final_norm}.", *_names_of(model, architectures.output_embeddings(model))]
    for name, *_ in parameter_places(model):
        if name.startswith(f"{parts.layers}."):
            number, _, inside = name.removeprefix(f"{parts.layers}.").partition(".")
            norm = parts.attention_norm or "post_attention_layernorm"
            in_attention = inside.startswith((f"{attention}.", f"{norm}."))
            kind = "attention" if in_attention else "feed_forward"
            names_by_block[Place(kind, int(number))].add(name)
        else:
            # Of tied embeddings there is one tensor: it counts as the embedding.
            last = name.startswith(tuple(behind))
            names_by_block[Place("unembedding" if last else "embedding")].add(name)
    return {block: frozenset(names) for block, names in names_by_block.items()}


def _names_of(model: PreTrainedModel, module: torch.nn.Module) -> list[str]:
    tied = model.get_input_embeddings().weight is getattr(module, "weight", None)
    return [
        f"{name}." for name, submodule in model.named_modules() if submodule is module and not tied
    ]


@contextmanager
def changed_weights(
    model: PreTrainedModel, change: Callable[[str, Tensor], Tensor]
) -> Iterator[None]:
    """Run the model with other weights, made anew where each is used: no copy of all is held."""
    names = {(below_adapters(module), key): name for name, module, key in parameter_places(model)}
    own: dict[nn.Module, dict[str, nn.Parameter | None]] = {}

    def put(module: nn.Module, _: object) -> None:
        own[module] = dict(module._parameters)
        for key, weight in own[module].items():
            if weight is not None and weight.is_floating_point():
                changed = change(names.get((module, key), ""), weight.detach())
                module._parameters[key] = nn.Parameter(changed, requires_grad=False)

    def put_back(module: nn.Module, *_: object) -> None:
        module._parameters.update(own.pop(module, {}))

    with ExitStack() as stack, torch.no_grad():
        for module in model.modules():
            if module._parameters:
                stack.callback(module.register_forward_pre_hook(put).remove)
                hook = module.register_forward_hook(put_back, always_call=True)
                stack.callback(hook.remove)
        try:
            yield
        finally:
            for module in list(own):
                put_back(module)
