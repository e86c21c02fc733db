"""Matrix products of a pass, kept for passes that need the same ones again.

A forward derivative carries the plain values along: without this, every batch of directions would
compute them anew. Attention and what acts element by element is cheap beside it and not kept.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from functools import partial
from typing import Any, cast

from torch import Tensor
from torch.autograd import forward_ad
from torch.nn.functional import linear
from torch.overrides import TorchFunctionMode
from torch.utils.weak import WeakTensorKeyDictionary

#: Numbers that are kept at most, of all layers; products beyond are computed again.
MOST_NUMBERS = 2**26


class Products:
    """Outputs of the linear maps of one pass, by their weights.

    Parameters
    ----------
    shape : tuple of int
        Texts and places [B, S] of the pass: outputs that have other ones are not kept.
    """

    def __init__(self, shape: tuple[int, int]) -> None:
        self._shape = shape
        self._left = MOST_NUMBERS
        # Weakly: weights that are brought to a device for one use must be free to go.
        self._outputs: Any = WeakTensorKeyDictionary()

    def keep(self, weight: Tensor, output: Tensor) -> None:
        """Keep an output [B, S, features] if there is room; of weights used again, none."""
        fits = output.shape[:-1] == self._shape and output.numel() <= self._left
        if fits and weight not in self._outputs:
            self._left -= output.numel()
            self._outputs[weight] = output.detach()
        else:
            self._outputs[weight] = None

    def output(self, weight: Tensor, start: int) -> Tensor | None:
        """Output from the place `start` on, if it was kept."""
        output = self._outputs.get(weight)
        return None if output is None else output[:, start:]


class _AtProducts(TorchFunctionMode):
    """Calls ``act(input, weight, compute)`` in place of every linear map inside."""

    def __init__(self, act: Callable[[Tensor, Tensor, Callable[[], Tensor]], Tensor]) -> None:
        super().__init__()
        self._act = act

    def __torch_function__(
        self,
        function: Callable[..., Any],
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        compute = partial(function, *args, **(kwargs or {}))
        if function is linear and len(args) > 1:
            return self._act(args[0], args[1], compute)
        return compute()


def keeping(products: Products) -> AbstractContextManager[object]:
    """Keep the products of the pass inside."""

    def act(_: Tensor, weight: Tensor, compute: Callable[[], Tensor]) -> Tensor:
        output = compute()
        products.keep(weight, output)
        return output

    return _AtProducts(act)


def reusing(products: Products, start: int) -> AbstractContextManager[object]:
    """In a forward derivative of the places from `start` on: kept products, only their tangents."""

    def act(states: Tensor, weight: Tensor, compute: Callable[[], Tensor]) -> Tensor:
        output = products.output(weight, start)
        tangent = forward_ad.unpack_dual(states).tangent  # type: ignore[no-untyped-call]
        if output is None or tangent is None:
            return compute()
        dual = forward_ad.make_dual(output, linear(tangent, weight))  # type: ignore[no-untyped-call]
        return cast(Tensor, dual)

    return _AtProducts(act)
