"""How a text enters a model: as embeddings, which are what its first block is given."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor, nn

from twinlens.compute.models import architectures
from twinlens.compute.passes.rotary import rotary_of

if TYPE_CHECKING:
    from transformers import PreTrainedModel


def embeddings(model: PreTrainedModel, ids: Tensor) -> Tensor:
    """What the first block is given of tokens, [*ids, hidden]: scaled by Gemma, normed by BLOOM.

    A norm of the embeddings themselves does not see how long they are: along them, gradients in
    front of it are zero whatever the text.
    """
    norm = architectures.embedding_norm(model)
    with torch.no_grad():
        embedded = cast(Tensor, model.get_input_embeddings()(ids))
        return embedded if norm is None else cast(Tensor, norm(embedded))


@contextmanager
def entering(model: PreTrainedModel, length: int) -> Iterator[None]:
    """Inside, embeddings that a pass is given enter the first block as they are.

    Parameters
    ----------
    length : int
        Of the text they are of: it decides on the frequencies of rotary positions.
    """
    norm = architectures.embedding_norm(model)
    with ExitStack() as stack:
        stack.enter_context(rotary_of(model, length))
        if norm is not None:
            normed = False

            def see(_: nn.Module, __: Any, named: Mapping[str, Any]) -> None:
                nonlocal normed
                normed = named.get("inputs_embeds") is not None

            def leave(_: nn.Module, given: tuple[Tensor, ...], output: Tensor) -> Tensor:
                return given[0] if normed else output

            body = architectures.body(model)
            stack.callback(body.register_forward_pre_hook(see, with_kwargs=True).remove)
            stack.callback(norm.register_forward_hook(leave).remove)
        yield
