"""Matrix products of a pass, kept for passes that need the same ones again.

A forward derivative carries the plain values along: without this, every batch of directions would
compute them anew. Attention and what acts element by element is cheap beside it and not kept.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

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
        """Keep an output [B, S, ...]; of weights that are used twice, neither."""
        if weight in self._outputs:
            self._outputs[weight] = None
        elif output.shape[:-1] == self._shape and output.numel() <= self._left:
            self._left -= output.numel()
            self._outputs[weight] = output.detach()

    def output(self, weight: Tensor, start: int) -> Tensor | None:
        """Output from the place `start` on, if it was kept."""
        output = self._outputs.get(weight)
        return None if output is None else output[:, start:]


class Keeping(TorchFunctionMode):
    """Keeps the products of the pass inside."""

    def __init__(self, products: Products) -> None:
        super().__init__()
        self._products = products

    def __torch_function__(
        self,
        function: Callable[..., Any],
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        result = function(*args, **(kwargs or {}))
        if function is linear and len(args) > 1:
            self._products.keep(args[1], result)
        return result


class Reusing(TorchFunctionMode):
    """In a forward derivative of the places from `start` on: kept products, only their tangents."""

    def __init__(self, products: Products, start: int) -> None:
        super().__init__()
        self._products, self._start = products, start

    def __torch_function__(
        self,
        function: Callable[..., Any],
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        if function is linear and len(args) > 1:
            output = self._products.output(args[1], self._start)
            tangent = forward_ad.unpack_dual(args[0]).tangent  # type: ignore[no-untyped-call]
            if output is not None and tangent is not None:
                changed = linear(tangent, args[1])
                return forward_ad.make_dual(output, changed)  # type: ignore[no-untyped-call]
        return function(*args, **(kwargs or {}))
