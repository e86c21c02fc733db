"""Which weights make the difference: tuned with the weights of one block of base.

The rest runs on as it does in tuned. Replacing what a block *computes* (`passes`) tells through
which blocks a difference flows; replacing its weights tells which of them were changed to make it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from types import EllipsisType
from typing import Any, TypeAlias, cast

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from twinlens.compute.exchange.parts import Place
from twinlens.compute.exchange.passes import Exchange
from twinlens.compute.models import architectures
from twinlens.compute.models.dense import below_adapters, is_plain, parameter_places

#: Numbers of a weight that are worked on at once: on a processor they stay in its cache, elsewhere
#: each piece takes a while to be started.
_AT_ONCE, _AT_ONCE_ELSEWHERE = 2**18, 2**26

#: Rows of a parameter.
Rows: TypeAlias = "slice | Tensor | EllipsisType"
#: Gives something of some rows of a parameter.
OfRows: TypeAlias = Callable[[Rows], Tensor]
#: Of a parameter's name and its weight: gives its rows as they shall be, None where they stay.
Change: TypeAlias = Callable[[str, Tensor], "OfRows | None"]


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

        def change(
            name: str, weight: Tensor, of_base: dict[str, Tensor] = of_base
        ) -> OfRows | None:
            if name not in of_base:
                return None
            base_weight = of_base[name].to(weight)
            if base_weight.shape != weight.shape:
                # Tokens that only tuned has keep their rows.
                rows = min(len(base_weight), len(weight))
                base_weight = torch.cat([base_weight[:rows], weight[rows:]])
            return base_weight.__getitem__

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
def changed_weights(model: PreTrainedModel, change: Change) -> Iterator[None]:
    """Run the model with other weights, made anew where each is used: no copy of all is held.

    Of a linear map some rows are made and used at a time, of an embedding those that are read.
    """
    names = {(below_adapters(module), key): name for name, module, key in parameter_places(model)}
    embedding = model.get_input_embeddings()
    with ExitStack() as stack, torch.no_grad():
        for module in model.modules():
            own = {
                key: (weight, names.get((module, key), ""))
                for key, weight in module._parameters.items()
                if weight is not None and weight.is_floating_point()
            }
            if own:
                stack.enter_context(_changed(module, own, change, module is embedding))
        yield


@contextmanager
def _changed(
    module: nn.Module, own: Mapping[str, tuple[nn.Parameter, str]], change: Change, looked_up: bool
) -> Iterator[None]:
    """Run one module with other weights, given the names of its own: it may be looked up only."""
    wrapped = module.__dict__.get("forward")
    forward = module.forward
    in_rows = type(module) is nn.Linear and wrapped is None and "weight" in own

    def changed_forward(*given: Any, **named: Any) -> Any:
        made = {key: change(name, weight.detach()) for key, (weight, name) in own.items()}
        if not any(made.values()):
            return forward(*given, **named)
        pieces: list[Rows] = [...]
        if in_rows:
            pieces = rows_at_a_time(own["weight"][0])
        elif looked_up and wrapped is None:
            pieces = [given[0].unique()]
        outputs = []
        try:
            for rows in pieces:
                for key, (weight, _) in own.items():
                    some = made[key] or weight.detach().__getitem__
                    module._parameters[key] = nn.Parameter(
                        _placed(some(rows), rows, weight), requires_grad=False
                    )
                outputs.append(forward(*given, **named))
        finally:
            module._parameters.update({key: weight for key, (weight, _) in own.items()})
        return outputs[0] if len(outputs) == 1 else torch.cat(outputs, dim=-1)

    module.forward = changed_forward
    try:
        yield
    finally:
        if wrapped is None:
            del module.forward
        else:
            module.forward = wrapped


def _placed(some: Tensor, rows: Rows, weight: Tensor) -> Tensor:
    """Rows that are read where they are looked up; the others are never written, nor read."""
    if not isinstance(rows, Tensor):
        return some
    return torch.empty_like(weight).index_copy_(0, rows, some)


def rows_at_a_time(weight: Tensor) -> list[Rows]:
    """All rows of a weight, as many at a time as stay in a processor's cache."""
    if not weight.ndim:
        return [...]
    at_once = _AT_ONCE if weight.device.type == "cpu" else _AT_ONCE_ELSEWHERE
    size = max(1, at_once * len(weight) // max(weight.numel(), 1))
    return [slice(first, first + size) for first in range(0, len(weight), size)]
