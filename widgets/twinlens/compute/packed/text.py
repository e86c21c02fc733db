"""Tokenizer and chat template as a page reads them."""

from __future__ import annotations

import json
import re
from typing import Any

from transformers import PreTrainedTokenizerFast

from twinlens.compute.text.chat import rendered
from twinlens.compute.text.cutting import in_front
from twinlens.compute.text.other_text import other_text
from twinlens.errors import PromptError, UnsupportedArchitectureError

#: What byte-level tokenizers cut texts with that name no pattern of their own (GPT-2's).
_PATTERN = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
#: Texts that tell whether a template leaves a message as it is.
_PROBES = ("Word", "  two words \n", "\n{{ word }} <b>'\"\\ 字🦊\n\n- x", "x" * 300)


def packed_tokenizer(tokenizer: PreTrainedTokenizerFast) -> dict[str, Any]:
    """A byte-level tokenizer as plain JSON values.

    Raises
    ------
    UnsupportedArchitectureError
        If it is of another kind.
    """
    described = json.loads(tokenizer.backend_tokenizer.to_str())
    model, added = described["model"], described["added_tokens"]
    patterns = _patterns(described)
    joined = [model.get(name) for name in ("continuing_subword_prefix", "end_of_word_suffix")]
    plain = (
        patterns is not None
        and model["type"] == "BPE"
        and described["normalizer"] is None
        and not (model["dropout"] or model["byte_fallback"] or any(joined))
        and not any(t["single_word"] or t["lstrip"] or t["rstrip"] for t in added)
    )
    if not plain:
        raise UnsupportedArchitectureError(
            "this tokenizer cannot run in a page, which runs byte-level BPE without normalisation: "
            "export what you want to show with to_html"
        )
    tokens = [""] * (1 + max(model["vocab"].values(), default=-1))
    for token, identifier in model["vocab"].items():
        tokens[identifier] = token
    for token in added:
        tokens.extend([""] * (token["id"] + 1 - len(tokens)))
        tokens[token["id"]] = token["content"]
    merges = [pair.split(" ") if isinstance(pair, str) else pair for pair in model["merges"]]
    return {
        "tokens": tokens,
        "merges": merges,
        "whole": bool(model.get("ignore_merges")),
        "patterns": patterns,
        "added": [token["id"] for token in added],
        "special": sorted(tokenizer.all_special_ids),
        "front": in_front(tokenizer),
        "other_text": other_text(tokenizer),
    }


def _patterns(described: dict[str, Any]) -> list[str] | None:
    """Patterns that a text is cut with; None where it is done in another way."""
    outer = described["pre_tokenizer"] or {}
    parts = outer.get("pretokenizers", [outer])
    *before, last = parts
    if last.get("type") != "ByteLevel" or last["add_prefix_space"]:
        return None
    patterns = []
    for part in before:
        if part.get("type") != "Split" or part["behavior"] != "Isolated" or part["invert"]:
            return None
        pattern = part["pattern"]
        patterns.append(pattern.get("Regex") or re.escape(pattern["String"]))
    if last["use_regex"]:
        patterns.append(_PATTERN)
    # Blanks are Unicode's there; JavaScript has a list of its own.
    blank = {r"\s": r"\p{White_Space}", r"\S": r"\P{White_Space}"}
    return [re.sub(r"\\.", lambda m: blank.get(m[0], m[0]), pattern) for pattern in patterns]


def packed_template(tokenizer: PreTrainedTokenizerFast) -> dict[str, Any] | None:
    """What a chat template puts around one message; None without one, or where it does more."""

    def render(text: str) -> Any:
        return rendered(tokenizer, [{"role": "user", "content": text}], whose="tuned")

    try:
        made = render("x")
        (part,) = made.parts
        (place,) = part.places
    except (PromptError, ValueError):
        return None
    before, behind = made.text[:place], made.text[place + 1 :]
    for trims in (False, True):
        texts = [probe.strip() if trims else probe for probe in _PROBES]
        pairs = zip(_PROBES, texts, strict=True)
        if all(render(probe).text == before + text + behind for probe, text in pairs):
            source = made.settings["chat_template"]
            return {"before": before, "behind": behind, "trims": trims, "source": source}
    return None
