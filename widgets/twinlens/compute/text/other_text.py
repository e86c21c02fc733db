"""Text that is no chat template, to be read in the place of one."""

from __future__ import annotations

from collections.abc import Sequence

from transformers import PreTrainedTokenizerFast

#: Written for this; it asks for nothing, and answers nothing.
_TEXT = (
    "The morning was cold and the road was long. A man walked along the river with his brother and "
    "a small bag. They spoke of the weather, of the harvest and of the price of bread. At noon "
    "they sat down under a tree and ate an apple. Then the rain came, and they went into an old "
    "house near the bridge, where a woman gave them tea. The roof had been mended in spring with "
    "boards from a boat. On the wall hung a clock that nobody had wound for years; its hands stood "
    "at ten past four. Most of the fields around the village belong to two families, who share one "
    "mill and have quarrelled about it since the flood. Trains stop there twice a week. In winter "
    "the snow lies as high as the fences, so that letters arrive late or not at all. The teacher, "
    "a quiet person from the coast, keeps bees behind the school and sells the honey in September."
)


def other_text(tokenizer: PreTrainedTokenizerFast) -> list[int]:
    """Tokens of some lines of prose."""
    return list(tokenizer(_TEXT, add_special_tokens=False)["input_ids"])


def windows(text: Sequence[int], size: int, count: int) -> list[list[int]]:
    """Stretches of a text that begin evenly spread over it; behind its end it begins anew."""
    starts = [len(text) * number // count for number in range(count)]
    return [[text[(start + i) % len(text)] for i in range(size)] for start in starts]
