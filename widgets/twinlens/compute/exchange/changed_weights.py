"""Passes with other weights, which each text may have of its own, and no copy of all of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from types import EllipsisType
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from twinlens.compute.models.dense import below_adapters, parameter_places

#: Numbers of a weight that are worked on at once: on a processor they stay in its cache, elsewhere
#: each piece takes a while to be started.
_AT_ONCE, _AT_ONCE_ELSEWHERE = 2**16, 2**26
#: Numbers of a weight that are made before a product with them: products with fewer are slower.
_IN_PRODUCT = 2**20

#: Rows of a parameter.
Rows: TypeAlias = "slice | Tensor | EllipsisType"
#: Gives something of some rows of a parameter.
OfRows: TypeAlias = Callable[[Rows], Tensor]


@dataclass(frozen=True)
class Changed:
    """A parameter that is another one in some texts of a pass.

    Attributes
    ----------
    texts : sequence of int
        Which of them; the same for all parameters of a module.
    rows : callable
        Gives some rows of the parameter as they shall be, in one of these texts after the other.
    """

    texts: Sequence[int]
    rows: Callable[[Rows], Iterable[Tensor]]


#: Of a parameter's name and its weight: what it is in place of that, None where it stays.
Change: TypeAlias = Callable[[str, Tensor], Changed | None]


@contextmanager
def changed_weights(model: PreTrainedModel, change: Change, texts: int = 1) -> Iterator[None]:
    """Run the model with other weights, made anew where each is used.

    Of a linear map some rows are made and used at a time, of an embedding those that are read.

    Parameters
    ----------
    texts : int
        How many there are in each pass; more than one only where they stay apart, see `can_join`.
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
                stack.enter_context(_changed(module, own, change, module is embedding, texts))
        yield


@contextmanager
def _changed(
    module: nn.Module,
    own: Mapping[str, tuple[nn.Parameter, str]],
    change: Change,
    looked_up: bool,
    texts: int,
) -> Iterator[None]:
    """Run one module with other weights, given the names of its own: it may be looked up only."""
    wrapped = module.__dict__.get("forward")
    forward = module.forward
    in_rows = type(module) is nn.Linear and wrapped is None and "weight" in own

    def put(rows: Rows, values: Mapping[str, Tensor]) -> None:
        for key, (weight, _) in own.items():
            value = _placed(values.get(key, weight.detach()[rows]), rows, weight)
            module._parameters[key] = nn.Parameter(value, requires_grad=False)

    def changed_forward(*given: Any, **named: Any) -> Any:
        asked = {key: change(name, weight.detach()) for key, (weight, name) in own.items()}
        made = {key: changed for key, changed in asked.items() if changed is not None}
        if not made:
            return forward(*given, **named)
        pieces: list[Rows] = [...]
        if in_rows:
            pieces = rows_at_a_time(own["weight"][0], _IN_PRODUCT)
        elif looked_up and wrapped is None:
            pieces = [given[0].unique()]
        changed_texts = next(iter(made.values())).texts
        # Of positions there is one row, whatever the texts.
        shared = texts > 1 and max(changed_texts) >= len(given[0])
        # In the others the weights stay; of those that are changed it is overwritten.
        result = forward(*given, **named) if len(changed_texts) < texts else None
        if shared and result is not None:
            result = result.expand(texts, *result.shape[1:]).clone()
        try:
            for rows in pieces:
                values = zip(*(changed.rows(rows) for changed in made.values()), strict=True)
                for text, of_text in zip(changed_texts, values, strict=True):
                    put(rows, dict(zip(made, of_text, strict=True)))
                    part = slice(None) if texts == 1 else slice(text, text + 1)
                    read = given if texts == 1 or shared else (given[0][part], *given[1:])
                    output = forward(*read, **named)
                    if texts == len(pieces) == 1:
                        return output
                    if result is None:
                        width = len(own["weight"][0]) if in_rows else output.shape[-1]
                        size = texts if shared else len(given[0])
                        result = output.new_empty(size, *output.shape[1:-1], width)
                    result[part][..., rows if in_rows else slice(None)] = output
        finally:
            module._parameters.update({key: weight for key, (weight, _) in own.items()})
        return result

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


def rows_at_a_time(weight: Tensor, at_once: int = _AT_ONCE) -> list[Rows]:
    """All rows of a weight, on a processor so many numbers at a time as stay in its cache."""
    if not weight.ndim:
        return [...]
    size = max(1, _numbers_at_once(weight, at_once) * len(weight) // max(weight.numel(), 1))
    return [slice(first, first + size) for first in range(0, len(weight), size)]


def parts_of(numbers: Tensor) -> Iterator[slice]:
    """Parts of a tensor, end to end, as long as `rows_at_a_time`."""
    size = _numbers_at_once(numbers, _AT_ONCE)
    return (slice(first, first + size) for first in range(0, numbers.numel(), size))


def _numbers_at_once(tensor: Tensor, on_processor: int) -> int:
    return on_processor if tensor.device.type == "cpu" else _AT_ONCE_ELSEWHERE
