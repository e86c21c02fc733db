"""One short text read by tiny models, and references that share no code with the package."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers import PreTrainedModel
from twinlens.compute.passes.reading import Reading
from twinlens.compute.saliency.methods import METHODS
from twinlens.compute.saliency.registry import complete
from twinlens.contract.wire import Array

IDS = [0, 300, 17, 45, 260, 310, 45, 99, 300, 17, 200, 5]
PROMPT = 8
ANSWER = len(IDS) - PROMPT


def reading(model: PreTrainedModel, **options: Any) -> Reading:
    return Reading(model, IDS, PROMPT, **options)


def table(
    name: str,
    read: Reading | PreTrainedModel,
    columns: Sequence[int] | None = None,
    values: Array | None = None,
    **options: Any,
) -> Array:
    """A method's table in float64, or the wanted columns of it."""
    text = read if isinstance(read, Reading) else reading(read)
    shape = (text.prompt_length, text.answer_length)
    result = np.full(shape, np.nan) if values is None else values
    wanted = range(shape[1]) if columns is None else columns
    arguments = {"side": "base", "guard": nullcontext()} | options
    complete(METHODS[name], text, result, wanted, **arguments)
    return result


def embed(model: PreTrainedModel, ids: Sequence[int] = IDS) -> Tensor:
    """What the first block is given: BLOOM norms its embeddings before.

    Behind it, side by side, what the layers of smaller Gemma 4 models are given of each token.
    """
    embedded = model.get_input_embeddings()(torch.tensor([list(ids)])).detach()
    if getattr(model.config, "hidden_size_per_layer_input", 0):
        own = model.model.embed_tokens_per_layer(torch.tensor([list(ids)])).detach()
        return torch.cat([embedded, own], dim=-1)
    normed = model.config.model_type == "bloom"
    return model.transformer.word_embeddings_layernorm(embedded).detach() if normed else embedded


def answer_logits(
    model: PreTrainedModel, embedded: Tensor, prompt: int = PROMPT, **options: Any
) -> Tensor:
    """Independent: eager attention, full logits; shape [batch, M, vocabulary]."""
    before = model.config._attn_implementation
    model.set_attn_implementation("eager")
    norm = getattr(model.base_model, "word_embeddings_layernorm", None)
    if norm is not None:  # what is given is normed already
        model.base_model.word_embeddings_layernorm = torch.nn.Identity()
    try:
        hidden = model.config.hidden_size
        if embedded.shape[-1] > hidden:
            own = embedded[..., hidden:].reshape(*embedded.shape[:2], len(model.model.layers), -1)
            embedded, options = embedded[..., :hidden], options | {"per_layer_inputs": own}
        logits = model(inputs_embeds=embedded, use_cache=False, **options).logits
        return logits[:, prompt - 1 : -1]
    finally:
        model.set_attn_implementation(before)
        if norm is not None:
            model.base_model.word_embeddings_layernorm = norm


def of_answer(scores: Tensor, ids: Sequence[int] = IDS, prompt: int = PROMPT) -> Tensor:
    """Entries of the answer tokens, from [batch, M, vocabulary] to [batch, M]."""
    answer = torch.tensor(list(ids[prompt:])).expand(len(scores), -1)
    return scores.gather(-1, answer[..., None])[..., 0]
