"""Hidden tokens in families whose attention cannot be replaced: by the mask it is given."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from twinlens.compute.models import architectures
from twinlens.compute.passes.reading import Reading, precise
from twinlens.errors import UnsupportedArchitectureError

if TYPE_CHECKING:
    from transformers import PreTrainedModel


@contextmanager
def hidden_from_others(model: PreTrainedModel, places: Sequence[int]) -> Iterator[None]:
    """Inside, no other token of a text attends to some of its tokens; each still does to itself.

    Raises
    ------
    UnsupportedArchitectureError
        If an attention block is given no mask.
    """

    def hide(
        _: nn.Module, given: tuple[Any, ...], named: dict[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        mask = named.get("attention_mask")
        if not (isinstance(mask, Tensor) and mask.ndim == 4 and mask.is_floating_point()):
            raise UnsupportedArchitectureError(
                f"attention of {model.config.model_type!r} models cannot be masked from here: "
                "use occlusion by zero, replacement or removal, or gradient × input"
            )
        hidden = torch.zeros(mask.shape[-2:], dtype=torch.bool, device=mask.device)
        hidden[:, list(places)] = True
        hidden.fill_diagonal_(False)
        mask = mask.masked_fill(hidden, torch.finfo(mask.dtype).min)
        return given, named | {"attention_mask": mask}

    with ExitStack() as stack:
        for layer in range(len(architectures.layers(model))):
            module = architectures.attention(model, layer)
            stack.callback(module.register_forward_pre_hook(hide, with_kwargs=True).remove)
        yield


def read_alone(
    reading: Reading, embedded: Tensor, places: Tensor, hidden: Sequence[int] = ()
) -> Tensor:
    """Log-probabilities of an answer that is predicted at some places, nats, shape [M].

    Parameters
    ----------
    embedded : tensor [S, hidden]
        What the first block is given.
    hidden : sequence of int
        Places that are hidden from the others.
    """
    around = hidden_from_others(reading.model, hidden) if hidden else nullcontext()
    # Not every such family takes positions, and these are the default.
    with torch.no_grad(), reading.at_its_length(), around:
        (logits,) = reading.model(
            inputs_embeds=embedded[None], use_cache=False, logits_to_keep=places
        ).logits
    return precise(logits).log_softmax(dim=-1).gather(-1, reading.targets[:, None])[:, 0]
