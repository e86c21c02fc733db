"""Which weights make the difference: tuned with the weights of one block of base.

The rest runs on as it does in tuned. Replacing what a block *computes* (`passes`) tells through
which blocks a difference flows; replacing its weights tells which of them were changed to make it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import cast

import torch
from torch import Tensor
from transformers import PreTrainedModel

from twinlens.compute.exchange.changed_weights import Change, Changed, Rows, changed_weights
from twinlens.compute.exchange.parts import Place
from twinlens.compute.exchange.passes import Exchange, rows_of
from twinlens.compute.models import architectures
from twinlens.compute.models.dense import below_adapters, is_plain, parameter_places


def with_weights_of_base(exchange: Exchange) -> Iterator[tuple[Place, Tensor]]:
    """Logits [1, M, vocabulary] of tuned with the weights of each block of base, one by one.

    None where weights cannot be exchanged: packed ones, or an adapter over one base. Blocks whose
    weights are the same in both share one pass. Each of the others is a text of a pass, and joins
    it at its layer, where that can be.
    """
    own = list(parameter_places(exchange.model))
    if not all(is_plain(module) and below_adapters(module) is module for _, module, _ in own):
        return
    closed = rows_of(exchange.layout, [[]])
    with exchange.guard, exchange.donor_guard:
        changed = _weights_of_base(exchange)
    unchanged: Tensor | None = None
    waiting: list[Place] = []
    for block, weights in changed.items():
        if weights and exchange.can_begin_apart and block.kind != "embedding":
            waiting.append(block)
            continue
        if weights:
            with exchange.guard, changed_weights(exchange.model, _in_texts([weights])):
                yield block, exchange.logits(closed, _begins(exchange, [block]))
        else:
            if unchanged is None:
                unchanged = exchange.logits(closed, _begins(exchange, [Place("unembedding")]))
            yield block, unchanged
    for rows in exchange.batches(rows_of(exchange.layout, [[]] * len(waiting))):
        some, waiting = waiting[: len(rows)], waiting[len(rows) :]
        change = _in_texts([changed[block] for block in some])
        with exchange.guard, changed_weights(exchange.model, change, len(some)):
            logits = exchange.logits(rows, _begins(exchange, some))
        yield from zip(some, logits[:, None], strict=True)


def _begins(exchange: Exchange, blocks: Sequence[Place]) -> dict[int, Tensor]:
    """Where rows begin that change one block each, in the order they are computed."""
    if exchange.own is None or Place("embedding") in blocks:
        return {}
    rows = Counter(map(exchange.layout.layer, blocks))
    return {layer: exchange.residual(layer).expand(count, -1, -1) for layer, count in rows.items()}


def _weights_of_base(exchange: Exchange) -> dict[Place, dict[str, Tensor]]:
    """Weights of base that differ, by block and name."""
    theirs = {name: (module, key) for name, module, key in parameter_places(exchange.donor)}
    own = {
        name: (_stored(module, key), _stored(*theirs[name]))
        for name, module, key in parameter_places(exchange.model)
        if name in theirs
    }
    differ = {name: base for name, (weight, base) in own.items() if not _same(weight, base)}
    return {
        block: {name: differ[name] for name in names if name in differ}
        for block, names in parameters_of_blocks(exchange.model).items()
    }


def _in_texts(weights: Sequence[Mapping[str, Tensor]]) -> Change:
    """Weights by name, of each text of a pass."""

    def change(name: str, weight: Tensor) -> Changed | None:
        texts = [text for text, of_text in enumerate(weights) if name in of_text]
        if not texts:
            return None

        def rows(some: Rows) -> Iterator[Tensor]:
            for text in texts:
                base_weight = weights[text][name].to(weight)
                if base_weight.shape != weight.shape:
                    # Tokens that only tuned has keep their rows.
                    both = min(len(base_weight), len(weight))
                    base_weight = torch.cat([base_weight[:both], weight[both:]])
                yield base_weight[some]

        return Changed(texts, rows)

    return change


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
