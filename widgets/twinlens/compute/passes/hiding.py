"""Hidden tokens in families whose attention cannot be replaced: by the mask it is given."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from typing import Any, cast

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from twinlens.compute.models import architectures
from twinlens.compute.passes.reading import Reading, precise
from twinlens.errors import UnsupportedArchitectureError


@contextmanager
def hidden_from_others(model: PreTrainedModel, places: Sequence[int]) -> Iterator[None]:
    """Inside, no other token of a text attends to some of its tokens; each still does to itself.

    Layers that carry a state along the text are given zeros in their place, as for padding.

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

    def leave_out(module: nn.Module, _: object, named: dict[str, Any], seen: Tensor) -> Tensor:
        states: Tensor = named["hidden_states"]

        def without(left_out: list[int]) -> Tensor:
            return cast(
                Tensor, module.forward(**named | {"hidden_states": _zero(states, left_out)})
            )

        hidden = sorted(places)
        # The last of them sees itself: it may be where the answer is predicted.
        itself = without(hidden[:-1]) if hidden[1:] else seen
        mixed = without(hidden).clone()
        mixed[:, hidden[-1]] = itself[:, hidden[-1]]
        return mixed

    with ExitStack() as stack:
        for layer in range(len(architectures.layers(model))):
            module = architectures.attention(model, layer)
            if architectures.attends(model, layer):
                handle = module.register_forward_pre_hook(hide, with_kwargs=True)
            else:
                handle = module.register_forward_hook(leave_out, with_kwargs=True)
            stack.enter_context(handle)
        yield


def _zero(states: Tensor, places: Sequence[int]) -> Tensor:
    states = states.clone()
    states[:, list(places)] = 0
    return states


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
