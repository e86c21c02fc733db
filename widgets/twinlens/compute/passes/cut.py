"""The last place of a pass where positions meet: the attention of the last layer.

All that follows it, its output weights and the feed-forward layer, is a function of one position
alone. Derivatives of many targets need to go through that once only, and not with each of them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from twinlens.compute.models import architectures
from twinlens.compute.models.layer_forms import layer_embeddings
from twinlens.compute.passes.entry import ReachedError


@dataclass
class Cut:
    """A pass that was cut open there.

    Attributes
    ----------
    heads : tensor [B, S, heads * head_dim]
        What the last layer's attention computed, before its output weights.
    given : list of tensors [B, S, hidden]
        What the layer was given: the residual stream, and embeddings of the tokens where it has
        some of its own.
    onward : tensor like `heads`
        From which the pass went on, with no graph behind it.
    """

    heads: Tensor = field(init=False)
    given: list[Tensor] = field(init=False)
    onward: Tensor = field(init=False)

    @property
    def states(self) -> Tensor:
        """Both side by side, [B, S, heads * head_dim + hidden]: all that the targets depend on."""
        return torch.cat([self.heads, *self.given], dim=-1)

    def weights(self, hidden: Tensor, weights: Tensor) -> Tensor:
        """Gradient of targets with respect to `states`, from that for some hidden states."""
        # Where both blocks of the layer share a norm, what comes in front needs its graph, too.
        gradients = torch.autograd.grad(
            hidden, (self.onward, *self.given), weights, retain_graph=True
        )
        return torch.cat(gradients, dim=-1)


@contextmanager
def cut_open(model: PreTrainedModel) -> Iterator[Cut]:
    """Cut the pass inside, which goes on from there."""
    cut, count = Cut(), _given(model)

    def into_layer(_: nn.Module, arguments: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        cut.given = [
            given if given.requires_grad else given.detach().requires_grad_()
            for given in arguments[:count]
        ]
        return (*cut.given, *arguments[count:])

    def out_of_heads(_: nn.Module, arguments: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        cut.heads = arguments[0]
        cut.onward = cut.heads.detach().requires_grad_()
        return (cut.onward,)

    with _hooked(model, into_layer, out_of_heads):
        yield cut


def states_at_cut(model: PreTrainedModel, embedded: Tensor, **placed: Tensor) -> Tensor:
    """`Cut.states` of a pass that ends there."""
    cut, count = Cut(), _given(model)

    def into_layer(_: nn.Module, arguments: tuple[Tensor, ...]) -> None:
        cut.given = list(arguments[:count])

    def out_of_heads(_: nn.Module, arguments: tuple[Tensor, ...]) -> None:
        cut.heads = arguments[0]
        raise ReachedError

    with _hooked(model, into_layer, out_of_heads), suppress(ReachedError):
        architectures.body(model)(inputs_embeds=embedded, use_cache=False, **placed)
    return cut.states


def _given(model: PreTrainedModel) -> int:
    """How many of a layer's arguments follow from what is read."""
    return 2 if layer_embeddings(model.config) else 1


@contextmanager
def _hooked(
    model: PreTrainedModel,
    into_layer: Callable[..., object],
    out_of_heads: Callable[..., object],
) -> Iterator[None]:
    last = len(architectures.layers(model)) - 1
    layer, heads = architectures.layers(model)[last], architectures.attention_out(model, last)
    with (
        layer.register_forward_pre_hook(into_layer),
        heads.register_forward_pre_hook(out_of_heads),
    ):
        yield
