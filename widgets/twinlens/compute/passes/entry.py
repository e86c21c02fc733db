"""How a text enters a model: as embeddings, which are what its first block is given."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any, cast

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from twinlens.compute.models import architectures
from twinlens.compute.models.layer_forms import layer_embeddings
from twinlens.compute.passes.rotary import rotary_of


class ReachedError(Exception):
    """The pass has come to where it was to end."""


def embeddings(model: PreTrainedModel, ids: Tensor) -> Tensor:
    """What a model is given of tokens, [*ids, hidden]: scaled by Gemma, normed by BLOOM.

    With embeddings of the tokens that each layer has of its own, those of all layers stand behind
    it: a token is hidden, or replaced, in all places where it is read, and gradients count them.

    A norm of the embeddings themselves does not see how long they are: along them, gradients in
    front of it are zero whatever the text.
    """
    norm = architectures.embedding_norm(model)
    with torch.no_grad():
        embedded = cast(Tensor, model.get_input_embeddings()(ids))
        if layer_embeddings(model.config):
            own = cast(Any, architectures.body(model)).get_per_layer_inputs(ids, embedded)
            return torch.cat([embedded, own.flatten(-2)], dim=-1)
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
        if width := layer_embeddings(model.config):

            def divide(
                _: nn.Module, given: tuple[Any, ...], named: dict[str, Any]
            ) -> tuple[tuple[Any, ...], dict[str, Any]]:
                if (embedded := named.get("inputs_embeds")) is None:
                    return given, named
                own = embedded[..., hidden:].unflatten(-1, (-1, width))
                both = {"inputs_embeds": embedded[..., :hidden], "per_layer_inputs": own}
                return given, named | both

            hidden = int(model.config.hidden_size)
            body = architectures.body(model)
            stack.enter_context(body.register_forward_pre_hook(divide, with_kwargs=True))
        if norm is not None:
            normed = False

            def see(_: nn.Module, __: Any, named: Mapping[str, Any]) -> None:
                nonlocal normed
                normed = named.get("inputs_embeds") is not None

            def leave(_: nn.Module, given: tuple[Tensor, ...], output: Tensor) -> Tensor:
                return given[0] if normed else output

            body = architectures.body(model)
            stack.enter_context(body.register_forward_pre_hook(see, with_kwargs=True))
            stack.enter_context(norm.register_forward_hook(leave))
        yield
