"""Leading components of the feed-forward layers with their top words, and how far they turned."""

from __future__ import annotations

import torch
from torch import Tensor
from transformers import LlamaForCausalLM, PreTrainedTokenizerFast

WORDS = 10


def components(model: LlamaForCausalLM, layer: int) -> tuple[Tensor, Tensor]:
    """Principal directions of the centred value vectors, as rows, with their variance."""
    values = model.model.layers[layer].mlp.down_proj.weight.detach().float().T
    _, size, directions = torch.linalg.svd(values - values.mean(0), full_matrices=False)
    return directions, size**2 / (size**2).sum()


def word_rows(
    model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast
) -> tuple[list[str], Tensor]:
    """Words of two letters and more with their unit output rows; forms of a word averaged."""
    forms: dict[str, list[int]] = {}
    for i in range(len(tokenizer)):
        word = tokenizer.decode([i]).strip()
        if len(word) > 1 and word.isalpha():
            forms.setdefault(word if word.isupper() else word.lower(), []).append(i)
    rows = model.lm_head.weight.detach().float()
    table = torch.stack([rows[i].mean(0) for i in forms.values()])
    return list(forms), torch.nn.functional.normalize(table, dim=1)


def top_words(direction: Tensor, words: list[str], table: Tensor) -> tuple[list[str], list[str]]:
    """Words at both ends of a direction, the stronger end first."""
    score = table @ direction
    ends = [score.topk(WORDS), (-score).topk(WORDS)]
    ends.sort(key=lambda end: -end.values.sum().item())
    return tuple([words[i] for i in end.indices.tolist()] for end in ends)


def turned(
    base: LlamaForCausalLM, tuned: LlamaForCausalLM, layer: int, count: int
) -> list[tuple[int, int, float]]:
    """Match the first components of base with those of tuned by cosine: (base, tuned, cosine)."""
    one, two = components(base, layer)[0][:count], components(tuned, layer)[0]
    cosine = (one @ two.T).abs()
    best = cosine.max(1)
    return [
        (i, int(j), float(c))
        for i, (j, c) in enumerate(zip(best.indices, best.values, strict=True))
    ]


def concept_lists(
    models: dict[str, LlamaForCausalLM], tokenizer: PreTrainedTokenizerFast, count: int = 16
) -> list[dict]:
    """Top words of the first components in the upper layers of both models, matched."""
    found = []
    tables = {name: word_rows(model, tokenizer) for name, model in models.items()}
    depth = models["base"].config.num_hidden_layers
    for layer in range(depth // 2, depth):
        matches = {i: (j, c) for i, j, c in turned(models["base"], models["tuned"], layer, count)}
        for name, model in models.items():
            directions, share = components(model, layer)
            for i in range(count):
                strong, weak = top_words(directions[i], *tables[name])
                line = {
                    "layer": layer,
                    "model": name,
                    "component": i,
                    "variance": float(share[i]),
                    "words": strong,
                    "other end": weak,
                }
                if name == "base":
                    line["match"], line["cosine"] = matches[i]
                found.append(line)
    return found
