"""What reading a text needs in memory beside the weights, and in time, before it is read."""

from __future__ import annotations

import time

import psutil
import torch
from transformers import PreTrainedModel

from twinlens.compute.models.architectures import sizes
from twinlens.compute.models.checks import free_memory
from twinlens.compute.models.models import Models
from twinlens.compute.passes.capture import KEPT
from twinlens.compute.passes.room import in_file
from twinlens.contract.words import SIDES
from twinlens.errors import MemoryNeededError
from twinlens.support.progress import Report

#: Numbers of a layer that wait for a backward pass, by token: so many times the hidden size and
#: the feed-forward size; that of LLaMA, of which no family keeps much less.
_HIDDEN, _INTERMEDIATE = 6, 3
#: From here on it is said before a pass.
_WORTH_SAYING = 10**9
#: Tokens that are read to know how fast the model is here, and the texts, so many times as long
#: or longer, that are worth it.
_TRIED, _TIMES = 64, 10
#: Weights times tokens from which on reading takes seconds.
_TAKES_SECONDS = 5 * 10**10
#: Larger graphs are not kept, whatever is free: layer by layer takes but one more pass.
_LARGEST_GRAPH = 2**30
#: Arrays of all scores of a layer that an attention block has at once.
_SCORES = 3


def footprint(models: Models, length: int) -> int:
    """Bytes that reading a text of some tokens with both models takes, the largest pass included.

    Parameters
    ----------
    length : int
        T, prompt and answer.
    """
    shape = models.sizes
    # Heads, attention, feed-forward and residual stream in float32; see `capture`.
    arrays = [4 * shape.layers * length * shape.hidden] * 4
    for large in (
        shape.layers * shape.heads * length * (length + 1),
        shape.layers * length * shape.intermediate * 4,
    ):
        arrays += [large] if models.memory == "sequential" or large <= KEPT else []
    held = sum(size for size in arrays if not in_file(size))
    return len(SIDES) * held + _SCORES * shape.heads * length**2 * 4


def check_footprint(models: Models, length: int, report: Report | None = None) -> None:
    """Make sure that reading a text fits into memory, and say what it takes where that is much.

    To say how long it takes, base reads a short text.

    Raises
    ------
    MemoryNeededError
        If it does not.
    """
    needed, free = footprint(models, length), int(psutil.virtual_memory().available)
    if needed > free:
        raise MemoryNeededError(
            f"reading {length} tokens with both models takes about {needed / 1e9:.1f} GB beside "
            f"their weights, but only {free / 1e9:.1f} GB are free: shorten the prompt or the "
            "answer"
        )
    if not report:
        return
    said = [f"about {needed / 1e9:.1f} GB of memory"] if needed > _WORTH_SAYING else []
    if length >= _TIMES * _TRIED and length * models.info.base.parameters > _TAKES_SECONDS:
        said.append(f"about {seconds(models, length):.0f} s")
    if said:
        report(0, len(SIDES), f"reading {length} tokens, {', '.join(said)}")


def seconds(models: Models, length: int) -> float:
    """Seconds that one pass of both models over a text will take, from a short pass of base.

    Parameters
    ----------
    length : int
        T, prompt and answer.

    Returns
    -------
    float
        Products with weights grow as T, those of queries with keys and of patterns with values as
        T squared, which is counted and not measured.
    """
    shape = models.sizes
    with models.model("base") as model, torch.no_grad():
        ids = torch.zeros((1, _TRIED), dtype=torch.long, device=model.device)
        model(ids, use_cache=False)
        start = time.perf_counter()
        model(ids, use_cache=False).logits[0, -1, 0].item()
        tried = time.perf_counter() - start

    def work(tokens: int) -> float:
        attention = 2 * shape.layers * shape.hidden * tokens**2
        return tokens * models.info.base.parameters + attention

    return len(SIDES) * tried * work(length) / work(_TRIED)


def graph(model: PreTrainedModel, texts: int, length: int) -> int:
    """Bytes that wait for the backward passes of one forward pass, the largest one included.

    Parameters
    ----------
    texts, length : int
        Texts that are read together, and tokens of each.
    """
    shape = sizes(model.config)
    scores = shape.heads * length**2 * 4
    return texts * (shape.layers * _layer(model, length) + _SCORES * scores)


def fits(model: PreTrainedModel, texts: int, length: int) -> bool:
    """Whether a forward pass with all that its derivatives need is to be kept in memory."""
    return graph(model, texts, length) <= min(_LARGEST_GRAPH, free_memory(model.device))


def check_layer(model: PreTrainedModel, texts: int, length: int, *, patterns: bool = False) -> None:
    """Make sure that at least one layer with all that its derivatives need fits into memory.

    Parameters
    ----------
    patterns : bool
        Whether gradients of its attention patterns are asked for.

    Raises
    ------
    MemoryNeededError
        If it does not; says what works without derivatives.
    """
    shape = sizes(model.config)
    scores = shape.heads * length**2 * 4
    streams = shape.layers * length * shape.hidden * model.dtype.itemsize
    layer = _layer(model, length) + (_SCORES + (1 if patterns else 0)) * scores
    needed, free = texts * (streams + layer), free_memory(model.device)
    if needed > free:
        raise MemoryNeededError(
            f"derivatives over {length} tokens take about {needed / 1e9:.1f} GB beside the weights "
            f"even layer by layer, but only {free / 1e9:.1f} GB are free: use occlusion, or "
            "ablation of heads, which take one pass at a time, or shorten the prompt or the answer"
        )


def _layer(model: PreTrainedModel, length: int) -> int:
    """Bytes of one layer and one text that wait for a backward pass."""
    shape = sizes(model.config)
    rest = length * (_HIDDEN * shape.hidden + _INTERMEDIATE * shape.intermediate)
    return shape.heads * length**2 * 4 + rest * model.dtype.itemsize
